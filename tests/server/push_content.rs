//! What a notification may say, over the real server: what arrives at the providers, and requests that are repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reachability_domain::push::idempotency::{IdempotencyKey, KeyedRequest};
use reachability_domain::push::notification::Notification;
use reachability_domain::push::payload::Content;
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::recipient::When;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::SqliteStore;
use reachability_tests::push_place::PushPlace;
use reachability_tests::queues::database;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

const PHONE: &str = "00ffee11223344556677889900aabbcc";

/// Sends a notification with a key.
async fn send(scene: &PushPlace, key: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let request = scene.place.client.request(Method::POST, &scene.place.path("Notifications"));
    let answer = request.header("Idempotency-Key", key).form(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until the first push has arrived, and for a moment in which a second one could.
async fn pushes(scene: &PushPlace) -> usize {
    wait("it is sent", async || scene.by_apple(PHONE).pop()).await;
    let after = scene.notify(&[("Identity", "alice"), ("Body", "after")]).await;
    let deliveries = scene.place.path(&format!("Notifications/{}/Deliveries", after["sid"].as_str().unwrap()));
    let is_sent = async || {
        let list = scene.place.client.get(&deliveries).await;
        (list["deliveries"][0]["status"] == "accepted").then_some(())
    };
    wait("the next one is sent", is_sent).await;
    scene.by_apple(PHONE).iter().filter(|push| push.json()["aps"]["alert"] == "once").count()
}

#[tokio::test]
async fn what_is_shown_of_it_is_what_was_given() {
    let scene = PushPlace::new().await;
    scene.register("alice", "apn", PHONE).await;
    scene.register("alice", "fcm", "android").await;
    let (apn, fcm) =
        (json!({ "aps": { "badge": 3 } }), json!({ "android": { "notification": { "channel_id": "c" } } }));
    let form = [
        ("Identity", "alice"),
        ("Body", "B"),
        ("Action", "REPLY"),
        ("CollapseId", "room-7"),
        ("Apn", &apn.to_string()),
        ("Fcm", &fcm.to_string()),
    ];
    let sent = scene.notify(&form).await;
    assert_eq!((&sent["apn"], &sent["fcm"], &sent["gcm"]), (&apn, &fcm, &Value::Null));
    assert_eq!(
        (&sent["action"], &sent["collapse_id"], &sent["format"]),
        (&json!("REPLY"), &json!("room-7"), &json!("standard"))
    );
    let path = scene.place.path(&format!("Notifications/{}", sent["sid"].as_str().unwrap()));
    assert_eq!(scene.place.client.get(&path).await, sent);
    let both = async || Some((scene.by_apple(PHONE).pop()?, scene.by_google("android").pop()?));
    let (by_apple, by_google) = wait("both are sent", both).await;
    assert_eq!(by_apple.json(), json!({ "aps": { "alert": "B", "category": "REPLY", "badge": 3 } }));
    assert_eq!(by_apple.header("apns-collapse-id"), "room-7");
    assert_eq!(
        by_google["android"]["notification"],
        json!({ "click_action": "REPLY", "channel_id": "c", "tag": "room-7" })
    );
}

/// As many users as there may be, with names of the usual length, in one request.
#[tokio::test]
async fn a_thousand_users_are_notified_with_one_request() {
    let scene = PushPlace::new().await;
    let names: Vec<String> = (0..1_000).map(|number| format!("{number:0>36}")).collect();
    // The last one, and one in the middle.
    scene.register(&names[999], "apn", PHONE).await;
    scene.register(&names[500], "fcm", "android").await;
    let mut form: Vec<(&str, &str)> = names.iter().map(|name| ("Identity", name.as_str())).collect();
    form.extend([("Title", "T"), ("Body", "B"), ("Priority", "low"), ("Ttl", "60"), ("Tag", "all")]);
    let sent = scene.notify(&form).await;
    assert_eq!(sent["identities"].as_array().map(Vec::len), Some(1_000));
    wait("both are sent", async || scene.apple.shown(PHONE).pop().zip(scene.google.shown("android").pop())).await;

    form.push(("Identity", "one more"));
    let path = scene.place.path("Notifications");
    let (status, refused) = scene.place.client.send(Method::POST, &path, &form).await;
    assert_eq!((status, &refused["code"]), (400, &json!(20001)), "{refused}");
    // What is too large for a request is refused as such.
    let long: Vec<String> = (0..1_000).map(|number| format!("{number:0>255}")).collect();
    let mut form: Vec<(&str, &str)> = long.iter().map(|name| ("Identity", name.as_str())).collect();
    form.push(("Body", "B"));
    let (status, refused) = scene.place.client.send(Method::POST, &path, &form).await;
    assert_eq!((status, &refused["code"]), (413, &json!(20001)), "{refused}");
}

#[tokio::test]
async fn a_request_that_is_repeated_sends_once() {
    let scene = PushPlace::new().await;
    scene.register("alice", "apn", PHONE).await;
    let form = [("Identity", "alice"), ("Body", "once")];
    let answers = join_all((0..16).map(|_| send(&scene, "key-1", &form))).await;
    let sids: BTreeSet<String> = answers.iter().map(|(_, sent)| sent["sid"].as_str().unwrap().to_owned()).collect();
    assert!(answers.iter().all(|(status, sent)| *status == 201 && *sent == answers[0].1), "{answers:?}");
    assert_eq!(sids.len(), 1);
    assert_eq!(pushes(&scene).await, 1);
    // Later too, also if the user has another device by then.
    scene.register("alice", "fcm", "android").await;
    assert_eq!(send(&scene, "key-1", &form).await, answers[0]);
    assert_eq!(pushes(&scene).await, 1);
    assert!(scene.by_google("android").iter().all(|message| message["notification"]["body"] != "once"));

    for other in [&[("Identity", "alice"), ("Body", "other")] as &[(&str, &str)], &[form[1], form[0]]] {
        let (status, refused) = send(&scene, "key-1", other).await;
        assert_eq!((status, &refused["code"]), (409, &json!(20001)), "{refused}");
    }
    let (status, another) = send(&scene, "key-2", &form).await;
    assert_eq!(status, 201);
    assert_ne!(another["sid"], answers[0].1["sid"]);
    let twice = async || (pushes(&scene).await == 2).then_some(());
    wait("with another key it is another one", twice).await;
    // In another service, the key is another one.
    let elsewhere = scene.place.client.enabled_service().await;
    let request = scene.place.client.request(Method::POST, &format!("/v1/Services/{elsewhere}/Notifications"));
    let answer = request.header("Idempotency-Key", "key-1").form(&[("Identity", "alice"), ("Body", "x")]).send().await;
    assert_eq!(answer.unwrap().status(), 201);

    for key in ["", "a b", &"k".repeat(256)] {
        let (status, refused) = send(&scene, key, &form).await;
        assert_eq!((status, &refused["code"]), (400, &json!(20001)), "{key}: {refused}");
    }
}

/// The process ended when it had stored the notification, and before it queued it.
#[tokio::test]
async fn what_was_stored_and_not_queued_is_sent_by_the_next_request() {
    let scene = PushPlace::new().await;
    scene.register("alice", "apn", PHONE).await;
    let form = [("Identity", "alice"), ("Body", "once")];
    let key: IdempotencyKey = "key-1".parse().unwrap();
    let service = scene.place.service.parse().unwrap();
    let store = SqliteStore::new(database(&scene.directory.path().join("data")));
    let stored = Notification {
        sid: key.sid(service),
        service_sid: service,
        identities: vec!["alice".parse().unwrap()],
        tags: vec![],
        when: When::Always,
        online: vec![],
        content: Content { body: Some("once".to_owned()), ..Content::default() },
        ttl_seconds: Some(3_600),
        date_created: Timestamp::from_millis(clock::now().as_millis() - 60_000),
        keyed_request: Some(KeyedRequest::new(form.into_iter())),
    };
    store.create_notification(&stored).await.unwrap();
    assert!(scene.by_apple(PHONE).is_empty());
    let (status, sent) = send(&scene, "key-1", &form).await;
    assert_eq!((status, sent["sid"].as_str()), (201, Some(stored.sid.to_string().as_str())));
    assert_eq!(pushes(&scene).await, 1);
    assert_eq!(send(&scene, "key-1", &form).await.0, 201);
    assert_eq!(pushes(&scene).await, 1);
}
