//! Tokens that end, that are renewed, and that are not accepted.

use reachability_tests::live::{Key, Library, Live, Place, Program};
use reachability_tests::relay::Relay;
use reachability_tests::server::Server;
use serde_json::{Value, json};

use super::with_each_library;

/// Of a refused token, what `connectionError` says.
fn refused(errors: &[Value], status: u16, code: u32) -> bool {
    errors.last().is_some_and(|error| {
        error["terminal"] == true
            && error["httpStatusCode"] == status
            && error["errorCode"] == code
            && error["message"].is_string()
    })
}

#[tokio::test]
async fn a_renewed_token_changes_nothing_and_an_expired_one_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let [renewing, expiring] = ["renewing", "expiring"];
        let token = place.token_for(program, renewing, 5).await;
        let of_renewing = Live::open_with(program, &place, &token).await;
        of_renewing.initialized().await;
        // It ends within three minutes, so it is about to from the start.
        of_renewing.hears_times("tokenAboutToExpire", 1).await;
        let fresh = place.token(program, renewing).await;
        for token in [&token, &fresh, &fresh] {
            assert_eq!(of_renewing.call("updateToken", json!([token])).await.unwrap(), "client", "{library:?}");
        }
        let token = place.token_for(program, expiring, 5).await;
        let of_expiring = Live::open_with(program, &place, &token).await;
        of_expiring.initialized().await;
        alice.user(renewing).await;
        assert_eq!(alice.reachability(expiring).await, json!([true, null]), "{library:?}");
        of_expiring.hears_times("tokenExpired", 1).await;
        alice.is_told(expiring, &["reachabilityOnline false"]).await;
        // When it began later and has ended, the other one would have.
        assert_eq!(of_renewing.heard("tokenExpired").len(), 0, "{library:?}");
        assert_eq!(of_renewing.heard("tokenAboutToExpire").len(), 1, "{library:?}");
        alice.is_told(renewing, &[]).await;
        of_renewing.is_told(renewing, &[]).await;
        assert_eq!(of_renewing.heard("connectionStateChanged"), ["connecting", "connected"], "{library:?}");

        // A client that the server has told to go ends its connection, and waits for a token.
        of_expiring.hears("connectionStateChanged", "disconnected").await;
        let states = of_expiring.heard("connectionStateChanged");
        assert_eq!(states, ["connecting", "connected", "disconnecting", "disconnected"], "{library:?}");
        assert_eq!(of_expiring.heard("tokenAboutToExpire").len(), 1, "{library:?}");
        let fresh = place.token(program, expiring).await;
        of_expiring.call("updateToken", json!([fresh])).await.unwrap();
        alice.is_told(expiring, &["reachabilityOnline true"]).await;
        assert_eq!(of_expiring.heard("tokenExpired").len(), 1, "{library:?}");
    })
    .await;
}

#[tokio::test]
async fn a_token_that_expires_can_be_replaced_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--token-expiry", "socket"]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let token = place.token_for(program, "bob", 4).await;
        let bob = Live::open_with(program, &place, &token).await;
        bob.initialized().await;
        alice.user("bob").await;
        bob.hears_times("tokenExpired", 1).await;
        // As an app does that knows nothing else.
        let fresh = place.token(program, "bob").await;
        bob.call("updateToken", json!([fresh])).await.unwrap();
        bob.has_connected(2).await;
        assert!(refused(&bob.heard("connectionError"), 401, 20104), "{library:?}: {:?}", bob.heard("connectionError"));
        assert!(bob.heard("connectionStateChanged").contains(&"denied".into()), "{library:?}");
        // All that took less than the grace period.
        alice.is_told("bob", &[]).await;
        bob.is_told("bob", &[]).await;
    })
    .await;
}

#[tokio::test]
async fn bad_tokens_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    // Longer than a test waits.
    let server = Server::start(directory.path(), &["--grace-seconds", "300"]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let other = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let stranger =
            Place { key: Key { secret: "not-the-secret-of-the-key".to_owned(), ..place.key.clone() }, ..place.clone() };
        for (token, code) in [
            ("not a token".to_owned(), 20101),
            (stranger.token(program, "bob").await, 20107),
            (place.token_for(program, "bob", -60).await, 20104),
        ] {
            let bob = Live::open_with(program, &place, &token).await;
            bob.hears("connectionStateChanged", "denied").await;
            let errors = bob.hears_times("connectionError", 1).await;
            assert!(refused(&errors, 401, code), "{library:?}: {errors:?}");
            bob.hears("stateChanged", "failed").await;
            if library != Library::Chat {
                // Some versions tell first that they have disconnected.
                let is_refused =
                    |failed: &[Value]| failed.iter().any(|failed| refused(&[failed["error"].clone()], 401, code));
                bob.hears_until("initFailed", is_refused).await;
            }
            assert_eq!(bob.heard("tokenExpired").len(), usize::from(code == 20104), "{library:?}: {code}");
            assert_eq!(bob.heard("initialized").len(), 0, "{library:?}");
        }

        // A token for a connection that is there.
        let bob = Live::start(program, &place, "bob").await;
        alice.user("bob").await;
        for (token, status) in [
            (stranger.token(program, "bob").await, 401),
            (place.token(program, "carol").await, 403),
            (other.token(program, "bob").await, 403),
        ] {
            let times = bob.heard("connectionStateChanged").iter().filter(|state| **state == "connected").count();
            let error = bob.call("updateToken", json!([token])).await.unwrap_err();
            assert!(error["message"].as_str().unwrap().contains("Transport failure"), "{library:?}: {error}");
            let denied = |states: &[Value]| states.last() == Some(&"denied".into());
            bob.hears_until("connectionStateChanged", denied).await;
            let is_refused = |error: &Value| error["terminal"] == true && error["httpStatusCode"] == status;
            bob.hears_until("connectionError", |errors| errors.last().is_some_and(is_refused)).await;
            // It has said goodbye, and a good token brings it back.
            alice.is_told("bob", &["reachabilityOnline false"]).await;
            let good = place.token(program, "bob").await;
            bob.call("updateToken", json!([good])).await.unwrap();
            bob.has_connected(times + 1).await;
            alice.is_told("bob", &["reachabilityOnline true"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_key_ends_its_connections() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let doomed = place.with_another_key().await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &doomed, "bob").await;
        alice.user("bob").await;
        doomed.delete_key().await;
        // It does not come back until it has another token.
        alice.is_told("bob", &["reachabilityOnline false"]).await;
        bob.hears("connectionStateChanged", "disconnected").await;
        let token = place.token(program, "bob").await;
        bob.call("updateToken", json!([token])).await.unwrap();
        alice.is_told("bob", &["reachabilityOnline true"]).await;
        assert_eq!(alice.heard("connectionStateChanged"), ["connecting", "connected"], "{library:?}");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let relay = Relay::start(&server.url).await;
        relay.refuse();
        let place = Place::new(&server).await;
        let relayed = place.at(relay.url());
        let program = Program::shared(library).await;
        let alice = Live::open(program, &relayed, "alice").await;
        let errors = alice.hears_times("connectionError", 1).await;
        assert_eq!(errors[0]["terminal"], false, "{library:?}: {errors:?}");
        assert!(errors[0]["message"].is_string(), "{library:?}: {errors:?}");
        alice.hears("stateChanged", "failed").await;
        // The oldest go on connecting.
        if ![Library::Conversations22, Library::Chat].contains(&library) {
            alice.hears("connectionStateChanged", "retrying").await;
        }
        relay.retarget(&server.url);
        alice.initialized().await;
        assert_eq!(alice.get("reachabilityEnabled").await.unwrap(), true, "{library:?}");
        assert_eq!(place.shown("alice").await, json!([true, null]));
        alice.is_told("alice", &[]).await;
    })
    .await;
}
