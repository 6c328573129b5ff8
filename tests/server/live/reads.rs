//! What clients read.

use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::json;

use super::with_each_library;

/// An identity whose every character needs care in a path.
const ODD: &str = "b/o b+%2F?ü";

/// Makes users of every kind: what is shown of each.
async fn users(place: &Place) -> [(&'static str, serde_json::Value); 5] {
    place.post("Users", "Identity=new").await;
    place.event("left", "connect").await;
    place.event("left", "disconnect").await;
    for (identity, address) in [("registered", "one"), ("unregistered", "two"), ("all", "three")] {
        let form = format!("Identity={identity}&BindingType=fcm&Address={address}");
        let binding = place.client.post(&place.path("Bindings"), form).await;
        if identity == "unregistered" {
            place.client.delete(&place.path(&format!("Bindings/{}", binding["sid"].as_str().unwrap()))).await;
        }
    }
    place.event("all", "connect").await;
    let users = [
        ("new", json!([null, null])),
        ("left", json!([false, null])),
        ("registered", json!([null, true])),
        ("unregistered", json!([null, false])),
        ("all", json!([true, true])),
    ];
    for (identity, expected) in &users {
        wait(identity, async || (place.shown(identity).await == *expected).then_some(())).await;
    }
    users
}

#[tokio::test]
async fn reachability_of_oneself_and_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let users = users(&place).await;
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &place, ODD).await;
        assert_eq!(alice.get("reachabilityEnabled").await.unwrap(), true);
        let own = alice.own_user().await;
        assert_eq!(own["identity"], "alice");
        assert_eq!(json!([own["isOnline"], own["isNotifiable"]]), json!([true, null]), "{library:?}");
        for (identity, expected) in &users {
            assert_eq!(alice.reachability(identity).await, *expected, "{library:?}: {identity}");
        }
        assert_eq!(alice.reachability(ODD).await, json!([true, null]), "{library:?}");
        assert_eq!(bob.reachability("alice").await, json!([true, null]), "{library:?}");
        if library == Library::Chat {
            for (identity, expected) in &users {
                let shown = alice.call("getUserDescriptor", json!([identity])).await.unwrap();
                assert_eq!(json!([shown["isOnline"], shown["isNotifiable"]]), *expected, "{identity}");
                assert_eq!(shown["friendlyName"], serde_json::Value::Null);
            }
        }
        let nobody = alice.call("getUser", json!(["nobody"])).await.unwrap_err();
        assert_eq!(nobody["status"], 404, "{library:?}: {nobody}");

        place.switch(false).await;
        let carol = Live::start(program, &place, "carol").await;
        assert_eq!(carol.get("reachabilityEnabled").await.unwrap(), false);
        let own = carol.own_user().await;
        assert_eq!(json!([own["isOnline"], own["isNotifiable"]]), json!([null, null]), "{library:?}");
        for identity in ["left", "all", "alice"] {
            assert_eq!(carol.reachability(identity).await, json!([null, null]), "{library:?}: {identity}");
        }
    })
    .await;
}

#[tokio::test]
async fn whom_a_client_has_subscribed_to() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        for identity in ["bob", "carol"] {
            place.post("Users", &format!("Identity={identity}")).await;
        }
        let alice = Live::start(program, &place, "alice").await;
        let subscribed = async || {
            let users = alice.call("getSubscribedUsers", json!([])).await.unwrap();
            let users = users.as_array().unwrap().iter();
            let mut users: Vec<String> = users.map(|user| user["identity"].as_str().unwrap().to_owned()).collect();
            users.sort();
            users
        };
        assert_eq!(subscribed().await, ["alice"], "{library:?}");
        alice.user("bob").await;
        alice.user("carol").await;
        assert_eq!(subscribed().await, ["alice", "bob", "carol"], "{library:?}");
        alice.is_told("bob", &[]).await;

        alice.call_user("bob", "unsubscribe", json!([])).await.unwrap();
        assert_eq!(alice.hears_times("userUnsubscribed", 1).await[0]["identity"], "bob");
        assert_eq!(subscribed().await, ["alice", "carol"], "{library:?}");
        let before = alice.heard("userUpdated").len();
        place.event("bob", "connect").await;
        wait("it is shown", async || (place.shown("bob").await == json!([true, null])).then_some(())).await;
        // Whatever it is told of bob comes before this.
        alice.is_told("carol", &[]).await;
        let told = alice.heard("userUpdated").split_off(before);
        assert!(told.iter().all(|told| told["user"]["identity"] == "carol"), "{library:?}: {told:?}");

        // It reads again whom it subscribes to again.
        assert_eq!(alice.reachability("bob").await, json!([true, null]), "{library:?}");
        assert_eq!(subscribed().await, ["alice", "bob", "carol"], "{library:?}");
        place.event("bob", "disconnect").await;
        alice.hears_change("bob", "reachabilityOnline false").await;
    })
    .await;
}
