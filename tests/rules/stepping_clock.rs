//! Random lives of a user under a clock that steps: who has said goodbye is offline, who has just connected is online, and no end
//! comes much too late.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::set_back::ON_THE_WAY;
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_tests::generate::{START, service, users};
use reachability_tests::harness::{Harness, SETTINGS, rules, worker};

const LEASE: i64 = 120;
const GRACE: i64 = 10;

/// A smaller step moves no state.
const SLACK: i64 = ON_THE_WAY.as_secs() as i64;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// One of a few clients connects, or says that it is still there.
    Renew(u8),
    Goodbye(u8),
    Lose(u8),
    /// Time passes, in seconds.
    Pass(i64),
    /// The clock is set: by how many seconds it is ahead then.
    Set(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let month = 30 * 86_400;
    let ahead =
        prop_oneof![2 => -7_200..7_200i64, 2 => -90..90i64, 1 => Just(0i64), 1 => Just(month), 1 => Just(-month)];
    prop_oneof![
        4 => (0..3u8).prop_map(Step::Renew),
        2 => (0..3u8).prop_map(Step::Goodbye),
        1 => (0..3u8).prop_map(Step::Lose),
        3 => prop_oneof![1..30i64, 30..400i64].prop_map(Step::Pass),
        3 => ahead.prop_map(Step::Set),
    ]
}

/// The queue: when each message is due by the clock as it is, which is made sooner when that is set back.
#[derive(Debug, Default)]
struct Rows(Mutex<Vec<(Timestamp, PresenceMessage)>>);

impl Rows {
    fn next(&self) -> Option<Timestamp> {
        self.0.lock().unwrap().iter().map(|(due_at, _)| *due_at).min()
    }

    fn take(&self, now: Timestamp) -> Vec<PresenceMessage> {
        self.0.lock().unwrap().extract_if(.., |(due_at, _)| *due_at <= now).map(|(_, message)| message).collect()
    }

    fn make_due_sooner(&self, by: Duration) {
        self.0.lock().unwrap().iter_mut().for_each(|(due_at, _)| *due_at = due_at.minus(by));
    }
}

#[async_trait]
impl Queue<PresenceMessage> for Rows {
    async fn send(&self, messages: &[PresenceMessage]) -> Result<(), QueueError> {
        self.0.lock().unwrap().extend(messages.iter().map(|it| (it.due_at().unwrap(), it.clone())));
        Ok(())
    }
}

/// What is true of a client, by a clock that never steps, in seconds.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// It said so then. How often the clock was set since, and whether ahead.
    Live {
        at: i64,
        steps: u32,
        was_set_ahead: bool,
    },
    Gone,
}

/// A user, the clock, and what is true.
struct World {
    harness: Harness,
    rows: Arc<Rows>,
    /// By a clock that never steps.
    time: i64,
    /// By how much the clock is ahead of that.
    ahead: i64,
    stepped_at: i64,
    clients: BTreeMap<u8, (u32, Client)>,
    /// When connections were lost.
    lost: Vec<i64>,
    /// When a client was live for the last time.
    live_at: i64,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let rows = Arc::new(Rows::default());
        let mut harness = Harness::new(store.clone(), SETTINGS);
        harness.worker = worker(store, rows.clone(), rules(SETTINGS), Duration::ZERO, Arc::default());
        harness.switch(service(1), true).await;
        Self { harness, rows, time: 0, ahead: 0, stepped_at: 0, clients: BTreeMap::new(), lost: vec![], live_at: 0 }
    }

    /// By the clock.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(START + (self.time + self.ahead) * 1_000)
    }

    async fn handle(&self, messages: Vec<PresenceMessage>) {
        self.harness.handle(messages, self.now().as_millis()).await;
    }

    async fn say(&self, client: u8, number: u32, kind: EventKind) {
        let connection = format!("c-{client}-{number}").parse().unwrap();
        let event = Event { user: users().remove(0), connection, occurred_at: self.now(), kind };
        self.handle(vec![self.harness.accept(&event).await]).await;
    }

    async fn tick(&self) {
        loop {
            let due = self.rows.take(self.now());
            if due.is_empty() {
                return;
            }
            self.handle(due).await;
        }
    }

    async fn take(&mut self, step: Step) {
        self.note_live();
        self.act(step).await;
        self.note_live();
    }

    /// How long a client may be seen that said something then.
    fn may_last(&self, at: i64, lasts: i64) -> i64 {
        let after_step = if at <= self.stepped_at { self.stepped_at + 2 * lasts } else { at + lasts };
        SLACK + after_step.max(at + lasts)
    }

    fn note_live(&mut self) {
        let of_client = |(_, client): &(u32, Client)| match *client {
            Client::Live { at, .. } => Some(self.may_last(at, LEASE).min(self.time)),
            Client::Gone => None,
        };
        self.live_at = self.clients.values().filter_map(of_client).max().unwrap_or_default().max(self.live_at);
    }

    async fn act(&mut self, step: Step) {
        match step {
            Step::Renew(client) => {
                let (number, was) = self.clients.get(&client).copied().unwrap_or((0, Client::Gone));
                let is_live = matches!(was, Client::Live { .. });
                let number = if is_live { number } else { number + 1 };
                let live = Client::Live { at: self.time, steps: 0, was_set_ahead: false };
                self.clients.insert(client, (number, live));
                let kind = match is_live {
                    true => EventKind::Renew { lease: None },
                    false => EventKind::Connect { lease: None, device: None },
                };
                self.say(client, number, kind).await;
            }
            Step::Goodbye(client) | Step::Lose(client) => {
                let Some((number, Client::Live { .. })) = self.clients.get(&client).copied() else { return };
                let reason = match step {
                    Step::Lose(_) => EndReason::ConnectionLost,
                    _ => EndReason::ClientClosed,
                };
                if reason == EndReason::ConnectionLost {
                    self.lost.push(self.time);
                }
                self.clients.insert(client, (number, Client::Gone));
                self.say(client, number, EventKind::Disconnect { reason }).await;
            }
            Step::Pass(seconds) => {
                let until = self.time + seconds;
                // Timers run as they come due, to the second.
                while let Some(due) = self.rows.next() {
                    let wait = due.since(self.now()).as_millis().div_ceil(1_000) as i64;
                    if self.time + wait > until {
                        break;
                    }
                    self.time += wait;
                    self.tick().await;
                }
                self.time = until;
            }
            Step::Set(ahead) => {
                let by = ahead - self.ahead;
                self.ahead = ahead;
                self.stepped_at = self.time;
                if by < 0 {
                    self.rows.make_due_sooner(Duration::from_secs(by.unsigned_abs()));
                }
                for (_, client) in self.clients.values_mut() {
                    if let Client::Live { steps, was_set_ahead, .. } = client {
                        *steps += 1;
                        *was_set_ahead |= by > 0;
                    }
                }
                self.tick().await;
            }
        }
    }

    /// Whether a client must still be seen, and whether one may be.
    fn truth(&self) -> (bool, bool) {
        let must = |client: &Client| match *client {
            Client::Live { at, steps: 0, .. } => self.time < at + LEASE,
            // An earlier step, which nothing had to follow, may cost as much.
            Client::Live { at, steps: 1, was_set_ahead: false } => self.time < at + LEASE - SLACK,
            _ => false,
        };
        let may_last = |at: i64, lasts: i64| self.time < self.may_last(at, lasts);
        let may = |client: &Client| matches!(*client, Client::Live { at, .. } if may_last(at, LEASE));
        let clients = || self.clients.values().map(|(_, client)| client);
        // While another client was live, nothing had to move the state to the clock: the grace period begins again with that.
        let may_lost =
            |at: &i64| may_last(*at, GRACE) || *at <= self.stepped_at && self.time < self.live_at + GRACE + SLACK;
        (clients().any(must), clients().any(may) || self.lost.iter().any(may_lost))
    }

    async fn check(&self) -> Result<(), TestCaseError> {
        let user = &users()[0];
        let seen = self.harness.read(user, self.now().as_millis()).await.online;
        let (must, may) = self.truth();
        prop_assert_eq!(seen.is_some(), !self.clients.is_empty());
        prop_assert!(!must || seen == Some(true), "a live client is not seen");
        prop_assert!(may || seen != Some(true), "a ghost is seen");
        Ok(())
    }
}

#[test]
fn a_clock_that_steps_makes_no_ghosts_and_hides_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 5_000, failure_persistence: None, ..Config::default() });
    let lives = proptest::collection::vec(step(), 1..25);
    let outcome = runner.run(&lives, |steps| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.take(step).await;
                world.check().await?;
            }
            world.take(Step::Pass(2 * LEASE + SLACK)).await;
            world.check().await?;
            let told = world.harness.told(&users()[0]).await.online;
            prop_assert!(told != Some(true), "watchers have been told the end");
            prop_assert_eq!(world.rows.next(), None, "no timer waits for a time that does not come");
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
