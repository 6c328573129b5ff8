//! Push registrations of clients, and what they make of pushes.

use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::push_place::PushPlace;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::{Value, json};

use super::with_each_library;

const APN: &str = "00ffee11223344556677889900aabbcc";

const ANDROID: &str = "token-of-bob";

/// How many registrations a user has.
async fn registrations(place: &Place, identity: &str) -> usize {
    let list = place.client.get(&place.path(&format!("Bindings?Identity={identity}"))).await;
    list["bindings"].as_array().unwrap().len()
}

#[tokio::test]
async fn registrations_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &place, "bob").await;
        alice.user("bob").await;
        bob.user("alice").await;
        let set = async |channel: &str, address: &str| {
            bob.call("setPushRegistrationId", json!([channel, address])).await.unwrap();
        };
        let unset = async |channel: &str| bob.call("unsetPushRegistrationId", json!([channel])).await.unwrap();
        let (on, off) = ("reachabilityNotifiable true", "reachabilityNotifiable false");

        set("fcm", "one").await;
        alice.is_told("bob", &[on]).await;
        // Nothing comes of the same again, also with another token.
        set("fcm", "one").await;
        let token = place.token(program, "bob").await;
        bob.call("updateToken", json!([token])).await.unwrap();
        set("fcm", "one").await;
        alice.is_told("bob", &[]).await;
        assert_eq!(registrations(&place, "bob").await, 1, "{library:?}");
        // The library removes the old one first.
        set("fcm", "two").await;
        alice.is_told("bob", &[off, on]).await;
        assert_eq!(registrations(&place, "bob").await, 1, "{library:?}");

        // Of two, the last one counts.
        set("apn", APN).await;
        let both = async || (registrations(&place, "bob").await == 2).then_some(());
        wait("it is registered", both).await;
        unset("fcm").await;
        let one = async || (registrations(&place, "bob").await == 1).then_some(());
        wait("it is removed", one).await;
        alice.is_told("bob", &[]).await;
        unset("apn").await;
        alice.is_told("bob", &[off]).await;
        unset("apn").await;
        unset("fcm").await;

        // Chat has no more than that, and what was unset stays so.
        if library == Library::Chat {
            return;
        }
        let remove = async |channel: &str, address: &str| {
            bob.call("removePushRegistrations", json!([channel, address])).await.unwrap();
        };
        set("fcm", "three").await;
        alice.is_told("bob", &[on]).await;
        // It removes what another client has registered too, but no other user's.
        alice.call("removePushRegistrations", json!(["fcm", "three"])).await.unwrap();
        remove("fcm", "another").await;
        alice.is_told("bob", &[]).await;
        remove("fcm", "three").await;
        alice.is_told("bob", &[off]).await;
        remove("fcm", "three").await;
        alice.is_told("bob", &[]).await;
        assert_eq!(registrations(&place, "bob").await, 0, "{library:?}");
        bob.is_told("alice", &[]).await;

        // A registration outlives the connection.
        set("apn", APN).await;
        alice.is_told("bob", &[on]).await;
        bob.call("shutdown", json!([])).await.unwrap();
        alice.is_told("bob", &["reachabilityOnline false"]).await;
    })
    .await;
}

/// A server at whose service Bob has a device of each kind, registered by his client.
async fn with_devices_of_bob() -> PushPlace {
    let scene = PushPlace::new().await;
    let program = Program::shared(Library::Conversations).await;
    let bob = Live::start(program, &scene.place, "bob").await;
    bob.call("setPushRegistrationId", json!(["fcm", ANDROID])).await.unwrap();
    bob.call("setPushRegistrationId", json!(["apn", APN])).await.unwrap();
    wait("both are there", async || (registrations(&scene.place, "bob").await == 2).then_some(())).await;
    drop(bob);
    scene
}

#[tokio::test]
async fn pushes_are_parsed() {
    let scene = with_devices_of_bob().await;
    // The vendor's libraries ask for the type. The owner's data has it, and what else they look for.
    let data = json!({
        "twi_message_type": "twilio.conversations.new_message",
        "twi_title": "Alice", "twi_body": "Hello",
        "conversation_sid": "CH00000000000000000000000000000001", "message_index": 7,
    });
    let form =
        [("Identity", "bob"), ("Title", "Alice"), ("Body", "Hello"), ("Sound", "ring"), ("Data", &data.to_string())];
    scene.notify(&form).await;
    let both = async || Some((scene.apple.shown(APN).pop()?, scene.google.shown(ANDROID).pop()?));
    let (by_apple, by_google) = wait("both are sent", both).await;

    with_each_library(async |library| {
        let program = Program::shared(library).await;
        for (payload, sound) in [(&by_apple, json!("ring")), (&by_google, Value::Null)] {
            let parsed = program.static_call("parsePushNotification", json!([payload])).await.unwrap();
            assert_eq!(parsed["type"], "twilio.conversations.new_message", "{library:?}: {parsed}");
            assert_eq!(
                (&parsed["title"], &parsed["body"]),
                (&json!("Alice"), &json!("Hello")),
                "{library:?}: {parsed}"
            );
            // FCM has it where the system looks for it, and not in the data.
            assert_eq!(parsed["sound"], sound, "{library:?}: {parsed}");
            if library != Library::Chat {
                let expected = json!({ "conversationSid": "CH00000000000000000000000000000001", "messageIndex": 7 });
                assert_eq!(parsed["data"], expected, "{library:?}: {parsed}");
            }
        }
    })
    .await;
}

/// A notification in the format of the vendor's client: it finds all that it looks for.
#[tokio::test]
async fn the_vendors_client_finds_everything_in_its_own_format() {
    let scene = with_devices_of_bob().await;
    let media = json!([{ "sid": "ME1", "size": 7, "content_type": "image/png", "filename": "a.png" }]);
    let data = json!({
        "twi_message_type": "twilio.conversations.new_message",
        "conversation_sid": "CH00000000000000000000000000000001",
        "conversation_title": "Friends",
        "message_sid": "IM00000000000000000000000000000001",
        "message_index": 7,
        "media_count": 1,
        "media": media,
    });
    let form = [
        ("Identity", "bob"),
        ("Title", "Alice"),
        ("Body", "Hello \u{1F600}"),
        ("Sound", "ring"),
        ("Action", "REPLY"),
        ("Format", "conversations"),
        ("Apn", r#"{"aps":{"badge":3}}"#),
        ("Data", &data.to_string()),
    ];
    let sent = scene.notify(&form).await;
    assert_eq!((&sent["format"], &sent["action"]), (&json!("conversations"), &json!("REPLY")));
    let both = async || Some((scene.by_apple(APN).pop()?.json(), scene.by_google(ANDROID).pop()?));
    let (by_apple, by_google) = wait("both are sent", both).await;
    assert_eq!(by_google["notification"], Value::Null, "Android leaves it to the app");

    with_each_library(async |library| {
        let program = Program::shared(library).await;
        for (payload, badge) in [(&by_apple, json!(3)), (&by_google, Value::Null)] {
            let parsed = program.static_call("parsePushNotification", json!([payload])).await.unwrap();
            let expected = json!({
                "title": "Alice", "body": "Hello \u{1F600}", "sound": "ring", "badge": badge, "action": "REPLY",
                "type": "twilio.conversations.new_message", "data": parsed["data"],
            });
            assert_eq!(parsed, expected, "{library:?}");
            let found = parsed["data"].as_object().unwrap();
            // Each version knows some of them.
            let known = json!({
                "conversationSid": "CH00000000000000000000000000000001", "conversationTitle": "Friends",
                "messageSid": "IM00000000000000000000000000000001", "messageIndex": 7, "mediaCount": 1, "media": media,
            });
            if library == Library::Conversations {
                assert_eq!(parsed["data"], known, "{library:?}");
            }
            let other = found.iter().find(|(name, value)| !known[*name].is_null() && known[*name] != **value);
            assert_eq!(other, None, "{library:?}");
        }
    })
    .await;
}
