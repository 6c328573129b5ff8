//! Connections that end without a goodbye.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::relay::Relay;
use reachability_tests::server::Server;
use serde_json::json;

use super::with_each_library;

const PING: u64 = 4;
const GRACE: u64 = 2;

/// After how long a client that does not answer is shown offline: a ping, three sevenths of it for the answer, and the
/// grace period.
const BOUND: Duration = Duration::from_millis(PING * 1_000 + PING * 3_000 / 7 + GRACE * 1_000);

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);

#[tokio::test]
async fn whoever_is_gone_is_offline_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let (ping, grace) = (PING.to_string(), GRACE.to_string());
    let server = Server::start(directory.path(), &["--ping-seconds", &ping, "--grace-seconds", &grace]);
    let place = &Place::new(&server).await;
    let watching = Program::shared(Library::Conversations).await;
    let alice = &Live::start(watching, place, "alice").await;
    with_each_library(async |library| {
        let program = Program::start(library).await;
        let relay = Relay::start(&server.url).await;
        let (bob, carol) = (&format!("bob-{library:?}"), &format!("carol-{library:?}"));
        let relayed = &place.at(relay.url());
        // One has a cable that is cut, and neither end is told. The process of the other will freeze.
        let of_bob = Live::start(&program, relayed, bob).await;
        let of_carol = Live::start(&program, place, carol).await;
        for identity in [bob, carol] {
            assert_eq!(alice.reachability(identity).await, json!([true, null]), "{library:?}");
        }
        let is_offline = async |identity: &str, since: Instant| {
            alice.is_told(identity, &["reachabilityOnline false"]).await;
            since.elapsed()
        };

        relay.freeze();
        let cut = is_offline(bob, Instant::now()).await;
        assert!(cut < BOUND + SLACK, "{library:?}: {cut:?}");
        assert_eq!(of_bob.get("connectionState").await.unwrap(), "connected", "{library:?}: it knows nothing of it");

        program.signal("STOP");
        let frozen = is_offline(carol, Instant::now()).await;
        assert!(frozen < BOUND + SLACK, "{library:?}: {frozen:?}");
        // It notices, and comes back by itself.
        program.signal("CONT");
        alice.is_told(carol, &["reachabilityOnline true"]).await;
        // It is told the last state, and that is what it knows.
        of_carol.is_told(carol, &[]).await;

        let killed = Instant::now();
        program.signal("KILL");
        let killed = is_offline(carol, killed).await;
        let grace = Duration::from_secs(GRACE);
        assert!((grace..grace + SLACK).contains(&killed), "{library:?}: {killed:?}");
        alice.is_told(bob, &[]).await;
    })
    .await;
    alice.is_told("alice", &[]).await;
}

#[tokio::test]
async fn a_cut_within_the_grace_period_is_told_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let relay = Relay::start(&server.url).await;
        let relayed = place.at(relay.url());
        let alice = Live::start(program, &place, "alice").await;
        let bob = Live::start(program, &relayed, "bob").await;
        for live in [&alice, &bob] {
            live.user("alice").await;
            live.user("bob").await;
        }
        for cut in 1..=2 {
            relay.cut();
            // Once when it began, and after each cut.
            bob.has_connected(cut + 1).await;
        }
        for live in [&alice, &bob] {
            live.is_told("alice", &[]).await;
            live.is_told("bob", &[]).await;
        }
        assert_eq!(place.shown("bob").await, json!([true, null]));
    })
    .await;
}

#[tokio::test]
async fn what_was_missed_is_told_after_a_cut() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let relay = Relay::start(&server.url).await;
        let relayed = place.at(relay.url());
        let users = ["bob", "carol", "dave", "erin"];
        join_all(users.iter().map(async |identity| place.post("Users", &format!("Identity={identity}")).await)).await;
        let dave = Live::start(program, &place, "dave").await;
        let alice = Live::start(program, &relayed, "alice").await;
        for identity in users {
            alice.user(identity).await;
        }

        relay.refuse();
        alice
            .hears_until("connectionStateChanged", |states| states.last().is_some_and(|last| last != "connected"))
            .await;
        let bob = Live::start(program, &place, "bob").await;
        bob.call("setPushRegistrationId", json!(["fcm", "token-of-bob"])).await.unwrap();
        place.post("Users/carol", "FriendlyName=Carol").await;
        // What is as it was at the end need not be told.
        dave.call("shutdown", json!([])).await.unwrap();
        let dave = Live::start(program, &place, "dave").await;
        relay.retarget(&server.url);
        alice.is_told("bob", &["reachabilityOnline true, reachabilityNotifiable true"]).await;
        alice.is_told("carol", &["friendlyName \"Carol\""]).await;
        alice.is_told("dave", &[]).await;
        alice.is_told("erin", &[]).await;

        // From now on it is told at once.
        dave.call("shutdown", json!([])).await.unwrap();
        alice.is_told("dave", &["reachabilityOnline false"]).await;
        bob.is_told("bob", &["reachabilityNotifiable true"]).await;
    })
    .await;
}
