//! Regressions: each test is about a bug that was fixed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::directory::user::UserRef;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_tests::generate::{START, event_of, service, users};
use reachability_tests::harness::{Harness, SETTINGS, rules, unstamped, worker};
use reachability_tests::model::Settings;
use reachability_worker::Received;

const DAY: i64 = 86_400_000;

fn event(connection: &str, at: i64, kind: EventKind) -> Event {
    event_of("alice", connection, at, kind)
}

fn connect(connection: &str, at: i64, lease: u64) -> Event {
    event(connection, at, EventKind::Connect { lease: Some(Duration::from_secs(lease)), device: None })
}

fn end(connection: &str, at: i64, reason: EndReason) -> Event {
    event(connection, at, EventKind::Disconnect { reason })
}

async fn harness(settings: Settings) -> Harness {
    let harness = Harness::new(Arc::new(MemoryStore::default()), settings);
    harness.switch(service(1), true).await;
    harness
}

struct NoQueue;

#[async_trait]
impl Queue<PresenceMessage> for NoQueue {
    async fn send(&self, _messages: &[PresenceMessage]) -> Result<(), QueueError> {
        Err(QueueError::Unavailable("it is away".into()))
    }
}

/// A connect was written, and the worker failed before it set the timer. The connect was redelivered together with a
/// second, new one. The worker took the first one for handled because of the new one, and its end was never published.
#[tokio::test]
async fn a_redelivered_connect_beside_a_new_one_gets_its_timer() {
    for beside in [connect("c-2", START, 60), event("c-1", START + 1, EventKind::Renew { lease: None })] {
        let harness = harness(SETTINGS).await;
        let broken = worker(harness.store.clone(), Arc::new(NoQueue), rules(SETTINGS), Duration::ZERO, Arc::default());
        let first = connect("c-1", START, 3_600);
        let messages = vec![unstamped(&first)];
        assert_eq!(broken.process(messages, Timestamp::from_millis(START)).await.len(), 1);
        let again = vec![Received::new(unstamped(&first), true), Received::new(unstamped(&beside), false)];
        let failed = harness.worker.process_received(again, Timestamp::from_millis(START + 1)).await;
        assert!(failed.is_empty(), "{failed:?}");
        let mut now = START;
        while let Some(due) = harness.timers.next() {
            now = due.as_millis();
            harness.tick(now).await;
        }
        assert!(now >= START + 3_600_000);
        assert_eq!(harness.told(&users()[0]).await.online, Some(false));
    }
}

/// A disconnect arrived before reachability was ever on, and was dropped. Its connect arrived after the switch, and the
/// user stayed online.
#[tokio::test]
async fn an_end_is_kept_before_reachability_was_ever_on() {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    harness.switch(service(1), false).await;
    harness.deliver(&[end("c-1", START + 1, EndReason::ClientClosed)], START + 1).await;
    harness.switch(service(1), true).await;
    harness.deliver(&[connect("c-1", START, 4_294_967_295)], START + 2).await;
    assert_eq!(harness.read(&users()[0], START + 3).await.online, Some(false));
}

/// A connect from before a deletion that was handled after it created the user again, but only while reachability was off.
#[tokio::test]
async fn a_deleted_user_does_not_come_back_while_reachability_is_off() {
    let harness = harness(SETTINGS).await;
    let alice = users().remove(0);
    let by_identity = UserRef::Identity(alice.identity.clone());
    harness.deliver(&[connect("c-1", START, 60)], START).await;
    let user = harness.store.user(alice.service, &by_identity).await.unwrap().unwrap();
    harness.switch(service(1), false).await;
    harness.store.delete_user(alice.service, user.sid, Timestamp::from_millis(START + 1)).await.unwrap();
    let renewal = event("c-1", START + 1, EventKind::Renew { lease: None });
    harness.deliver(&[renewal, connect("c-1", START, 60), connect("c-2", START, 60)], START + 2).await;
    assert_eq!(harness.store.user(alice.service, &by_identity).await.unwrap(), None);
    // A user who connects again is a new user.
    harness.deliver(&[connect("c-2", START + 3, 60)], START + 3).await;
    assert!(harness.store.user(alice.service, &by_identity).await.unwrap().is_some());
}

/// The mark of a lost connection was dropped after fifteen days, while its grace period of twenty still ran.
#[tokio::test]
async fn a_live_connection_is_not_forgotten() {
    let harness = harness(Settings { grace: 20 * DAY, ..SETTINGS }).await;
    let lease = 60 * 86_400;
    harness.deliver(&[connect("c-1", START, lease), end("c-1", START, EndReason::ConnectionLost)], START).await;
    let other = [connect("c-2", START + 16 * DAY, 60), end("c-2", START + 16 * DAY, EndReason::ClientClosed)];
    harness.deliver(&other, START + 16 * DAY).await;
    assert_eq!(harness.read(&users()[0], START + 20 * DAY - 1).await.online, Some(true));
    assert_eq!(harness.read(&users()[0], START + 20 * DAY).await.online, Some(false));
}

/// Ten thousand connections with leases of a year left ten thousand timers for a year, although all had ended.
#[tokio::test]
async fn timers_of_ended_connections_are_dropped() {
    let harness = harness(SETTINGS).await;
    for n in 0..100 {
        let id = format!("c-{n}");
        harness.deliver(&[connect(&id, START + n, 31_536_000)], START + n).await;
        harness.deliver(&[end(&id, START + n, EndReason::ClientClosed)], START + n).await;
    }
    assert_eq!(harness.timers.count(), 1);
    harness.tick(START + 15 * 60_000 + 100).await;
    assert_eq!(harness.timers.count(), 0);
}

/// Each repetition of a connect added a timer, and each timer set the next.
#[tokio::test]
async fn a_connection_has_one_timer() {
    let harness = harness(SETTINGS).await;
    for later in 0..100 {
        harness.deliver(&[connect("c-1", START, 31_536_000)], START + later).await;
    }
    while let Some(due) = harness.timers.next().filter(|due| due.as_millis() < START + DAY) {
        harness.tick(due.as_millis()).await;
    }
    assert_eq!(harness.timers.count(), 1);
}

/// A timer that was delivered a millisecond early, for a connection in its grace period, was dropped. The end was
/// published only with a timer of the lease, or never, if the disconnect had overtaken its connect.
#[tokio::test]
async fn an_early_timer_is_set_again() {
    let lost = end("c-1", START + 5_000, EndReason::ConnectionLost);
    let connected = connect("c-1", START, 3_600);
    for events in [[connected.clone(), lost.clone()], [lost, connected]] {
        for early in [1, 9_999] {
            let harness = harness(SETTINGS).await;
            for event in &events {
                harness.deliver(std::slice::from_ref(event), START + 5_000).await;
            }
            let due = START + 15_000;
            assert_eq!(harness.timers.next(), Some(Timestamp::from_millis(due)));
            let timers = harness.timers.count();
            harness.tick_early(due - early, early).await;
            assert_eq!(harness.timers.count(), timers, "neither lost nor doubled");
            assert_eq!(harness.timers.next(), Some(Timestamp::from_millis(due)), "for the same time");
            harness.tick(due).await;
            assert_eq!(harness.told(&users()[0]).await.online, Some(false));
        }
    }
}

/// If a grace period is longer than a queue keeps a message, its timer is a chain of timers. The chain ended after the
/// first one.
#[tokio::test]
async fn the_end_of_a_long_grace_period_is_published() {
    for (grace, lease) in [(1_200_000, 3_600), (3_600_000, 31_536_000), (1_200_000, 600)] {
        let harness = harness(Settings { grace, ..SETTINGS }).await;
        harness.deliver(&[connect("c-1", START, lease)], START).await;
        harness.deliver(&[end("c-1", START + 1_000, EndReason::ConnectionLost)], START + 1_000).await;
        let end = (START + 1_000 + grace).min(START + lease as i64 * 1_000);
        while let Some(due) = harness.timers.next().filter(|due| due.as_millis() <= end) {
            harness.tick(due.as_millis()).await;
        }
        assert_eq!(harness.told(&users()[0]).await.online, Some(false), "{grace} {lease}");
        assert_eq!(harness.state(&users()[0]).await.as_of, Timestamp::from_millis(end));
    }
}

/// A connection was renewed and then lost with a grace period that outlasts its lease. The end set no timer, and the
/// timer of the lease before the renewal stopped because the connection had ended.
#[tokio::test]
async fn the_end_of_a_lease_within_a_grace_period_is_published() {
    let harness = harness(Settings { grace: 200_000, ..SETTINGS }).await;
    harness.deliver(&[connect("c-1", START, 120)], START).await;
    let renewal = event("c-1", START + 100_000, EventKind::Renew { lease: Some(Duration::from_secs(120)) });
    harness.deliver(&[renewal], START + 100_000).await;
    harness.deliver(&[end("c-1", START + 115_000, EndReason::ConnectionLost)], START + 115_000).await;
    while let Some(due) = harness.timers.next() {
        harness.tick(due.as_millis()).await;
    }
    assert_eq!(harness.state(&users()[0]).await.as_of, Timestamp::from_millis(START + 220_000));
    assert_eq!(harness.told(&users()[0]).await.online, Some(false));
}

/// A lost connection may have two timers, that of its lease and that of its grace period. Whichever goes off while the other
/// still waits does not set a third.
#[tokio::test]
async fn a_lost_connection_has_no_more_than_two_timers() {
    // The timer of the lease goes off within the grace period, at its end, and after it.
    for (lost_at, grace) in [(115, 10), (110, 10), (60, 10), (115, 1_200), (60, 3_600)] {
        for lease in [120, 31_536_000] {
            let harness = harness(Settings { grace: grace * 1_000, ..SETTINGS }).await;
            harness.deliver(&[connect("c-1", START, lease)], START).await;
            let renewal = EventKind::Renew { lease: Some(Duration::from_secs(31_536_000)) };
            harness.deliver(&[event("c-1", START + 50_000, renewal)], START + 50_000).await;
            let lost_at = START + lost_at * 1_000;
            harness.deliver(&[end("c-1", lost_at, EndReason::ConnectionLost)], lost_at).await;
            assert!(harness.timers.count() <= 2);
            // Each message is handled alone, as a queue may deliver it.
            let (mut handled, mut instants) = (0, 0);
            while let Some(due) = harness.timers.next() {
                instants += 1;
                for check in harness.timers.take_due(due) {
                    handled += 1;
                    harness.handle_timers(vec![check], due.as_millis()).await;
                }
            }
            assert!(handled <= instants + 1, "{handled} timers for {instants} instants");
            assert_eq!(harness.told(&users()[0]).await.online, Some(false));
        }
    }
}
