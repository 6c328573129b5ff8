//! The worker with a cached configuration, and its metrics.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::metrics::Counter;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage, Purge};
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{Harness, SETTINGS, rules, unstamped, worker};
use reachability_worker::{Failure, Worker};

/// The maximum age of a cached configuration.
const AGE: Duration = Duration::from_secs(3);

struct Setup {
    harness: Harness,
    worker: Worker,
    metrics: Arc<EmfMetrics>,
}

fn setup() -> Setup {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    let metrics = Arc::new(EmfMetrics::default());
    let worker = worker(harness.store.clone(), harness.timers.clone(), rules(SETTINGS), AGE, metrics.clone());
    Setup { harness, worker, metrics }
}

fn event(connection: &str, at: i64, kind: EventKind) -> Event {
    event_of("alice", connection, at, kind)
}

fn connect(connection: &str, at: i64) -> Event {
    event(connection, at, EventKind::Connect { lease: None, device: None })
}

async fn handle(worker: &Worker, events: &[Event], now: i64) {
    let messages = events.iter().map(unstamped).collect();
    let failures = worker.process(messages, Timestamp::from_millis(now)).await;
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test]
async fn an_outdated_configuration_drops_no_event() {
    let Setup { harness, worker, metrics } = setup();
    let alice = connect("c-1", START).user;
    harness.switch(service(1), false).await;
    handle(&worker, &[connect("c-1", START)], START).await;
    assert_eq!(metrics.counted(Counter::EventsDisabled), 1);
    harness.switch(service(1), true).await;
    handle(&worker, &[connect("c-2", START + 1)], START + 1).await;
    assert_eq!(harness.read(&alice, START + 1).await.online, Some(true));
    assert_eq!(metrics.counted(Counter::EventsDisabled), 1);
}

#[tokio::test]
async fn a_cached_configuration_expires() {
    let Setup { harness, worker, metrics } = setup();
    let alice = connect("c-1", START).user;
    harness.switch(service(1), true).await;
    handle(&worker, &[connect("c-1", START)], START).await;
    harness.switch(service(1), false).await;
    // This does no harm: readers see that reachability is off.
    handle(&worker, &[connect("c-2", START + 2_999)], START + 2_999).await;
    assert_eq!(metrics.counted(Counter::EventsApplied), 2);
    assert_eq!(harness.read(&alice, START + 2_999).await.online, None);
    let now = START + i64::try_from(AGE.as_millis()).unwrap();
    handle(&worker, &[connect("c-3", now)], now).await;
    assert_eq!((metrics.counted(Counter::EventsApplied), metrics.counted(Counter::EventsDisabled)), (2, 1));
    // On again, in a generation in which there are no events yet.
    harness.switch(service(1), true).await;
    assert_eq!(harness.read(&alice, now).await.online, None);
    // The cache is not used either after the clock was set back.
    harness.switch(service(1), false).await;
    handle(&worker, &[connect("c-4", now - 1)], now - 1).await;
    assert_eq!(metrics.counted(Counter::EventsDisabled), 2);
}

#[tokio::test]
async fn every_event_is_accounted_for() {
    let Setup { harness, worker, metrics } = setup();
    harness.switch(service(1), true).await;
    let end = |connection: &str, at| event(connection, at, EventKind::Disconnect { reason: EndReason::ClientClosed });
    let renew = |connection: &str, at| event(connection, at, EventKind::Renew { lease: None });
    let events = [
        connect("c-1", START),
        connect("c-1", START),
        renew("c-1", START + 2_000),
        renew("c-1", START + 1_000),
        end("c-1", START + 3_000),
        connect("c-1", START),
        // A renewal of a connection that has ended already.
        end("c-2", START + 4_000),
        connect("c-2", START + 3_500),
    ];
    for (n, event) in events.iter().enumerate() {
        handle(&worker, std::slice::from_ref(event), START + 5_000 + n as i64).await;
    }
    let counts = |metrics: &EmfMetrics| {
        [Counter::EventsApplied, Counter::EventsDuplicate, Counter::EventsStale, Counter::EventsRefused]
            .map(|counter| metrics.counted(counter))
    };
    assert_eq!(counts(&metrics), [4, 1, 3, 0]);

    // The same events in one batch, which is one write.
    let Setup { harness, worker, metrics } = setup();
    harness.switch(service(1), true).await;
    handle(&worker, &events, START + 5_000).await;
    assert_eq!(counts(&metrics), [4, 1, 3, 0]);
    assert_eq!(harness.state(&events[0].user).await.revision, START as u64 + 5_000, "the first");
    // All events again.
    handle(&worker, &events, START + 6_000).await;
    assert_eq!(metrics.counted(Counter::EventsApplied), 4);
}

/// Whoever accepted an event with a stamp found its service. Of one without a stamp nobody knows whether its service ever was.
#[tokio::test]
async fn what_is_left_of_a_deleted_service_is_dropped() {
    let Setup { harness, worker, metrics } = setup();
    harness.switch(service(1), true).await;
    let stamped = harness.accept(&connect("c-1", START)).await;
    let of_user = connect("c-1", START);
    let timer = PresenceMessage::Check(Check {
        user: of_user.user.clone(),
        connection: of_user.connection.clone(),
        due_at: Timestamp::from_millis(START),
        ended: false,
    });
    assert!(harness.store.delete_service(service(1)).await.unwrap());
    let batch = vec![stamped.clone(), unstamped(&of_user), timer, stamped];
    let failures = worker.process(batch, Timestamp::from_millis(START)).await;
    assert_eq!(failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1], "{failures:?}");
    assert!(matches!(failures[0].1, Failure::UnknownService(of) if of == service(1)));
    assert_eq!((metrics.counted(Counter::EventsDropped), metrics.counted(Counter::EventsRefused)), (2, 1));
    assert_eq!(harness.timers.count(), 0);
}

#[tokio::test]
async fn leftovers_of_a_service_are_removed_only_after_its_deletion() {
    let Setup { harness, worker, .. } = setup();
    harness.switch(service(1), true).await;
    handle(&worker, &[connect("c-1", START)], START).await;
    let purge = PresenceMessage::Purge(Purge { service: service(1), due_at: Timestamp::from_millis(START) });
    assert!(worker.process(vec![purge.clone()], Timestamp::from_millis(START)).await.is_empty());
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    assert_eq!(harness.store.users(service(1), page).await.unwrap().items.len(), 1);
    assert!(harness.store.delete_service(service(1)).await.unwrap());
    assert!(worker.process(vec![purge], Timestamp::from_millis(START)).await.is_empty());
    assert!(harness.store.users(service(1), page).await.unwrap().items.is_empty());
}
