//! Requests for subscriptions, and what clients are told then.

use reachability_domain::presence::map::FoundMap;
use reachability_gateway::twilsock::settings::{MAX_BATCH, NOTIFICATION_SIZE};
use reachability_gateway::twilsock::{Action, Asked, Input, RequestNumber};
use serde_json::{Value, json};

use crate::support::{SECOND, Sent, Socket, message, only, read, sent, view};

fn establish(requests: &Value) -> Vec<u8> {
    let body = json!({
        "event_protocol_version": 4, "action": "establish", "correlation_id": 1_795_170_995_912_u64,
        "retried_requests": 0, "ttl_in_s": -1, "requests": requests,
    });
    message("TM1", "POST", "/v4/Subscriptions", &body.to_string())
}

fn asked(object_sid: &str, last_event_id: Option<u64>) -> Asked {
    Asked { object_sid: object_sid.to_owned(), last_event_id }
}

/// Asks for maps. Returns the number of the request.
fn ask(socket: &mut Socket, maps: &[Asked]) -> RequestNumber {
    let requests = maps.iter().map(|Asked { object_sid, last_event_id }| {
        json!({"object_sid": object_sid, "object_type": "map", "last_event_id": last_event_id})
    });
    let actions = socket.frame(&establish(&requests.collect()));
    let [Action::Subscribe { request, maps: subscribed }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(subscribed, maps);
    *request
}

/// What the client is told, as event types and events. Checks that it names the request.
fn told(notifications: &[Sent]) -> Vec<(String, Vec<Value>)> {
    let told = notifications.iter().map(|Sent { header, payload }| {
        assert_eq!((&header["method"], &header["message_type"]), (&json!("notification"), &json!("twilio.sync.event")));
        assert_eq!(payload["correlation_id"], 1_795_170_995_912_u64);
        assert_eq!(payload["event_protocol_version"], 4);
        (payload["event_type"].as_str().unwrap().to_owned(), payload["events"].as_array().unwrap().clone())
    });
    told.collect()
}

#[test]
fn a_client_is_told_what_it_missed_and_what_it_watches() {
    let mut socket = Socket::open();
    let maps = [
        (asked("MP1", Some(6)), FoundMap::User(Box::new(view(1, 7)))),
        (asked("MP2", Some(7)), FoundMap::User(Box::new(view(2, 7)))),
        (asked("MP3", None), FoundMap::User(Box::new(view(3, 0)))),
        (asked("MP4", Some(3)), FoundMap::Conversations),
        (asked("MP5", None), FoundMap::Missing),
        (asked("MP6", None), FoundMap::TooMany),
    ];
    let request = ask(&mut socket, &maps.clone().map(|(asked, _)| asked));
    let actions = socket.step(Input::Subscribed { request, maps: maps.to_vec() });
    let packets = sent(&actions);
    assert_eq!(packets.len(), actions.len());

    let answer = &packets[0];
    assert_eq!((&answer.header["id"], &answer.header["http_status"]["code"]), (&json!("TM1"), &json!(202)));
    assert_eq!(answer.payload, json!({"estimated_delivery_in_ms": 10_000, "max_batch_size": 500, "ttl_in_s": -1}));

    let told = told(&packets[1..]);
    let event_types: Vec<_> = told.iter().map(|(event_type, _)| event_type.as_str()).collect();
    assert_eq!(event_types, ["map_item_updated", "subscription_established", "subscription_failed"]);
    let items: Vec<_> = told[0].1.iter().map(|event| (&event["map_sid"], &event["id"], &event["item_key"])).collect();
    let expected = [("MP1", 7), ("MP3", 0)]
        .map(|(sid, id)| ["friendlyName", "attributes", "reachability"].map(|key| (json!(sid), json!(id), json!(key))));
    assert_eq!(items, expected.as_flattened().iter().map(|(sid, id, key)| (sid, id, key)).collect::<Vec<_>>());
    assert_eq!(told[0].1[2]["item_data"], json!({"type": "ReachabilityInfo", "online": true, "notifiable": null}));

    let established = |sid: &str, last_event_id: u64| json!({"object_sid": sid, "object_type": "map", "replay_status": "completed", "last_event_id": last_event_id});
    let all = [established("MP1", 7), established("MP2", 7), established("MP3", 0), established("MP4", 3)];
    assert_eq!(told[1].1, all);
    let failed = |sid: &str, status: u16, code: u32, message: &str| json!({"object_sid": sid, "object_type": "map", "error": {"status": status, "code": code, "message": message}});
    assert_eq!(
        told[2].1,
        [failed("MP5", 404, 54200, "Map not found"), failed("MP6", 429, 20429, "Too many subscriptions")]
    );
}

#[test]
fn what_cannot_be_read_now_is_asked_for_again() {
    let mut socket = Socket::open();
    let maps =
        [(asked("MP1", None), FoundMap::User(Box::new(view(1, 7)))), (asked("MP2", None), FoundMap::Unavailable)];
    let request = ask(&mut socket, &maps.clone().map(|(asked, _)| asked));
    let answer = only(&socket.step(Input::Subscribed { request, maps: maps.to_vec() }));
    assert_eq!(answer.header["http_status"]["code"], 503);
    assert_eq!(socket.step(Input::Subscribed { request, maps: maps.to_vec() }), []);
}

#[test]
fn what_is_no_map_is_not_there() {
    let mut socket = Socket::open();
    let requests = json!([
        {"object_sid": "ET1", "object_type": "document"},
        {"object_sid": "MP1", "object_type": "map", "last_event_id": -1},
        {"object_sid": "ES1", "object_type": "list", "last_event_id": 3},
        {"object_sid": "TO1", "object_type": "stream"},
    ]);
    let actions = socket.frame(&establish(&requests));
    let [Action::Send(failed), Action::Subscribe { maps, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(maps[..], [asked("MP1", None)]);
    let told = told(&[read(failed)]);
    assert_eq!(told[0].0, "subscription_failed");
    let codes: Vec<_> = told[0].1.iter().map(|event| (&event["object_sid"], &event["error"]["code"])).collect();
    assert_eq!(codes, [(&json!("ET1"), &json!(54100)), (&json!("ES1"), &json!(54150)), (&json!("TO1"), &json!(20404))]);
}

#[test]
fn a_subscription_is_canceled() {
    let mut socket = Socket::open();
    let body = json!({
        "event_protocol_version": 4, "action": "cancel", "correlation_id": 1_795_170_995_912_u64, "ttl_in_s": -1,
        "requests": [{"object_sid": "MP1", "object_type": "map"}, {"object_sid": "ET1", "object_type": "document"}],
    });
    // A host with a path of its own before that of the service.
    let actions = socket.frame(&message("TM1", "POST", "/sync/v4/Subscriptions", &body.to_string()));
    assert_eq!(actions[0], Action::Unsubscribe { maps: vec!["MP1".to_owned(), "ET1".to_owned()] });
    let packets = sent(&actions);
    assert_eq!((&packets[0].header["id"], &packets[0].header["http_status"]["code"]), (&json!("TM1"), &json!(202)));
    let canceled =
        [json!({"object_sid": "MP1", "object_type": "map"}), json!({"object_sid": "ET1", "object_type": "document"})];
    assert_eq!(told(&packets[1..]), [("subscription_canceled".to_owned(), canceled.to_vec())]);
    assert_eq!(socket.session.requests(), 0);
}

#[test]
fn a_large_batch_is_told_in_several_packets() {
    let mut socket = Socket::open();
    let sid = |n: usize| format!("MP{n:032x}");
    let maps: Vec<_> = (0..MAX_BATCH).map(|n| asked(&sid(n), Some(1 << 52))).collect();
    let request = ask(&mut socket, &maps);
    let found = |(n, asked)| (asked, FoundMap::User(Box::new(view(n as u128, (1 << 52) + 1))));
    let maps = maps.into_iter().enumerate().map(found).collect();
    let actions = socket.step(Input::Subscribed { request, maps });
    for action in &actions {
        let Action::Send(frame) = action else { panic!("{action:?}") };
        assert!(frame.len() < NOTIFICATION_SIZE + 1_000);
    }
    let told = told(&sent(&actions)[1..]);
    let of = |wanted: &str| {
        let packets = told.iter().filter(|(event_type, _)| event_type == wanted);
        packets.flat_map(|(_, events)| events.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("map_item_updated").len(), 3 * MAX_BATCH);
    let established = of("subscription_established");
    let sids: Vec<_> = established.iter().map(|event| event["object_sid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sids, (0..MAX_BATCH).map(sid).collect::<Vec<_>>());
}

#[test]
fn a_client_may_be_asked_to_subscribe_again() {
    let mut socket = Socket::open();
    socket.settings.subscription_ttl = Some(300 * SECOND);
    let request = ask(&mut socket, &[]);
    let answer = only(&socket.step(Input::Subscribed { request, maps: vec![] }));
    assert_eq!(answer.payload["ttl_in_s"], 300);
}

#[test]
fn what_is_no_request_for_subscriptions_is_refused() {
    let mut socket = Socket::open();
    let one = json!({"object_sid": "MP1", "object_type": "map"});
    let long = json!({"object_sid": "M".repeat(65), "object_type": "map"});
    for (body, status) in [
        (json!({}), 400),
        (json!({"action": "establish", "requests": []}), 400),
        (json!({"action": "establish", "correlation_id": "1", "requests": []}), 400),
        (json!({"action": "sing", "correlation_id": 1, "requests": []}), 400),
        (json!({"action": "cancel", "correlation_id": 1, "requests": [{"object_sid": "MP1"}]}), 400),
        (json!({"action": "cancel", "correlation_id": 1, "requests": [long]}), 400),
        (json!({"action": "cancel", "correlation_id": 1, "requests": vec![one; MAX_BATCH + 1]}), 413),
    ] {
        let answer = only(&socket.frame(&message("TM1", "POST", "/v4/Subscriptions", &body.to_string())));
        assert_eq!(answer.header["http_status"]["code"], status, "{body}");
    }
    // Other methods are no requests for subscriptions.
    let actions = socket.frame(&message("TM1", "GET", "/v4/Subscriptions", ""));
    assert!(matches!(&actions[..], [Action::Request { .. }]), "{actions:?}");
}
