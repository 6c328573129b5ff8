//! Clients that vanish: within the bound that is documented, and nobody else.

use std::time::{Duration, Instant};

use reachability_tests::twilsock::{Ended, frame, packet};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::{Setup, text};

/// A ping after 1 s, its answer within 1 s, and a grace period of 1 s.
const QUICK: [&str; 4] = ["--ping-seconds", "1", "--grace-seconds", "1"];
const BOUND: Duration = Duration::from_secs(3);

/// By how much a busy machine may be late.
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_killed_client_is_offline_after_the_grace_period() {
    let setup = Setup::new(&["--grace-seconds", "2"]).await;
    let mut alice = setup.watcher("alice").await;
    for says_close in [false, true] {
        let bob = setup.open("bob").await;
        if says_close {
            assert_eq!(alice.until("bob", Some(true)).await, 1);
            bob.close().await;
        } else {
            alice.watch("bob").await;
            drop(bob);
        }
        let started = Instant::now();
        assert_eq!(alice.until("bob", Some(false)).await, 1);
        let after = started.elapsed();
        assert!(Duration::from_millis(1_900) < after && after < Duration::from_secs(2) + SLACK, "{after:?}");
    }
}

#[tokio::test]
async fn a_frozen_client_is_offline_within_the_bound() {
    let setup = Setup::new(&QUICK).await;
    assert!(setup.server.greeting.contains("at most 3 s after a client is lost"), "{}", setup.server.greeting);
    let mut alice = setup.watcher("alice").await;
    // This one answers, and this one reads and does not answer.
    let mut dave = setup.watcher("dave").await;
    let mut deaf = setup.open("carol").await;
    deaf.answers = false;
    let frozen = setup.open("bob").await;
    let started = Instant::now();
    for identity in ["bob", "carol", "dave"] {
        alice.watch(identity).await;
    }
    dave.watch("dave").await;
    let answering = tokio::spawn(async move { dave.changes_within(3 * BOUND).await });
    let deaf = tokio::spawn(async move { (deaf.end().await, Instant::now()) });
    for identity in ["bob", "carol"] {
        alice.until(identity, Some(false)).await;
    }
    assert!(started.elapsed() < BOUND + SLACK, "{:?}", started.elapsed());
    let (ended, _) = deaf.await.unwrap();
    assert_eq!(ended, Ended::Closed(1001, "no-answer-to-ping".into()));
    assert_eq!(answering.await.unwrap(), []);
    assert_eq!(alice.seen("dave").reachability.0, Some(true), "who answers is never offline");
    drop(frozen);
}

#[tokio::test]
async fn a_client_with_a_slow_network_is_not_lost() {
    let setup = Setup::new(&QUICK).await;
    let mut alice = setup.open("alice").await;
    let http = json!({"host": "x", "path": "/Client/v2/Users/alice", "method": "GET", "params": {}, "headers": {}});
    let header = json!({"method": "message", "id": "TM9", "payload_type": "application/json", "http_request": http});
    let message = frame(2, &packet(&header, &"x".repeat(40_000)));
    // Longer than it may be silent. Meanwhile it cannot answer pings.
    for part in message.chunks(message.len() / 35) {
        alice.stream().write_all(part).await.unwrap();
        sleep(BOUND / 30).await;
    }
    let reply = alice.next().await.expect("it was not closed");
    assert_eq!((&reply.header["id"], reply.status()), (&json!("TM9"), 200), "{reply:?}");
}

#[tokio::test]
async fn nobody_hears_of_a_reconnect_in_time() {
    let setup = Setup::new(&["--grace-seconds", "2"]).await;
    let mut alice = setup.watcher("alice").await;
    let [bob, carol] = [setup.open("bob").await, setup.open("carol").await];
    alice.watch("bob").await;
    alice.watch("carol").await;
    drop(bob);
    let _bob = setup.open("bob").await;
    // When her grace period is over, so is that of Bob's first connection.
    drop(carol);
    let change = alice.change().await.unwrap();
    assert_eq!((change.identity.as_str(), change.reachability.0), ("carol", Some(false)));
    assert!(alice.changes_within(Duration::from_millis(500)).await.is_empty());
    assert_eq!(alice.seen("bob").reachability.0, Some(true));
}

#[tokio::test]
async fn a_client_that_comes_back_takes_the_place_of_its_older_socket() {
    let setup = Setup::new(&["--grace-seconds", "3600", "--max-connections-per-user", "1"]).await;
    let mut alice = setup.watcher("alice").await;
    let mut older = setup.connect().await;
    let reply = older.init(&setup.token("bob"), None).await;
    assert_eq!((reply.status(), &reply.header["continuation_token_status"]["reissued"]), (200, &true.into()));
    let token = text(&reply.header, "continuation_token");
    alice.watch("bob").await;
    // It means nothing to others.
    let reply = setup.connect().await.init(&setup.token("carol"), Some(&token)).await;
    assert_eq!((reply.status(), &reply.header["continuation_token_status"]["reissued"]), (200, &true.into()));

    let mut newer = setup.connect().await;
    let reply = newer.init(&setup.token("bob"), Some(&token)).await;
    assert_eq!((reply.status(), &reply.header["continuation_token_status"]["reissued"]), (200, &false.into()));
    assert_eq!(older.end().await, Ended::Closed(1000, "superseded".into()));
    let token = text(&reply.header, "continuation_token");
    let mut newest = setup.connect().await;
    assert_eq!(newest.init(&setup.token("bob"), Some(&token)).await.status(), 200);
    assert_eq!(newer.end().await, Ended::Closed(1000, "superseded".into()));
    assert!(alice.changes_within(Duration::from_millis(500)).await.is_empty());
    // The older ones have no grace period.
    newest.goodbye().await;
    assert_eq!(alice.until("bob", Some(false)).await, 1);
}

#[tokio::test]
async fn what_was_missed_is_heard_after_a_cut() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut alice = setup.watcher("alice").await;
    let (bob, carol) = (setup.open("bob").await, setup.open("carol").await);
    alice.watch("bob").await;
    alice.watch("carol").await;
    alice.socket.cut();
    bob.goodbye().await;
    setup.client.post(&format!("/v1/Services/{}/Users/bob", setup.service), "FriendlyName=Bobby").await;
    alice.resume(setup.open("alice").await).await;
    alice.until("bob", Some(false)).await;
    while alice.seen("bob").friendly_name.as_deref() != Some("Bobby") {
        alice.change().await.unwrap();
    }
    carol.goodbye().await;
    assert_eq!(alice.until("carol", Some(false)).await, 1);
}
