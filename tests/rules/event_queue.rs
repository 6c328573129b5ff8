//! The event queue on SQLite: turns, limits, and what waits in the table.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage};
use reachability_domain::queue::{Full, Message, Queue, QueueError};
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{DoneSooner, EventQueue, Letters, Outcome, Taken, WaitingLimits};
use reachability_tests::generate::service;
use reachability_tests::harness::unstamped;
use reachability_tests::queues::{ANY_NUMBER, database, event_queue};

/// How many messages the worker handles together.
const BATCH: usize = 1_000;

const NOW: Timestamp = Timestamp::from_millis(1_795_171_200_000);

fn event(of: u128, identity: &str) -> PresenceMessage {
    let user = UserKey { service: service(of), identity: identity.parse().unwrap() };
    let kind = EventKind::Renew { lease: None };
    unstamped(&Event { user, connection: "c-1".parse().unwrap(), occurred_at: NOW, kind })
}

fn timer(of: u128, identity: &str, due_at: Timestamp) -> PresenceMessage {
    let user = UserKey { service: service(of), identity: identity.parse().unwrap() };
    PresenceMessage::Check(Check { user, due_at })
}

/// One event of each of so many users.
fn flood(of: u128, users: usize) -> Vec<PresenceMessage> {
    (0..users).map(|n| event(of, &format!("user-{n}"))).collect()
}

fn messages(taken: &[Taken]) -> Vec<PresenceMessage> {
    taken.iter().map(|taken| taken.message.clone().unwrap()).collect()
}

async fn handled(queue: &EventQueue, taken: &[Taken]) {
    let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
    let outcome = Outcome { handled: receipts.iter().map(|receipt| receipt.id).collect(), ..Outcome::default() };
    queue.acknowledge(&receipts, outcome, NOW).await.unwrap();
}

/// Takes and handles everything. Returns the sizes of the batches, and the messages.
async fn drain(queue: &EventQueue, now: Timestamp) -> (Vec<usize>, Vec<PresenceMessage>) {
    let (mut sizes, mut all) = (vec![], vec![]);
    loop {
        let taken = queue.take(now, BATCH).await.unwrap();
        if taken.is_empty() {
            return (sizes, all);
        }
        handled(queue, &taken).await;
        sizes.push(taken.len());
        all.extend(messages(&taken));
    }
}

#[tokio::test]
async fn a_service_that_floods_delays_no_other_and_a_user_no_other_of_its_service() {
    let directory = tempfile::tempdir().unwrap();
    let queue = event_queue(directory.path()).await;
    queue.send(&flood(1, 5_000)).await.unwrap();
    queue.send(&vec![event(2, "flooder"); 5_000]).await.unwrap();
    queue.send(&[event(2, "quiet"), event(3, "quiet")]).await.unwrap();
    let batch = messages(&queue.take(NOW, BATCH).await.unwrap());
    assert_eq!(batch.len(), BATCH);
    assert!(batch.contains(&event(2, "quiet")) && batch.contains(&event(3, "quiet")));
}

/// The clock is set back by an hour while timers wait, and again while no server runs.
#[tokio::test]
async fn what_waits_is_due_as_much_sooner_as_the_clock_is_set_back() {
    let hour = Duration::from_secs(3_600);
    let directory = tempfile::tempdir().unwrap();
    let database = database(directory.path());
    let queue = EventQueue::open(database.clone(), ANY_NUMBER).await.unwrap();
    // More than one write moves.
    let timers: Vec<_> = (0..4_500).map(|n| timer(1, &format!("user-{n}"), NOW.plus(hour))).collect();
    queue.send(&timers).await.unwrap();
    queue.send(&[timer(2, "late", NOW.plus(hour * 2)), event(3, "now")]).await.unwrap();
    assert_eq!(messages(&queue.take(NOW, BATCH).await.unwrap()), [event(3, "now")]);
    let done = database.make_due_sooner(hour, DoneSooner::default()).await.unwrap();
    // What is sent since is not moved again.
    queue.send(&[timer(2, "later", NOW.plus(hour * 2))]).await.unwrap();
    queue.look_again();
    assert_eq!(drain(&queue, NOW).await.1.len(), 4_500);
    assert_eq!(queue.next_due(), Some(NOW.plus(hour)), "and no sooner");
    assert_eq!(drain(&queue, NOW.plus(hour)).await.1, [timer(2, "late", NOW.plus(hour * 2))]);

    let minutes = |minutes: u64| NOW.plus(Duration::from_secs(60 * minutes));
    queue.send(&[timer(2, "soon", minutes(15))]).await.unwrap();
    assert_eq!(database.make_late_ones_due(minutes(45 + 60), done).await.unwrap(), 0);
    assert_eq!(database.make_late_ones_due(NOW, done).await.unwrap(), 1);
    let queue = EventQueue::open(database, ANY_NUMBER).await.unwrap();
    assert_eq!(drain(&queue, NOW).await.1, [event(3, "now"), timer(2, "later", NOW.plus(hour * 2))]);
    assert_eq!(queue.next_due(), Some(minutes(15)));
}

#[tokio::test]
async fn what_waited_at_the_start_is_loaded_little_by_little_and_in_turns() {
    let directory = tempfile::tempdir().unwrap();
    let before = event_queue(directory.path()).await;
    before.send(&flood(1, 20_000)).await.unwrap();
    before.send(&[event(2, "quiet")]).await.unwrap();
    let queue = event_queue(directory.path()).await;
    let first = queue.take(NOW, usize::MAX).await.unwrap();
    assert!(messages(&first).contains(&event(2, "quiet")));
    assert!(first.len() < 1_000, "{} of 20,000 messages were in memory", first.len());
    // What comes now is not behind what waits.
    queue.send(&[event(1, "late"), event(3, "quiet")]).await.unwrap();
    handled(&queue, &first).await;
    let second = queue.take(NOW, BATCH).await.unwrap();
    assert!(messages(&second).contains(&event(1, "late")) && messages(&second).contains(&event(3, "quiet")));
    handled(&queue, &second).await;
    let (_, rest) = drain(&queue, NOW).await;
    let all: BTreeSet<String> =
        messages(&first).iter().chain(&messages(&second)).chain(&rest).map(|it| format!("{it:?}")).collect();
    assert_eq!((all.len(), first.len() + second.len() + rest.len()), (20_003, 20_003), "each once");
    assert!(event_queue(directory.path()).await.take(NOW, BATCH).await.unwrap().is_empty());
}

#[tokio::test]
async fn due_timers_of_one_service_delay_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let queue = event_queue(directory.path()).await;
    let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1_000);
    let timers: Vec<_> = (0..5_000).map(|n| timer(1, &format!("user-{n}"), at(1))).collect();
    queue.send(&timers).await.unwrap();
    queue.send(&[timer(2, "quiet", at(2)), timer(2, "later", at(60))]).await.unwrap();
    assert!(queue.take(NOW, BATCH).await.unwrap().is_empty());
    assert_eq!(queue.next_due(), Some(at(1)));
    let first = queue.take(at(2), BATCH).await.unwrap();
    assert!(messages(&first).contains(&timer(2, "quiet", at(2))));
    handled(&queue, &first).await;
    let (_, rest) = drain(&queue, at(2)).await;
    assert_eq!(first.len() + rest.len(), 5_001);
    assert_eq!(queue.next_due(), Some(at(60)));
    // It is found after the next start as well.
    let queue = event_queue(directory.path()).await;
    assert_eq!(queue.next_due(), Some(at(60)));
    assert_eq!(drain(&queue, at(60)).await.1, [timer(2, "later", at(60))]);
    assert_eq!(queue.next_due(), None);
}

#[tokio::test]
async fn a_failed_message_comes_back_when_it_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = event_queue(directory.path()).await;
    queue.send(&[event(1, "alice"), event(1, "bob"), event(1, "carol")]).await.unwrap();
    let taken = queue.take(NOW, BATCH).await.unwrap();
    let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
    let later = Timestamp::from_millis(NOW.as_millis() + 1_000);
    let outcome = Outcome {
        handled: vec![receipts[0].id],
        retry: vec![(receipts[1].id, later)],
        dead: vec![(receipts[2].id, "it is hopeless".to_owned())],
    };
    queue.acknowledge(&receipts, outcome, NOW).await.unwrap();
    for restart in [false, true] {
        if restart {
            queue = event_queue(directory.path()).await;
        }
        assert!(queue.take(NOW, BATCH).await.unwrap().is_empty());
        assert_eq!(queue.next_due(), Some(later));
    }
    let again = queue.take(later, BATCH).await.unwrap();
    assert_eq!(messages(&again), [event(1, "bob")]);
    assert_eq!((again[0].receipt.id, again[0].receipt.attempts), (receipts[1].id, 1));
    let letters = database(directory.path()).dead_letters(usize::MAX).await.unwrap();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "it is hopeless"));
}

/// Another process marks them. There are more than are loaded at once, and among them one that is no message.
#[tokio::test]
async fn dead_letters_that_are_retried_are_taken_again() {
    const EVENTS: usize = 1_200;
    let directory = tempfile::tempdir().unwrap();
    let queue = event_queue(directory.path()).await;
    let path = directory.path().join("reachability.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("INSERT INTO messages (lane, due_at, body) VALUES (0, 0, 'no message')", []).unwrap();
    drop(queue);
    let queue = event_queue(directory.path()).await;
    queue.send(&flood(1, EVENTS)).await.unwrap();
    let mut dead = 0;
    while dead <= EVENTS {
        let taken = queue.take(NOW, BATCH).await.unwrap();
        dead += taken.len();
        let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
        let outcome = receipts.iter().map(|receipt| (receipt.id, "why".to_owned())).collect();
        queue.acknowledge(&receipts, Outcome { dead: outcome, ..Outcome::default() }, NOW).await.unwrap();
    }
    assert!(queue.take(NOW, BATCH).await.unwrap().is_empty());

    let other = database(directory.path());
    assert_eq!(other.retry_dead_letters(Letters::All).await.unwrap(), Ok(EVENTS + 1));
    let mut retried = 0;
    loop {
        match queue.retry_dead_letters(NOW).await.unwrap() {
            0 => break,
            some => retried += some,
        }
    }
    assert_eq!((retried, other.count_dead_letters().await.unwrap()), (EVENTS + 1, 0));
    let (mut again, mut unread) = (Vec::new(), 0);
    loop {
        let taken = queue.take(NOW, BATCH).await.unwrap();
        if taken.is_empty() {
            break;
        }
        assert!(taken.iter().all(|taken| taken.receipt.attempts == 0));
        handled(&queue, &taken).await;
        unread += taken.iter().filter(|taken| taken.message.is_err()).count();
        again.extend(taken.into_iter().filter_map(|taken| taken.message.ok()));
    }
    assert_eq!((again.len(), unread), (EVENTS, 1));
    assert!(flood(1, EVENTS).iter().all(|event| again.contains(event)));
    assert_eq!(queue.next_due(), None);
}

#[tokio::test]
async fn events_over_a_limit_are_refused_all_together_and_timers_never() {
    let directory = tempfile::tempdir().unwrap();
    let limits = WaitingLimits { per_service: 10, all: 15 };
    let queue = EventQueue::open(database(directory.path()), limits).await.unwrap();
    let refusal = async |messages: &[PresenceMessage]| match queue.send(messages).await {
        Err(QueueError::Full(full)) => Some(full),
        sent => {
            sent.unwrap();
            None
        }
    };
    assert_eq!(refusal(&flood(1, 11)).await, Some(Full::Service(10)));
    assert_eq!(queue.room(service(1)), Ok(()));
    assert_eq!(refusal(&flood(1, 10)).await, None);
    assert_eq!((queue.room(service(1)), queue.room(service(2))), (Err(Full::Service(10)), Ok(())));
    assert_eq!(refusal(&flood(2, 6)).await, Some(Full::All(15)));
    assert_eq!(refusal(&flood(2, 5)).await, None);
    assert_eq!((queue.room(service(1)), queue.room(service(2))), (Err(Full::Service(10)), Err(Full::All(15))));
    assert_eq!(refusal(&[timer(1, "alice", NOW), timer(3, "bob", NOW)]).await, None);
    // What was taken waits until it is acknowledged.
    let taken = queue.take(NOW, BATCH).await.unwrap();
    assert_eq!(taken.len(), 17);
    assert!(queue.room(service(1)).is_err());
    handled(&queue, &taken).await;
    assert_eq!((queue.room(service(1)), queue.room(service(2))), (Ok(()), Ok(())));

    // What waits at the start counts.
    let queue = event_queue(directory.path()).await;
    queue.send(&flood(1, 10)).await.unwrap();
    let queue = EventQueue::open(database(directory.path()), limits).await.unwrap();
    assert_eq!((queue.room(service(1)), queue.room(service(2))), (Err(Full::Service(10)), Ok(())));
    drain(&queue, NOW).await;
    assert_eq!(queue.room(service(1)), Ok(()));
}

/// A client that disconnects ends the handling of its request.
#[tokio::test]
async fn events_whose_sender_is_gone_are_handled_and_count_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let limits = WaitingLimits { per_service: 10_000, all: 10_000 };
    let queue = EventQueue::open(database(directory.path()), limits).await.unwrap();
    let messages = flood(1, 10_000);
    let mut sending = Box::pin(queue.send(&messages));
    // Not all of its pieces are written at once.
    assert!(futures_util::poll!(&mut sending).is_pending());
    assert_eq!(queue.room(service(1)), Err(Full::Service(10_000)));
    drop(sending);
    // Everything that is sent later is written later.
    queue.send(&[event(2, "last")]).await.unwrap();
    let (_, all) = drain(&queue, NOW).await;
    assert!(all.len() % 500 == 1 && all.len() < 10_001, "{}", all.len());
    queue.send(&flood(1, 10_000)).await.expect("none of them counts any more");
}

#[tokio::test]
async fn what_cannot_be_read_is_taken_too() {
    let directory = tempfile::tempdir().unwrap();
    let queue = event_queue(directory.path()).await;
    queue.send(&[event(1, "alice")]).await.unwrap();
    let intruder = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    intruder.execute_batch("INSERT INTO messages (lane, due_at, body) VALUES (0, 0, 'not JSON')").unwrap();
    let queue = event_queue(directory.path()).await;
    let taken = queue.take(NOW, BATCH).await.unwrap();
    let bodies: BTreeSet<_> = taken.iter().filter_map(|taken| taken.message.clone().err()).collect();
    assert_eq!((taken.len(), bodies), (2, ["not JSON".to_owned()].into()));
}

#[tokio::test]
async fn an_event_waits_until_it_is_handled() {
    let directory = tempfile::tempdir().unwrap();
    let queue = event_queue(directory.path()).await;
    queue.send(&[timer(1, "timer", NOW)]).await.unwrap();
    assert_eq!(queue.oldest_event(), None, "a timer is no event");
    let before = clock::now();
    queue.send(&[event(1, "alice")]).await.unwrap();
    let since = queue.oldest_event().unwrap();
    assert!((before..=clock::now()).contains(&since), "{since}");
    tokio::time::sleep(Duration::from_millis(2)).await;
    queue.send(&[event(2, "bob")]).await.unwrap();
    assert_eq!(queue.oldest_event(), Some(since));

    // Alice's fails.
    let taken = queue.take(NOW, BATCH).await.unwrap();
    assert_eq!(taken.len(), 3);
    let is_alice = |taken: &&Taken| matches!(&taken.message, Ok(it) if *it == event(1, "alice"));
    let alice = taken.iter().find(is_alice).unwrap().receipt;
    let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
    let others = receipts.iter().map(|receipt| receipt.id).filter(|id| *id != alice.id).collect();
    let retry = vec![(alice.id, NOW.plus(Duration::from_secs(1)))];
    let outcome = Outcome { handled: others, retry, ..Outcome::default() };
    queue.acknowledge(&receipts, outcome, NOW).await.unwrap();
    assert_eq!(queue.oldest_event(), Some(since));
    let later = NOW.plus(Duration::from_secs(2));
    let taken = queue.take(later, BATCH).await.unwrap();
    assert_eq!(queue.oldest_event(), Some(since));
    handled(&queue, &taken).await;
    assert_eq!(queue.oldest_event(), None);
}

#[tokio::test]
async fn an_event_from_before_the_start_waits_since_it_happened() {
    let directory = tempfile::tempdir().unwrap();
    let queue = event_queue(directory.path()).await;
    queue.send(&[timer(1, "timer", NOW), event(1, "alice")]).await.unwrap();
    queue.send(&flood(2, 1_000)).await.unwrap();
    drop(queue);
    let queue = event_queue(directory.path()).await;
    assert_eq!(queue.oldest_event(), Some(NOW));
    drain(&queue, NOW).await;
    assert_eq!(queue.oldest_event(), None);
}

/// Messages that an earlier version has queued belong to the services that they name.
#[tokio::test]
async fn messages_of_an_earlier_version_take_turns_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reachability.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    for schema in [
        include_str!("../../infra/src/sqlite/schema/1.sql"),
        include_str!("../../infra/src/sqlite/schema/2.sql"),
        include_str!("../../infra/src/sqlite/schema/3.sql"),
    ] {
        old.execute_batch(schema).unwrap();
    }
    let stamped = |message: &PresenceMessage| format!(r#"{{"generation":1,"event":{}}}"#, message.to_json());
    let strange = r#"{"service_sid":5,"event":[]}"#.to_owned();
    let bodies = [
        (0, event(1, "alice").to_json(), Some(1)),
        (0, stamped(&event(2, "bob")), Some(2)),
        (0, timer(3, "carol", NOW).to_json(), Some(3)),
        (0, "not JSON".to_owned(), None),
        (0, strange, None),
        (1, event(1, "a push").to_json(), None),
    ];
    for (lane, body, _) in &bodies {
        let due_at = if body.contains("carol") { NOW.as_millis() } else { 0 };
        old.execute("INSERT INTO messages (lane, due_at, body) VALUES (?1, ?2, ?3)", (lane, due_at, body)).unwrap();
    }
    old.pragma_update(None, "user_version", 3).unwrap();
    drop(old);

    let queue = event_queue(directory.path()).await;
    let new = rusqlite::Connection::open(&path).unwrap();
    let mut services = new.prepare("SELECT hex(service) FROM messages ORDER BY id").unwrap();
    let services = services.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<Vec<String>>>();
    let hex = |service: &Option<u128>| service.map(|n| format!("{n:032X}")).unwrap_or_default();
    assert_eq!(services.unwrap(), bodies.iter().map(|(.., service)| hex(service)).collect::<Vec<_>>());
    let taken = queue.take(NOW, BATCH).await.unwrap();
    assert_eq!((taken.len(), taken.iter().filter(|taken| taken.message.is_ok()).count()), (5, 3));
}

/// A step of a random course.
#[derive(Debug, Clone)]
enum Step {
    Send { service: u128, users: u32, count: u32, delay: Option<i64> },
    Take { at_most: usize, fails: bool },
    Wait,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::prelude::{Just, any, prop_oneof};
    let delay = proptest::option::of(0..5_i64);
    prop_oneof![
        4 => (1..5_u128, 1..4_u32, 1..400_u32, delay)
            .prop_map(|(service, users, count, delay)| Step::Send { service, users, count, delay }),
        6 => (1..600_usize, any::<bool>()).prop_map(|(at_most, fails)| Step::Take { at_most, fails }),
        2 => Just(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Whatever happens, each message is taken when it is due, once, until it is handled, and what waits is counted.
#[tokio::test]
async fn every_message_is_handled_once() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let steps = proptest::collection::vec(step(), 5..40).new_tree(&mut runner).unwrap().current();
        let directory = tempfile::tempdir().unwrap();
        let mut queue = event_queue(directory.path()).await;
        let mut now = NOW;
        // What waits: how often each message, and when it is due.
        let mut waiting: BTreeMap<String, (Timestamp, usize)> = BTreeMap::new();
        let mut sent = 0_u32;
        for step in steps {
            match step {
                Step::Send { service, users, count, delay } => {
                    let due_at = delay.map(|delay| Timestamp::from_millis(now.as_millis() + delay * 1_000));
                    let message = |n: u32| {
                        let identity = format!("user-{}-{}", n % users, sent + n);
                        due_at.map_or_else(|| event(service, &identity), |due_at| timer(service, &identity, due_at))
                    };
                    let messages: Vec<_> = (0..count).map(message).collect();
                    sent += count;
                    queue.send(&messages).await.unwrap();
                    for message in messages {
                        waiting.insert(format!("{message:?}"), (due_at.unwrap_or(NOW), 0));
                    }
                }
                Step::Take { at_most, fails } => {
                    let taken = queue.take(now, at_most).await.unwrap();
                    let due = waiting.values().filter(|(due_at, _)| *due_at <= now).count();
                    assert!(taken.len() <= at_most.min(due));
                    assert!(!taken.is_empty() || due == 0, "{due} messages are due and none is taken");
                    let receipts: Vec<_> = taken.iter().map(|taken| taken.receipt).collect();
                    let mut outcome = Outcome::default();
                    let later = Timestamp::from_millis(now.as_millis() + 1_000);
                    for (n, Taken { receipt, message }) in taken.iter().enumerate() {
                        let key = format!("{:?}", message.as_ref().unwrap());
                        let (due_at, attempts) = waiting.remove(&key).expect("it waits, and is taken once");
                        assert!(due_at <= now);
                        assert_eq!(receipt.attempts as usize, attempts);
                        if fails && n % 3 == 0 {
                            outcome.retry.push((receipt.id, later));
                            waiting.insert(key, (later, attempts + 1));
                        } else {
                            outcome.handled.push(receipt.id);
                        }
                    }
                    queue.acknowledge(&receipts, outcome, now).await.unwrap();
                }
                Step::Wait => now = Timestamp::from_millis(now.as_millis() + 1_000),
                Step::Restart => queue = event_queue(directory.path()).await,
            }
        }
        now = Timestamp::from_millis(now.as_millis() + 10_000);
        let (_, rest) = drain(&queue, now).await;
        let rest: BTreeSet<String> = rest.iter().map(|message| format!("{message:?}")).collect();
        assert_eq!(rest, waiting.into_keys().collect());
        assert_eq!(queue.next_due(), None);
        // Nothing counts any more.
        let limits = WaitingLimits { per_service: 1, all: 1 };
        let queue = EventQueue::open(database(directory.path()), limits).await.unwrap();
        assert_eq!(queue.room(service(1)), Ok(()));
    }
}
