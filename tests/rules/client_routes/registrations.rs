//! The push registrations of clients.

use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::Credential;
use reachability_domain::sid::{CredentialSid, Sid};
use reachability_functions::client::Client;
use reachability_tests::contract::credentials::credential;
use serde_json::{Value, json};

use super::{Door, client, error, on_both_stores, service};

on_both_stores![
    a_registration_makes_a_user_notifiable,
    the_same_device_has_the_same_registration,
    a_device_is_unregistered_by_its_address,
    registrations_of_others_are_left_alone,
    the_token_names_the_credential,
    what_is_no_registration_is_refused,
];

/// What the vendor's clients send.
fn registration(channel: &str, token: &str) -> String {
    json!({
        "endpoint_platform": "web",
        "channel_type": channel,
        "version": "3",
        "message_types": ["twilio.conversations.new_message", "twilio.conversations.added_to_conversation"],
        "data": {"registration_id": token},
    })
    .to_string()
}

const REGISTRATIONS: &str = "/v1/registrations?productId=ip_messaging";

async fn register(door: &Door, client: &Client, channel: &str, token: &str) -> String {
    let (status, body) = door.send(client, "POST", REGISTRATIONS, &registration(channel, token)).await;
    assert_eq!(status, 201, "{body}");
    let [(name, id)] = body.as_object().unwrap().iter().collect::<Vec<_>>()[..] else { panic!("{body}") };
    assert_eq!(name, "id");
    id.as_str().unwrap().to_owned()
}

async fn remove(door: &Door, client: &Client, channel: &str, token: &str) -> (u16, Value) {
    let body = json!({"binding_type": channel, "address": token}).to_string();
    door.send(client, "DELETE", REGISTRATIONS, &body).await
}

async fn is_notifiable(door: &Door, client: &Client) -> Value {
    door.read(client, &format!("/Client/v2/Users/{}", client.user.identity)).await["is_notifiable"].clone()
}

async fn bindings(door: &Door, n: u128) -> Vec<Binding> {
    let page = PageRequest { position: Cursor::Start, limit: 100 };
    door.bindings.bindings(service(n), &BindingFilter::default(), page).await.unwrap().items
}

const GONE: (u16, Value) = (204, Value::Null);

async fn a_registration_makes_a_user_notifiable(door: Door) {
    let alice = door.connect(1, "alice").await;
    assert_eq!(is_notifiable(&door, &alice).await, Value::Null);
    let fcm = register(&door, &alice, "fcm", "a-token").await;
    let apn = register(&door, &alice, "apn", "00FF").await;
    assert_eq!(is_notifiable(&door, &alice).await, true);
    let stored = bindings(&door, 1).await;
    let mut ids: Vec<String> = stored.iter().map(|binding| binding.sid.to_string()).collect();
    ids.sort_by_key(|id| *id != fcm);
    assert_eq!(ids, [fcm.clone(), apn.clone()]);
    assert!(stored.iter().all(|binding| binding.user() == alice.user));
    assert_eq!(door.pushes.take().len(), 2, "each registration is checked");
    for id in [&fcm, &fcm, &apn] {
        // Twice is as good as once.
        let path = format!("/v1/registrations/{id}?productId=ip_messaging");
        assert_eq!(door.send(&alice, "DELETE", &path, "{}").await, GONE);
        assert_eq!(is_notifiable(&door, &alice).await, id != &apn);
    }
}

async fn the_same_device_has_the_same_registration(door: Door) {
    let alice = door.connect(1, "alice").await;
    let first = register(&door, &alice, "apn", "00ff").await;
    assert_eq!(register(&door, &alice, "apn", "00FF").await, first);
    assert_eq!(register(&door, &alice, "apn", "00ff").await, first);
    let fcm = register(&door, &alice, "fcm", "00ff").await;
    assert_ne!(fcm, first);
    assert_eq!(register(&door, &alice, "gcm", "00ff").await, fcm);
    assert_eq!(bindings(&door, 1).await.len(), 2);
    // What is set, set again and unset is gone.
    assert_eq!(door.send(&alice, "DELETE", &format!("/v1/registrations/{first}"), "").await, GONE);
    assert_eq!(bindings(&door, 1).await.len(), 1);
    // A device that changes hands belongs to the last one.
    let bob = door.connect(1, "bob").await;
    assert_ne!(register(&door, &bob, "fcm", "00ff").await, fcm);
    assert_eq!((is_notifiable(&door, &alice).await, is_notifiable(&door, &bob).await), (json!(false), json!(true)));
    // And a late goodbye of the first one does not take it away.
    assert_eq!(door.send(&alice, "DELETE", &format!("/v1/registrations/{fcm}"), "").await, GONE);
    assert_eq!(is_notifiable(&door, &bob).await, true);
}

async fn a_device_is_unregistered_by_its_address(door: Door) {
    let alice = door.connect(1, "alice").await;
    register(&door, &alice, "fcm", "a-token").await;
    assert_eq!(remove(&door, &alice, "fcm", "another-token").await, GONE);
    assert_eq!(remove(&door, &alice, "apn", "00ff").await, GONE);
    assert_eq!(is_notifiable(&door, &alice).await, true);
    for _ in 0..2 {
        assert_eq!(remove(&door, &alice, "gcm", "a-token").await, GONE);
        assert_eq!(is_notifiable(&door, &alice).await, false);
    }
    // A user who does not exist yet is created.
    let carol = client(1, "carol");
    register(&door, &carol, "fcm", "c-token").await;
    assert_eq!(is_notifiable(&door, &carol).await, true);
}

async fn registrations_of_others_are_left_alone(door: Door) {
    let alice = door.connect(1, "alice").await;
    let mut others = vec![];
    for (n, identity) in [(1, "bob"), (2, "alice"), (2, "mallory")] {
        let other = door.connect(n, identity).await;
        let token = format!("token-of-{identity}");
        others.push((register(&door, &other, "fcm", &token).await, token, other));
    }
    let before = (bindings(&door, 1).await, bindings(&door, 2).await);
    for (id, token, _) in &others {
        assert_eq!(door.send(&alice, "DELETE", &format!("/v1/registrations/{id}"), "{}").await, GONE);
        assert_eq!(remove(&door, &alice, "fcm", token).await, GONE);
    }
    assert_eq!((bindings(&door, 1).await, bindings(&door, 2).await), before);
    for (_, _, other) in &others {
        assert_eq!(is_notifiable(&door, other).await, true);
    }
}

async fn the_token_names_the_credential(door: Door) {
    let alice = door.connect(1, "alice").await;
    for (n, channel) in [(1, Channel::Fcm), (2, Channel::Fcm), (3, Channel::Apn)] {
        let credential = Credential { channel, ..credential(n) };
        door.credentials.create_credential(&credential).await.unwrap();
    }
    let [second, apn] = [2, 3].map(|n| -> CredentialSid { Sid::from_bits(n) });
    // The account has one for APNs, and two for FCM.
    register(&door, &alice, "apn", "00ff").await;
    assert_eq!(bindings(&door, 1).await[0].credential_sid, Some(apn));
    let refused = door.send(&alice, "POST", REGISTRATIONS, &registration("fcm", "t")).await;
    assert_eq!(error(&refused), (400, 20001));
    let with = |push_credential| Client { push_credential: Some(push_credential), ..alice.clone() };
    for unfit in [apn, Sid::from_bits(4)] {
        let refused = door.send(&with(unfit), "POST", REGISTRATIONS, &registration("fcm", "t")).await;
        assert_eq!(error(&refused), (400, 20001));
        assert!(refused.1["message"].as_str().unwrap().contains("push_credential_sid"), "{}", refused.1);
    }
    assert_eq!(bindings(&door, 1).await.len(), 1);
    let id = register(&door, &with(second), "fcm", "t").await;
    let found = bindings(&door, 1).await.into_iter().find(|binding| binding.sid.to_string() == id).unwrap();
    assert_eq!(found.credential_sid, Some(second));
}

async fn what_is_no_registration_is_refused(door: Door) {
    let alice = door.connect(1, "alice").await;
    for (method, body, code) in [
        ("POST", String::new(), 20001),
        ("POST", "[]".to_owned(), 20001),
        ("POST", json!({"channel_type": "fcm"}).to_string(), 20001),
        ("POST", json!({"channel_type": "fcm", "data": {"registration_id": 1}}).to_string(), 20001),
        ("POST", registration("fcm", ""), 20001),
        ("POST", registration("fcm", "a b"), 20001),
        ("POST", registration("apn", "not hexadecimal"), 20001),
        ("POST", registration("twilsock", "t"), 50209),
        ("POST", registration("FCM", "t"), 50209),
        ("DELETE", String::new(), 20001),
        ("DELETE", "{}".to_owned(), 20001),
        ("DELETE", json!({"binding_type": "sms", "address": "t"}).to_string(), 50209),
        ("DELETE", json!({"binding_type": "apn", "address": "t"}).to_string(), 20001),
    ] {
        assert_eq!(error(&door.send(&alice, method, REGISTRATIONS, &body).await), (400, code), "{method} {body}");
    }
    for id in ["1", "REG1", "SK00000000000000000000000000000001"] {
        let answer = door.send(&alice, "DELETE", &format!("/v1/registrations/{id}"), "{}").await;
        assert_eq!(error(&answer), (404, 20404), "{id}");
    }
    let unknown = "/v1/registrations/BS00000000000000000000000000000001";
    assert_eq!(door.send(&alice, "DELETE", unknown, "{}").await, GONE);
    assert!(bindings(&door, 1).await.is_empty());
}
