//! One timer for each user: however often something is delivered, and whatever is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::queue::{Message, Queue};
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_infra::sqlite::{EventQueue, Outcome, SqliteStore, Taken};
use reachability_tests::generate::{START, event_of, service, users};
use reachability_tests::harness::{Harness, SETTINGS, Timers, rules, unstamped, worker};
use reachability_tests::queues::{database, event_queue};
use reachability_worker::{Received, Worker};

const REPETITIONS: usize = 3_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(START + second * 1_000)
}

fn connect(second: i64) -> Event {
    event_of("alice", "c", START + second * 1_000, EventKind::Connect { lease: None, device: None })
}

fn renewal(second: i64) -> Event {
    event_of("alice", "c", START + second * 1_000, EventKind::Renew { lease: None })
}

async fn in_memory() -> Harness {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    harness.switch(service(1), true).await;
    harness
}

fn timers(harness: &Harness, by: Timestamp) -> Vec<Check> {
    harness.timers.take_due(by)
}

#[tokio::test]
async fn the_same_connect_3000_times_has_one_timer() {
    let harness = in_memory().await;
    for n in 0..REPETITIONS {
        harness.deliver(&[connect(0)], START + n as i64).await;
    }
    assert_eq!(harness.timers.count(), 1);
}

/// As if each handling had failed after the write. A queue that does not merge them delivers them all.
#[tokio::test]
async fn timers_that_were_sent_again_are_followed_by_one() {
    let harness = in_memory().await;
    for _ in 0..100 {
        let again = vec![Received::new(unstamped(&connect(0)), true)];
        assert!(harness.worker.process_received(again, at(1)).await.is_empty());
    }
    assert_eq!(harness.timers.count(), 100);
    harness.deliver(&[renewal(60)], START + 60_000).await;
    for check in timers(&harness, at(120)) {
        harness.handle_timers(vec![check], START + 120_000).await;
    }
    assert_eq!((harness.timers.next(), harness.timers.count()), (Some(at(180)), 1));
}

#[tokio::test]
async fn a_timer_that_is_not_the_stored_one_ends() {
    let harness = in_memory().await;
    harness.deliver(&[connect(0)], START).await;
    let before = harness.state(&users()[0]).await;
    for due_at in [at(0), at(30), at(119)] {
        harness.handle_timers(vec![Check { user: users()[0].clone(), due_at }], START + 119_000).await;
    }
    assert_eq!(harness.state(&users()[0]).await, before);
    assert_eq!(harness.timers.count(), 1);
}

#[tokio::test]
async fn a_lost_timer_is_started_again_by_the_next_renewal() {
    let harness = in_memory().await;
    harness.deliver(&[connect(0)], START).await;
    assert_eq!(timers(&harness, at(120)).len(), 1);
    for second in [60, 119, 179] {
        harness.deliver(&[renewal(second)], START + second * 1_000).await;
        assert_eq!(harness.timers.count(), 0, "it may still come");
    }
    harness.deliver(&[renewal(181)], START + 181_000).await;
    assert_eq!(harness.timers.next(), Some(at(301)));
    harness.tick(START + 301_000).await;
    assert_eq!(harness.told(&users()[0]).await.online, Some(false));
}

/// A server's store and queue, in a data directory.
struct Server {
    store: Arc<SqliteStore>,
    queue: EventQueue,
    worker: Worker,
}

impl Server {
    async fn start(directory: &Path) -> Self {
        let store = Arc::new(SqliteStore::new(database(directory)));
        let queue = event_queue(directory).await;
        Harness::new(store.clone(), SETTINGS).switch(service(1), true).await;
        let events = Arc::new(queue.clone());
        let worker = worker(store.clone(), events, rules(SETTINGS), Duration::ZERO, Arc::default());
        Self { store, queue, worker }
    }

    async fn process(&self, taken: &[Taken], now: Timestamp) {
        let received = |taken: &Taken| Received::new(taken.message.clone().unwrap(), taken.receipt.is_repeated);
        let failed = self.worker.process_received(taken.iter().map(received).collect(), now).await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    async fn acknowledge(&self, taken: &[Taken], now: Timestamp) {
        let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
        let handled = receipts.iter().map(|receipt| receipt.id).collect();
        self.queue.acknowledge(&receipts, Outcome { handled, ..Outcome::default() }, now).await.unwrap();
    }

    /// Handles everything that is due.
    async fn handle(&self, now: Timestamp) {
        loop {
            let taken = self.queue.take(now, 500).await.unwrap();
            if taken.is_empty() {
                return;
            }
            self.process(&taken, now).await;
            self.acknowledge(&taken, now).await;
        }
    }

    async fn send(&self, events: &[Event]) {
        self.queue.send(&events.iter().map(unstamped).collect::<Vec<_>>()).await.unwrap();
    }

    async fn is_told_online(&self) -> Option<bool> {
        Harness::new(self.store.clone(), SETTINGS).told(&users()[0]).await.online
    }
}

/// When the timers in a queue are due, as rows of its table.
fn rows(directory: &Path) -> Vec<Timestamp> {
    let raw = rusqlite::Connection::open(directory.join("reachability.db")).unwrap();
    let mut rows = raw.prepare("SELECT due_at FROM messages WHERE timer_of IS NOT NULL ORDER BY due_at").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(|due| Timestamp::from_millis(due.unwrap())).collect()
}

#[tokio::test]
async fn the_same_connect_3000_times_has_one_timer_in_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    server.send(&vec![connect(0); REPETITIONS]).await;
    // Some are handled before a kill, and not acknowledged.
    let taken = server.queue.take(at(1), REPETITIONS / 2).await.unwrap();
    server.process(&taken, at(1)).await;
    let server = Server::start(directory.path()).await;
    server.handle(at(2)).await;
    assert_eq!(rows(directory.path()), [at(120)]);
    for second in [60, 70, 100] {
        server.send(&[renewal(second)]).await;
        server.handle(at(second)).await;
        assert_eq!(rows(directory.path()), [at(120)]);
    }
    server.handle(at(120)).await;
    assert_eq!(rows(directory.path()), [at(220)]);
    server.handle(at(220)).await;
    assert_eq!((rows(directory.path()), server.is_told_online().await), (vec![], Some(false)));
}

/// A kill after each step of the handling of an event, or of a timer.
#[tokio::test]
async fn a_timer_survives_a_kill_after_any_step() {
    for is_sent in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path()).await;
        // Sends no timer, as if it were killed before.
        let nowhere = Arc::new(Timers::default());
        let killed = worker(server.store.clone(), nowhere, rules(SETTINGS), Duration::ZERO, Arc::default());
        server.send(&[connect(0)]).await;
        let taken = server.queue.take(at(0), 10).await.unwrap();
        let messages: Vec<PresenceMessage> = taken.iter().map(|taken| taken.message.clone().unwrap()).collect();
        let one = if is_sent { &server.worker } else { &killed };
        assert!(one.process(messages, at(0)).await.is_empty());
        assert_eq!(rows(directory.path()).len(), usize::from(is_sent));
        let server = Server::start(directory.path()).await;
        server.handle(at(1)).await;
        assert_eq!(rows(directory.path()), [at(120)]);

        // The next one is set.
        server.send(&[renewal(60)]).await;
        server.handle(at(60)).await;
        let taken = server.queue.take(at(120), 10).await.unwrap();
        assert_eq!(taken.len(), 1);
        let messages = vec![taken[0].message.clone().unwrap()];
        let one = if is_sent { &server.worker } else { &killed };
        assert!(one.process(messages, at(120)).await.is_empty());
        let server = Server::start(directory.path()).await;
        server.handle(at(121)).await;
        assert_eq!(rows(directory.path()), [at(180)]);
        server.handle(at(180)).await;
        assert_eq!((rows(directory.path()), server.is_told_online().await), (vec![], Some(false)));
    }
}

/// An event of a user is handled while its timer is, and the first to write sends last.
#[tokio::test]
async fn a_timer_that_is_overtaken_replaces_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    server.send(&[connect(0)]).await;
    server.handle(at(0)).await;
    let late = Arc::new(Timers::default());
    let first = worker(server.store.clone(), late.clone(), rules(SETTINGS), Duration::ZERO, Arc::default());
    let loss = |second: i64| {
        let lost = EventKind::Disconnect { reason: EndReason::ConnectionLost };
        unstamped(&event_of("alice", "c", START + second * 1_000, lost))
    };
    assert!(first.process(vec![loss(50)], at(50)).await.is_empty());
    // A disconnect from before it is handled after it.
    assert!(server.worker.process(vec![loss(45)], at(50)).await.is_empty());
    assert_eq!(rows(directory.path()), [at(55)]);
    let overtaken: Vec<PresenceMessage> = late.take_due(at(60)).into_iter().map(PresenceMessage::Check).collect();
    assert_eq!(overtaken.len(), 1);
    server.queue.send(&overtaken).await.unwrap();
    assert_eq!(rows(directory.path()), [at(55)]);
    server.handle(at(55)).await;
    assert_eq!(server.is_told_online().await, Some(false));
}

/// The user has come again since.
#[tokio::test]
async fn a_dead_timer_that_is_retried_leaves_the_one_of_its_user() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let raw = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    server.send(&[connect(0)]).await;
    server.handle(at(0)).await;
    let bury =
        "INSERT INTO dead_letters (queue, died_at, reason, body, retry) SELECT lane, 0, '', body, 1 FROM messages";
    assert_eq!(raw.execute(bury, []).unwrap(), 1);
    server.queue.retry_dead_letters(at(1)).await.unwrap();
    assert_eq!(rows(directory.path()), [at(120)]);
    // Without another one, it is there again.
    raw.execute_batch(&format!("{bury}; DELETE FROM messages")).unwrap();
    server.queue.retry_dead_letters(at(200)).await.unwrap();
    assert_eq!(rows(directory.path()), [at(200)]);
    server.handle(at(200)).await;
    assert_eq!((rows(directory.path()), server.is_told_online().await), (vec![], Some(false)));
}

/// A state without a timer, and timers of two connections, as the version before stored them.
#[tokio::test]
async fn timers_of_an_earlier_version_set_the_first_one() {
    for renews in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path()).await;
        server.send(&[connect(0), renewal(60)]).await;
        server.handle(at(60)).await;
        let raw = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
        let of_connection = |due: i64| {
            let check = PresenceMessage::Check(Check { user: users()[0].clone(), due_at: at(due) }).to_json();
            let body = check.replace(r#","due_at""#, r#","connection_id":"c","due_at""#);
            let due = at(due).as_millis();
            format!("INSERT INTO messages (lane, due_at, service, body) SELECT 0, {due}, sid, '{body}' FROM services;")
        };
        raw.execute_batch("UPDATE states SET next_timer = NULL; DELETE FROM messages").unwrap();
        raw.execute_batch(&[of_connection(120), of_connection(130)].concat()).unwrap();
        let server = Server::start(directory.path()).await;
        let mut end = 180;
        if renews {
            server.send(&[renewal(70)]).await;
            server.handle(at(70)).await;
            end = 190;
            assert_eq!(rows(directory.path()), [at(end)]);
        }
        for second in [120, 130] {
            server.handle(at(second)).await;
            assert_eq!(rows(directory.path()), [at(end)], "{second}");
        }
        server.handle(at(end)).await;
        assert_eq!((rows(directory.path()), server.is_told_online().await), (vec![], Some(false)));
    }
}
