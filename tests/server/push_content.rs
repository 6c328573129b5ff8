//! What a notification may say, over the real server: what arrives at the providers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use reachability_tests::push_place::PushPlace;
use reachability_tests::wait::wait;
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
