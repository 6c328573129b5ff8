//! Users, as clients read them, and a user's changes of its own profile.

use serde_json::{Value, json};

use super::{Door, error, on_both_stores, service};

on_both_stores![
    a_user_is_read_by_identity_or_sid,
    users_of_another_service_are_not_found,
    a_user_changes_its_own_profile,
    a_user_changes_nobody_else,
    the_limits_of_a_profile_are_those_of_the_owner,
    who_wrote_a_profile_is_remembered,
];

async fn a_user_is_read_by_identity_or_sid(door: Door) {
    let alice = door.connect(1, "alice").await;
    let odd = "Böb/ü? &#%25.";
    door.connect(1, odd).await;
    let user = door.user(1, odd).await;
    let encoded = "B%C3%B6b%2F%C3%BC%3F%20%26%23%2525.";
    let shown = door.read(&alice, &format!("/Client/v2/Users/{encoded}")).await;
    let map = user.sid.to_string().replace("US", "MP");
    assert_eq!(
        shown,
        json!({
            "sid": user.sid,
            "identity": odd,
            "friendly_name": null,
            "attributes": "{}",
            "is_online": true,
            "is_notifiable": null,
            "url": format!("https://reachability.invalid/Client/v2/Users/{}", user.sid),
            "sync_unique_name": map,
            "sync_objects": {"user_info_map": map},
        })
    );
    for path in [format!("/Client/v1/Users/{encoded}"), format!("/Client/v2/Users/{}", user.sid)] {
        assert_eq!(door.read(&alice, &path).await, shown);
    }
    door.disconnect(1, odd).await;
    assert_eq!(door.read(&alice, &format!("/Client/v2/Users/{encoded}")).await["is_online"], false);
}

async fn users_of_another_service_are_not_found(door: Door) {
    let alice = door.connect(1, "alice").await;
    door.connect(2, "mallory").await;
    // The same identity is another user there.
    let other = door.connect(2, "alice").await;
    let sid = door.user(2, "mallory").await.sid;
    for path in
        ["/Client/v2/Users/mallory".to_owned(), format!("/Client/v2/Users/{sid}"), "/Client/v2/Users/%FF".into()]
    {
        assert_eq!(error(&door.get(&alice, &path).await), (404, 20404), "{path}");
    }
    let sids = [&alice, &other].map(async |client| door.read(client, "/Client/v2/Users/alice").await["sid"].clone());
    let [first, second] = sids;
    assert_ne!(first.await, second.await);
}

async fn a_user_changes_its_own_profile(door: Door) {
    let alice = door.connect(1, "alice").await;
    let sid = door.user(1, "alice").await.sid;
    let by_sid = format!("/Client/v2/Users/{sid}");
    for (path, body, name, attributes) in [
        ("/Client/v2/Users/alice", json!({"friendly_name": "Älice"}), json!("Älice"), "{}"),
        (&by_sid, json!({"attributes": "{\"a\": [1]}"}), json!("Älice"), "{\"a\": [1]}"),
        ("/Client/v1/Users/alice", json!({}), json!("Älice"), "{\"a\": [1]}"),
        ("/Client/v2/Users/alice", json!({"friendly_name": null, "role_sid": "RL1"}), Value::Null, "{\"a\": [1]}"),
        ("/Client/v2/Users/alice", json!({"friendly_name": "B", "attributes": "null"}), json!("B"), "null"),
        ("/Client/v2/Users/alice", json!({"friendly_name": "", "attributes": ""}), Value::Null, "{}"),
    ] {
        let (status, shown) = door.send(&alice, "POST", path, &body.to_string()).await;
        assert_eq!(status, 200, "{body}: {shown}");
        assert_eq!((&shown["friendly_name"], &shown["attributes"]), (&name, &json!(attributes)), "{body}");
        assert_eq!(shown, door.read(&alice, &by_sid).await);
        assert_eq!(shown["is_online"], true);
    }
}

async fn a_user_changes_nobody_else(door: Door) {
    let alice = door.connect(1, "alice").await;
    door.connect(1, "bob").await;
    door.connect(2, "alice").await;
    let before = [door.user(1, "bob").await, door.user(2, "alice").await, door.user(1, "alice").await];
    for user in ["bob", "nobody", "Alice", &before[0].sid.to_string(), &before[1].sid.to_string()] {
        let answer = door.send(&alice, "POST", &format!("/Client/v2/Users/{user}"), r#"{"friendly_name":"x"}"#).await;
        assert_eq!(error(&answer), (403, 50107), "{user}");
    }
    assert_eq!(before, [door.user(1, "bob").await, door.user(2, "alice").await, door.user(1, "alice").await]);
}

async fn the_limits_of_a_profile_are_those_of_the_owner(door: Door) {
    let alice = door.connect(1, "alice").await;
    let long = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    for (body, expected) in [
        (json!({"friendly_name": "ü".repeat(256)}), None),
        (json!({"friendly_name": "ü".repeat(257)}), Some(50003)),
        (json!({"attributes": long(4_096)}), None),
        (json!({"attributes": long(4_097)}), Some(50303)),
        (json!({"attributes": "{"}), Some(50304)),
        (json!({"attributes": {"a": 1}}), Some(20001)),
        (json!({"friendly_name": 1}), Some(20001)),
        (json!(["x"]), Some(20001)),
        (json!("x"), Some(20001)),
    ] {
        let answer = door.send(&alice, "POST", "/Client/v2/Users/alice", &body.to_string()).await;
        match expected {
            None => assert_eq!(answer.0, 200, "{body}: {}", answer.1),
            Some(code) => assert_eq!(error(&answer), (400, code), "{body}"),
        }
    }
    for body in ["", "{", "friendly_name=x"] {
        let answer = door.send(&alice, "POST", "/Client/v2/Users/alice", body).await;
        assert_eq!(error(&answer), (400, 20001), "{body}");
    }
}

/// Webhooks always tell what a client does, and what a REST request does if it asks for it.
async fn who_wrote_a_profile_is_remembered(door: Door) {
    let alice = door.connect(1, "alice").await;
    let path = format!("/v1/Services/{}/Users/alice", service(1));
    let asked = async || {
        let user = door.user(1, "alice").await;
        (user.webhook_enabled, user.by_client)
    };
    for name in ["A", "C"] {
        let body = format!(r#"{{"friendly_name": "{name}"}}"#);
        assert_eq!(door.send(&alice, "POST", "/Client/v2/Users/alice", &body).await.0, 200);
        assert_eq!(asked().await, (true, true));
        assert_eq!(door.send_as_owner("POST", &path, "FriendlyName=B").await.0, 200);
        assert_eq!(asked().await, (false, false));
    }
}
