//! What a notification may say, over the real server: what arrives at the providers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use reachability_tests::push_place::PushPlace;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

const PHONE: &str = "00ffee11223344556677889900aabbcc";

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
