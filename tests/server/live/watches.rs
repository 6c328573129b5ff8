//! Users who are deleted while they are watched, and more of them than a client may watch.

use futures_util::future::join_all;
use reachability_tests::events::event;
use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::{Value, json};

use super::with_each_library;

#[tokio::test]
async fn a_user_who_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &place, "bob").await;
        assert_eq!(alice.reachability("bob").await, json!([true, null]), "{library:?}");
        alice.is_told("bob", &[]).await;
        place.client.delete(&place.path("Users/bob")).await;
        alice.hears_change("bob", "reachabilityOnline null").await;
        // It does not come back by itself, which would make the user again.
        bob.hears("connectionStateChanged", "disconnected").await;
        assert_eq!(place.client.get(&place.path("Users/bob")).await["status"], 404);

        // The next one is another user, whom a watcher hears of once it has asked again.
        let phone = Live::start(program, &place, "bob").await;
        assert_eq!(place.shown("bob").await, json!([true, null]));
        alice.call_user("bob", "unsubscribe", json!([])).await.unwrap();
        assert_eq!(alice.reachability("bob").await, json!([true, null]), "{library:?}");
        phone.call("shutdown", json!([])).await.unwrap();
        alice.hears_change("bob", "reachabilityOnline false").await;
        assert_eq!(alice.heard("connectionStateChanged"), ["connecting", "connected"], "{library:?}");
    })
    .await;
}

/// As many as the server says that it may watch; for more, a library ends its oldest watches by itself.
#[tokio::test]
async fn as_many_users_as_a_client_may_watch() {
    const MOST: usize = 998;
    const MORE: usize = 10;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let place = Place::new(&server).await;
    let program = Program::shared(Library::Conversations).await;
    let names: Vec<String> = (0..MOST + MORE).map(|n| format!("user-{n:04}")).collect();
    let connects: Vec<Value> = names.iter().map(|name| event(&place.service, name, "connect")).collect();
    for connects in connects.chunks(500) {
        place.client.post(&place.path("Events"), Value::from(connects).to_string()).await;
    }
    for name in [&names[0], &names[MOST + MORE - 1]] {
        wait("they are online", async || (place.shown(name).await == json!([true, null])).then_some(())).await;
    }
    let alice = Live::start(program, &place, "alice").await;
    for names in names.chunks(100) {
        join_all(names.iter().map(async |name| {
            assert_eq!(alice.reachability(name).await, json!([true, null]), "{name}");
        }))
        .await;
    }
    // Its own user as well.
    let subscribed = alice.call("getSubscribedUsers", json!([])).await.unwrap();
    assert_eq!(subscribed.as_array().unwrap().len(), MOST + 1);
    let unsubscribed = alice.hears_times("userUnsubscribed", MORE).await;
    let mut unsubscribed: Vec<&str> = unsubscribed.iter().map(|user| user["identity"].as_str().unwrap()).collect();
    unsubscribed.sort_unstable();
    assert_eq!(unsubscribed, names[..MORE]);
    let last = &names[MOST + MORE - 1];
    place.event(last, "disconnect").await;
    alice.hears_change(last, "reachabilityOnline false").await;
    assert_eq!(alice.heard("connectionStateChanged"), ["connecting", "connected"]);
}
