//! What waits in the queues of one process, as its metrics tell it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::identity::UserKey;
use reachability_domain::metrics::{Backlog, DeadLetters, Queued};
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::push::message::{Probe, ProbeCause, PushMessage, ScanServices};
use reachability_domain::queue::Queue;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_infra::clock;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqlite::{
    Database, EventQueue, Letters, MAX_WAITING_WEBHOOKS, Outcome, PushQueue, Settled, WebhookQueue,
};
use reachability_tests::generate::service;
use reachability_tests::harness::unstamped;
use reachability_tests::queues::{ANY_NUMBER, database};
use reachability_tests::webhook_messages;

/// The queues of a process.
struct Queues {
    database: Database,
    events: EventQueue,
    pushes: PushQueue,
    webhooks: WebhookQueue,
}

impl Queues {
    async fn open(directory: &Path) -> Self {
        let database = database(directory);
        let metrics = Arc::new(EmfMetrics::default());
        Self {
            events: EventQueue::open(database.clone(), ANY_NUMBER).await.unwrap(),
            pushes: PushQueue::new(database.clone()),
            webhooks: WebhookQueue::open(database.clone(), MAX_WAITING_WEBHOOKS, metrics).await.unwrap(),
            database,
        }
    }

    async fn backlog(&self, now: Timestamp) -> Backlog {
        self.database.backlog((&self.events, &self.pushes, &self.webhooks), now).await.unwrap()
    }
}

fn ago(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis() - seconds * 1_000)
}

fn user(of: u128, identity: &str) -> UserKey {
    UserKey { service: service(of), identity: identity.parse().unwrap() }
}

fn event(of: u128, identity: &str, occurred_at: Timestamp) -> PresenceMessage {
    let (user, connection) = (user(of, identity), "c-1".parse().unwrap());
    unstamped(&Event { user, connection, occurred_at, kind: EventKind::Renew { lease: None } })
}

fn timer(of: u128, due_at: Timestamp) -> PresenceMessage {
    PresenceMessage::Check(Check { user: user(of, &format!("alice {}", due_at.as_millis())), due_at })
}

fn probe(due_at: Option<Timestamp>) -> PushMessage {
    let (binding, asked_at) = (Sid::from_bits(1), clock::now());
    PushMessage::Probe(Probe {
        service: service(1),
        binding,
        asked_at,
        attempts: 0,
        due_at,
        cause: ProbeCause::Registered,
    })
}

fn webhook(identity: &str, queued_at: Timestamp) -> WebhookMessage {
    webhook_messages::webhook(user(1, identity), 1, queued_at)
}

fn at_least(queued: Queued, messages: u64, seconds: u64) {
    assert_eq!(queued.messages, messages, "{queued:?}");
    let bounds = Duration::from_secs(seconds)..Duration::from_secs(seconds + 60);
    assert!(bounds.contains(&queued.oldest), "{queued:?}");
}

#[tokio::test]
async fn nothing_waits_in_a_new_database() {
    let directory = tempfile::tempdir().unwrap();
    let Backlog { database_bytes, log_bytes, ref dead_letters, .. } =
        Queues::open(directory.path()).await.backlog(clock::now()).await;
    let size = |name: &str| directory.path().join(name).metadata().unwrap().len();
    assert_eq!((database_bytes, log_bytes), (size("reachability.db"), size("reachability.db-wal")));
    assert_eq!(*dead_letters, DeadLetters::default());
}

#[tokio::test]
async fn events_and_timers_wait_apart_also_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let (queues, now) = (Queues::open(directory.path()).await, clock::now());
    let (long_ago, later) = (ago(now, 7_200), now.plus(Duration::from_secs(900)));
    let sent = [event(1, "alice", long_ago), event(1, "bob", long_ago), timer(1, later), timer(2, later)];
    queues.events.send(&sent).await.unwrap();
    let backlog = queues.backlog(clock::now()).await;
    at_least(backlog.events, 2, 0);
    assert_eq!(backlog.timers, Queued { messages: 2, oldest: Duration::ZERO });
    // In any service, the one that is overdue for longest counts.
    let (minute, hour) = (ago(now, 60), ago(now, 3_600));
    queues.events.send(&[timer(3, minute), timer(2, hour), timer(1, minute)]).await.unwrap();
    at_least(queues.backlog(clock::now()).await.timers, 5, 3_600);

    // After a start, it is only known when the events happened.
    let queues = Queues::open(directory.path()).await;
    let backlog = queues.backlog(clock::now()).await;
    at_least(backlog.events, 2, 7_200);
    at_least(backlog.timers, 5, 3_600);

    // One event is handled, and the other is to be tried again: a message for later.
    let taken = queues.events.take(clock::now(), 100).await.unwrap();
    assert_eq!(taken.len(), 5, "all but those that are due later");
    let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
    let is_bob = |message: &PresenceMessage| matches!(message, PresenceMessage::Event(event) if event.event.user == user(1, "bob"));
    let bob = taken.iter().find(|taken| taken.message.as_ref().is_ok_and(is_bob)).unwrap().receipt.id;
    let others = receipts.iter().map(|receipt| receipt.id).filter(|id| *id != bob).collect();
    let outcome = Outcome { handled: others, retry: vec![(bob, later)], ..Outcome::default() };
    queues.events.acknowledge(&receipts, outcome, clock::now()).await.unwrap();
    let backlog = queues.backlog(clock::now()).await;
    assert_eq!(backlog.events, Queued { messages: 0, oldest: backlog.events.oldest });
    assert_eq!(backlog.timers, Queued { messages: 2, oldest: Duration::ZERO });
}

#[tokio::test]
async fn pushes_wait_since_they_were_sent_or_due() {
    let directory = tempfile::tempdir().unwrap();
    let (queues, now) = (Queues::open(directory.path()).await, clock::now());
    queues.pushes.send(&[probe(None), probe(Some(now.plus(Duration::from_secs(900))))]).await.unwrap();
    at_least(queues.backlog(clock::now().plus(Duration::from_secs(300))).await.pushes, 2, 300);
    queues.pushes.send(&[probe(Some(ago(now, 3_600)))]).await.unwrap();
    at_least(queues.backlog(clock::now()).await.pushes, 3, 3_600);
    // Of those from before a start, it is known that they wait since then.
    let queues = Queues::open(directory.path()).await;
    let started = clock::now();
    let due = queues.pushes.due(clock::now(), 100).await.unwrap();
    let overdue = due.iter().map(|push| push.id).max().unwrap();
    let handled = Outcome { handled: vec![overdue], ..Outcome::default() };
    queues.pushes.acknowledge(handled, clock::now()).await.unwrap();
    at_least(queues.backlog(started.plus(Duration::from_secs(100))).await.pushes, 2, 100);
    let others: Vec<i64> = due.iter().map(|push| push.id).filter(|id| *id != overdue).collect();
    let handled = Outcome { handled: others, ..Outcome::default() };
    queues.pushes.acknowledge(handled, clock::now()).await.unwrap();
    assert_eq!(queues.backlog(clock::now()).await.pushes, Queued { messages: 1, oldest: Duration::ZERO });
}

#[tokio::test]
async fn webhooks_wait_since_they_were_queued() {
    let directory = tempfile::tempdir().unwrap();
    let (queues, now) = (Queues::open(directory.path()).await, clock::now());
    let minutes = |minutes: i64| ago(now, 60 * minutes);
    queues.webhooks.send(&[webhook("alice", minutes(20)), webhook("bob", minutes(10))]).await.unwrap();
    at_least(queues.backlog(now).await.webhooks, 2, 20 * 60);
    let taken = queues.webhooks.take(now).await.unwrap();
    let alice = taken.iter().find(|webhook| webhook.identity == "alice").unwrap();
    queues.webhooks.settle(alice, Settled::Done, now).await.unwrap();
    at_least(queues.backlog(now).await.webhooks, 1, 10 * 60);
    at_least(Queues::open(directory.path()).await.backlog(now).await.webhooks, 1, 10 * 60);
}

#[tokio::test]
async fn dead_letters_are_counted_by_queue_and_back_in_it_when_they_are_retried() {
    let directory = tempfile::tempdir().unwrap();
    let (queues, now) = (Queues::open(directory.path()).await, clock::now());
    let why = || "for a test".to_owned();
    queues.events.send(&[event(1, "alice", now), event(1, "bob", now)]).await.unwrap();
    let receipts: Vec<_> = queues.events.take(now, 10).await.unwrap().into_iter().map(|taken| taken.receipt).collect();
    let dead = receipts.iter().map(|receipt| (receipt.id, why())).collect();
    queues.events.acknowledge(&receipts, Outcome { dead, ..Outcome::default() }, now).await.unwrap();
    let scan = PushMessage::ScanServices(ScanServices { after: None });
    queues.pushes.send(&[scan]).await.unwrap();
    let push = queues.pushes.due(now, 10).await.unwrap()[0].id;
    queues.pushes.acknowledge(Outcome { dead: vec![(push, why())], ..Outcome::default() }, now).await.unwrap();
    queues.webhooks.send(&[webhook("alice", now)]).await.unwrap();
    let taken = queues.webhooks.take(now).await.unwrap();
    queues.webhooks.settle(&taken[0], Settled::Dead(why()), now).await.unwrap();
    let backlog = queues.backlog(clock::now()).await;
    assert_eq!(backlog.dead_letters, DeadLetters { events: 2, pushes: 1, webhooks: 1 });
    let waiting = [backlog.events, backlog.timers, backlog.pushes, backlog.webhooks];
    assert_eq!(waiting.map(|queued| queued.messages), [0; 4]);

    queues.database.retry_dead_letters(Letters::All).await.unwrap().unwrap();
    queues.events.retry_dead_letters(clock::now()).await.unwrap();
    queues.pushes.retry_dead_letters().await.unwrap();
    queues.webhooks.retry_dead_letters().await.unwrap();
    let backlog = queues.backlog(clock::now()).await;
    assert_eq!(backlog.dead_letters, DeadLetters::default());
    let waiting = [backlog.events, backlog.timers, backlog.pushes, backlog.webhooks];
    assert_eq!(waiting.map(|queued| queued.messages), [0, 0, 1, 1], "events count when they are loaded again");
}
