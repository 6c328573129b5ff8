//! What clients are told of changes: each once, to whoever watches, and with the right reasons.

use reachability_tests::live::{Live, Place, Program};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::json;

use super::with_each_library;

#[tokio::test]
async fn devices_and_events_of_one_user() {
    let directory = tempfile::tempdir().unwrap();
    // Whoever is lost is shown offline later than a test waits. A goodbye takes effect at once.
    let server = Server::start(directory.path(), &["--grace-seconds", "300"]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        place.post("Users", "Identity=bob").await;
        let alice = Live::start(program, &place, "alice").await;
        assert_eq!(alice.reachability("bob").await, json!([null, null]), "{library:?}");

        // His first device, his second, and one that the owner's gateway reports.
        let phone = Live::start(program, &place, "bob").await;
        alice.is_told("bob", &["reachabilityOnline true"]).await;
        let laptop = Live::start(program, &place, "bob").await;
        place.event("bob", "connect").await;
        alice.is_told("bob", &[]).await;
        phone.call("shutdown", json!([])).await.unwrap();
        laptop.is_told("bob", &[]).await;
        laptop.call("shutdown", json!([])).await.unwrap();
        alice.is_told("bob", &[]).await;
        assert_eq!(place.shown("bob").await, json!([true, null]));
        place.event("bob", "disconnect").await;
        alice.is_told("bob", &["reachabilityOnline false"]).await;

        let phone = Live::start(program, &place, "bob").await;
        alice.is_told("bob", &["reachabilityOnline true"]).await;
        phone.call("shutdown", json!([])).await.unwrap();
        alice.is_told("bob", &["reachabilityOnline false"]).await;
        alice.is_told("alice", &[]).await;
    })
    .await;
}

#[tokio::test]
async fn the_switch() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        place.client.post(&place.path("Bindings"), "Identity=registered&BindingType=fcm&Address=one").await;
        place.client.post(&place.path("Bindings"), "Identity=bob&BindingType=fcm&Address=two").await;
        place.event("left", "connect").await;
        place.event("left", "disconnect").await;
        let left = async || (place.shown("left").await == json!([false, null])).then_some(());
        wait("it is shown", left).await;
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &place, "bob").await;
        for identity in ["bob", "registered", "left"] {
            alice.user(identity).await;
        }

        place.switch(false).await;
        let both = "reachabilityOnline null, reachabilityNotifiable null";
        alice.is_told("bob", &[both]).await;
        alice.is_told("registered", &["reachabilityNotifiable null"]).await;
        alice.is_told("left", &["reachabilityOnline null"]).await;
        alice.is_told("alice", &["reachabilityOnline null"]).await;
        bob.is_told("bob", &[both]).await;
        // Meanwhile nothing is told but profiles.
        place.event("left", "connect").await;
        let phone = Live::start(program, &place, "bob").await;
        assert_eq!(phone.get("reachabilityEnabled").await.unwrap(), false);
        assert_eq!(phone.reachability("alice").await, json!([null, null]), "{library:?}");
        place.post("Users/bob", "FriendlyName=Bobby").await;
        alice.is_told("bob", &["friendlyName \"Bobby\""]).await;
        bob.is_told("bob", &["friendlyName \"Bobby\""]).await;

        // Switched on again, each connection that is there makes its user online again.
        place.switch(true).await;
        alice.ends_with("bob", json!([true, true])).await;
        alice.ends_with("registered", json!([null, true])).await;
        alice.ends_with("alice", json!([true, null])).await;
        bob.ends_with("bob", json!([true, true])).await;
        assert_eq!(alice.reachability("left").await, json!([null, null]), "{library:?}");
        assert_eq!(alice.get("reachabilityEnabled").await.unwrap(), true);
        bob.call("shutdown", json!([])).await.unwrap();
        phone.call("shutdown", json!([])).await.unwrap();
        alice.is_told("bob", &["reachabilityOnline false"]).await;
    })
    .await;
}

#[tokio::test]
async fn profiles() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &place, "bob").await;
        assert_eq!(alice.user("bob").await["friendlyName"], json!(null), "{library:?}");
        assert_eq!(alice.user("bob").await["attributes"], json!({}), "{library:?}");

        // A library subscribes a moment after it has read. What changes in between is told as it is at last.
        alice.is_told("bob", &[]).await;
        bob.is_told("bob", &[]).await;

        // By the owner, and by the user itself.
        place.post("Users/bob", "FriendlyName=B%C3%B6b").await;
        place.post("Users/bob", "Attributes={\"n\":[1,null]}").await;
        let told = ["friendlyName \"Böb\"", "attributes {\"n\":[1,null]}"];
        alice.is_told("bob", &told).await;
        bob.is_told("bob", &told).await;
        bob.call_own_user("updateFriendlyName", json!(["Bob & Söhne"])).await.unwrap();
        bob.call_own_user("updateAttributes", json!([{ "ü": { "deep": true } }])).await.unwrap();
        let told = ["friendlyName \"Bob & Söhne\"", "attributes {\"ü\":{\"deep\":true}}"];
        alice.is_told("bob", &told).await;
        bob.is_told("bob", &told).await;
        let shown = place.client.get(&place.path("Users/bob")).await;
        assert_eq!(shown["attributes"], "{\"ü\":{\"deep\":true}}");

        // Nobody else can.
        for (method, value) in [("updateFriendlyName", json!(["x"])), ("updateAttributes", json!([{ "x": 1 }]))] {
            let error = alice.call_user("bob", method, value).await.unwrap_err();
            assert_eq!(
                (&error["status"], &error["body"]["code"]),
                (&json!(403), &json!(50107)),
                "{library:?}: {error}"
            );
        }
        // What is too much for a profile is refused, and the client lives on.
        let long = json!(["x".repeat(10_000)]);
        let error = bob.call_own_user("updateFriendlyName", long).await.unwrap_err();
        assert_eq!(error["status"], 400, "{library:?}: {error}");
        bob.is_told("bob", &[]).await;
        alice.is_told("bob", &[]).await;
    })
    .await;
}
