//! What arrives at the providers of what a notification says.

use std::collections::BTreeSet;

use reachability_domain::push::channel::Channel;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::payload::{Content, Priority};
use reachability_tests::push_harness::PushHarness;
use serde_json::{Map, Value, json};

use super::{content, to_google};

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("not an object: {value}") };
    map
}

/// Sends a notification to Alice, at once and to all her devices.
async fn send(harness: &PushHarness, content: Content) {
    let deliver = harness.notification(&["alice"], content, Some(60)).await;
    let mut messages = vec![PushMessage::Deliver(deliver.clone())];
    while !messages.is_empty() {
        messages = harness.handle(messages).await;
    }
    for delivery in harness.deliveries(deliver.notification).await {
        assert_eq!(delivery.status.as_str(), "accepted", "{delivery:?}");
    }
}

#[tokio::test]
async fn what_the_request_has_of_its_own_arrives() {
    let harness = PushHarness::new().await;
    for (channel, token) in [(Channel::Apn, "01"), (Channel::Fcm, "fcm"), (Channel::Gcm, "gcm")] {
        harness.register("alice", channel, token).await;
    }
    let own = Content {
        action: Some("REPLY".to_owned()),
        apn: map(
            json!({ "aps": { "badge": 3, "thread-id": "t", "alert": { "title": null, "title-loc-key": "K" } }, "x": 1 }),
        ),
        fcm: map(json!({
            "notification": { "image": "https://chat.test/a.png" },
            "android": { "notification": { "channel_id": "chat", "notification_count": 2, "title_loc_args": ["a"] } },
            "apns": { "payload": { "aps": { "mutable-content": 1 } }, "fcm_options": { "image": "i" } },
        })),
        gcm: map(json!({ "notification": null, "data": { "only": "data" } })),
        ..content()
    };
    send(&harness, own).await;

    let [to_apple] = &harness.apple.requests_to("01")[..] else { panic!("one push") };
    let aps = json!({
        "alert": { "body": "Body", "title-loc-key": "K" }, "sound": "ping", "category": "REPLY", "badge": 3, "thread-id": "t",
    });
    assert_eq!(to_apple.json(), json!({ "aps": aps, "room": 7, "x": 1 }));
    assert_eq!((to_apple.header("apns-push-type"), to_apple.header("apns-priority")), ("alert", "10"));

    let message = |token: &str| to_google(&harness, token)[0].json()["message"].clone();
    let to_android = message("fcm");
    assert_eq!(
        to_android["notification"],
        json!({ "title": "Title", "body": "Body", "image": "https://chat.test/a.png" })
    );
    let tag = to_android["android"]["notification"]["tag"].clone();
    assert_eq!(
        to_android["android"]["notification"],
        json!({
            "sound": "ping", "click_action": "REPLY", "channel_id": "chat", "notification_count": 2, "title_loc_args": ["a"],
            "tag": tag,
        })
    );
    assert_eq!(to_android["data"], json!({ "room": "7", "twi_action": "REPLY" }));
    assert_eq!(
        to_android["apns"]["payload"]["aps"],
        json!({ "sound": "ping", "category": "REPLY", "mutable-content": 1 })
    );
    assert_eq!(to_android["apns"]["fcm_options"], json!({ "image": "i" }));
    // Under its old name, FCM has what the request has for that name.
    let to_old = message("gcm");
    assert_eq!(to_old["notification"], Value::Null);
    assert_eq!(to_old["android"]["notification"], Value::Null);
    assert_eq!(to_old["data"], json!({ "room": "7", "twi_action": "REPLY", "only": "data" }));
}

/// Apple throttles and drops pushes whose type does not fit.
#[tokio::test]
async fn the_type_of_a_push_follows_from_what_is_merged() {
    let harness = PushHarness::new().await;
    harness.register("alice", Channel::Apn, "01").await;
    harness.register("alice", Channel::Fcm, "fcm").await;
    let data = Content { data: map(json!({ "room": 7 })), ..Content::default() };
    let aps = |aps: Value| map(json!({ "aps": aps }));
    let by_fcm = |aps: Value| map(json!({ "apns": { "payload": { "aps": aps } } }));
    let hidden = map(json!({ "notification": null, "apns": null }));
    for (content, kind, priority) in [
        (data.clone(), "background", "5"),
        (
            Content { apn: aps(json!({ "badge": 0 })), fcm: by_fcm(json!({ "badge": 0 })), ..data.clone() },
            "alert",
            "10",
        ),
        (
            Content {
                apn: aps(json!({ "sound": "ping" })),
                fcm: by_fcm(json!({ "sound": "ping" })),
                priority: Priority::Low,
                ..data.clone()
            },
            "alert",
            "5",
        ),
        (
            Content { apn: aps(json!({ "thread-id": "t" })), fcm: by_fcm(json!({ "thread-id": "t" })), ..data },
            "background",
            "5",
        ),
        (Content { apn: aps(json!({ "alert": null, "sound": null })), fcm: hidden, ..content() }, "background", "5"),
    ] {
        send(&harness, content.clone()).await;
        let push = harness.apple.requests_to("01").pop().unwrap();
        assert_eq!((push.header("apns-push-type"), push.header("apns-priority")), (kind, priority), "{content:?}");
        assert_eq!(push.json()["aps"]["content-available"] == 1, kind == "background", "{content:?}");
        let message = to_google(&harness, "fcm").pop().unwrap().json()["message"].clone();
        let apns = &message["apns"];
        // FCM chooses the type of an alert itself.
        let expected = if kind == "alert" { Value::Null } else { json!(kind) };
        assert_eq!(
            (&apns["headers"]["apns-push-type"], &apns["headers"]["apns-priority"]),
            (&expected, &json!(priority))
        );
        assert_eq!(apns["payload"]["aps"]["content-available"] == 1, kind == "background", "{message}");
    }
}

#[tokio::test]
async fn notifications_with_one_collapse_id_replace_each_other() {
    let harness = PushHarness::new().await;
    harness.register("alice", Channel::Apn, "01").await;
    harness.register("alice", Channel::Fcm, "fcm").await;
    for body in ["first", "second"] {
        let collapse_id = Some("room-7".to_owned());
        send(&harness, Content { body: Some(body.to_owned()), collapse_id, ..content() }).await;
    }
    let [shown] = &harness.apple.shown("01")[..] else { panic!("one notification") };
    assert_eq!(shown["aps"]["alert"]["body"], "second");
    let [shown] = &harness.google.shown("fcm")[..] else { panic!("one notification") };
    assert_eq!(shown["notification"]["body"], "second");
    assert_eq!(shown["android"]["collapse_key"], "room-7");
    assert_eq!(shown["apns"]["headers"]["apns-collapse-id"], "room-7");
    assert_eq!(shown["webpush"]["headers"]["Topic"], "room-7");
    // Without one, each is shown, and FCM does not limit how many it keeps.
    send(&harness, content()).await;
    assert_eq!((harness.apple.shown("01").len(), harness.google.shown("fcm").len()), (2, 2));
    let last = to_google(&harness, "fcm").pop().unwrap().json();
    assert_eq!(last["message"]["android"]["collapse_key"], Value::Null);
}

/// No message leads to work for more than a hundred users, and no device is left out or reached twice.
#[tokio::test]
async fn a_notification_to_a_thousand_users_goes_in_pages() {
    let harness = PushHarness::new().await;
    let names: Vec<String> = (0..1_000).map(|number| format!("user-{number}")).collect();
    let tokens: Vec<String> = (0..1_000).step_by(7).map(|number| format!("{number:04}")).collect();
    for token in &tokens {
        harness.register(&names[token.parse::<usize>().unwrap()], Channel::Apn, token).await;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let deliver = harness.notification(&names, content(), None).await;
    let (mut pages, mut to_devices) = (vec![PushMessage::Deliver(deliver.clone())], vec![]);
    let (mut steps, mut devices_named) = (0, 0);
    while !pages.is_empty() {
        steps += 1;
        // Each page's message is delivered twice.
        let again = harness.handle(pages.clone()).await;
        let messages = harness.handle(pages).await;
        assert_eq!(messages, again);
        let devices = |message: &PushMessage| match message {
            PushMessage::Deliver(deliver) => deliver.devices().len(),
            other => panic!("{other:?}"),
        };
        let (next, named): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| devices(message) == 0);
        let count: usize = named.iter().map(devices).sum();
        assert!(next.len() <= 1 && (13..=15).contains(&count), "{} and {count}", next.len());
        assert_eq!(named.len(), 1, "they share a message");
        pages = next;
        devices_named += count;
        to_devices.extend(named);
    }
    assert_eq!((steps, devices_named), (10, tokens.len()));
    assert!(harness.handle(to_devices).await.is_empty());
    let deliveries = harness.deliveries(deliver.notification).await;
    assert!(deliveries.iter().all(|it| it.status.as_str() == "accepted"));
    let reached: BTreeSet<_> = deliveries.iter().map(|it| it.identity.as_str().to_owned()).collect();
    assert_eq!((deliveries.len(), reached.len()), (tokens.len(), tokens.len()));
    assert!(tokens.iter().all(|token| harness.apple.requests_to(token).len() == 1));
}
