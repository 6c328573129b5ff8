//! What the event queue knows in memory: the messages that are due, and which service has more of them in the table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use reachability_domain::fair_queue::FairQueue;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::queue::{Full, Message};
use reachability_domain::sid::ServiceSid;
use reachability_domain::time::Timestamp;

use super::ages::Ages;
use super::loading::{CHUNK, Load, Loaded, Row};
use super::queue::AT_ONCE;

/// How many services' messages are loaded together.
const SERVICES_AT_ONCE: usize = 16;

/// How many messages from the table are in memory at most.
const MAX_LOADED: usize = 16_384;

/// Those that take turns: the services. `None` for messages that cannot be read.
pub(super) type Scope = Option<ServiceSid>;

/// How many events may wait to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLimits {
    /// Of one service.
    pub per_service: usize,
    /// Of all services together.
    pub all: usize,
}

/// A message that was taken to be handled.
#[derive(Debug)]
pub struct Taken {
    /// For its acknowledgement.
    pub receipt: Receipt,
    /// The message, or its body if it is none.
    pub message: Result<PresenceMessage, String>,
}

/// For the acknowledgement of a message.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    /// The message's id in the queue, never reused.
    pub id: i64,
    /// Number of failed attempts.
    pub attempts: u32,
    /// Whether it may have been taken before, by this process or an earlier one.
    pub is_repeated: bool,
    scope: Scope,
    is_event: bool,
    is_loaded: bool,
}

/// A message that is due.
#[derive(Debug)]
struct Entry {
    id: i64,
    attempts: u32,
    /// Whether it counts as a waiting event.
    is_event: bool,
    /// Whether it came from the table, where it would be found again.
    is_loaded: bool,
    // Boxed, since a user's deque has room for several.
    message: Box<Result<PresenceMessage, String>>,
}

/// A service.
#[derive(Debug, Default)]
struct Numbers {
    /// How many events wait: those in memory, and those from before the start.
    events: usize,
    /// How many messages from before the start are not loaded yet.
    backlog: usize,
    /// The messages that were loaded and not acknowledged.
    loaded: HashSet<i64>,
    /// The earliest time at which a message in the table is due; `None` also while the service is to be loaded.
    next_due: Option<i64>,
    is_ready: bool,
}

#[derive(Debug)]
pub(super) struct Waiting {
    limits: WaitingLimits,
    due: FairQueue<Scope, u64, Entry>,
    services: HashMap<Scope, Numbers>,
    schedule: BTreeSet<(i64, Scope)>,
    /// The services that have due messages in the table, the next one first.
    ready: VecDeque<Scope>,
    events: usize,
    loaded: usize,
    ages: Ages,
    hasher: RandomState,
}

impl Waiting {
    pub(super) fn new(limits: WaitingLimits) -> Self {
        Self {
            limits,
            due: FairQueue::default(),
            services: HashMap::new(),
            schedule: BTreeSet::new(),
            ready: VecDeque::new(),
            events: 0,
            loaded: 0,
            ages: Ages::new(limits.all),
            hasher: RandomState::new(),
        }
    }

    /// Adds what a service has in the table at the start: the time at which the first message is due, and how many are without
    /// delay.
    pub(super) fn find(&mut self, scope: Scope, next_due: i64, backlog: usize) {
        let numbers = self.services.entry(scope).or_default();
        numbers.events += backlog;
        numbers.backlog = backlog;
        self.events += backlog;
        self.schedule(scope, next_due);
    }

    /// Whether there is room for another event of this service.
    pub(super) fn room(&self, scope: Scope) -> Result<(), Full> {
        self.has_room(scope, 1, 1)
    }

    fn has_room(&self, scope: Scope, events: usize, all: usize) -> Result<(), Full> {
        let waiting = self.services.get(&scope).map_or(0, |numbers| numbers.events);
        if waiting.saturating_add(events) > self.limits.per_service {
            return Err(Full::Service(self.limits.per_service));
        }
        if self.events.saturating_add(all) > self.limits.all {
            return Err(Full::All(self.limits.all));
        }
        Ok(())
    }

    /// Counts events as waiting, if there is room for all.
    pub(super) fn admit(&mut self, events: &BTreeMap<Scope, usize>) -> Result<(), Full> {
        let all = events.values().sum();
        events.iter().try_for_each(|(scope, events)| self.has_room(*scope, *events, all))?;
        for (scope, events) in events {
            self.services.entry(*scope).or_default().events += events;
            self.events += events;
        }
        Ok(())
    }

    /// Takes back [`Waiting::admit`] for events that were not stored.
    pub(super) fn dismiss(&mut self, events: &BTreeMap<Scope, usize>) {
        for (scope, events) in events {
            self.with(*scope, |numbers| numbers.events -= events);
            self.events -= events;
        }
    }

    /// How many events wait, without those that are tried again later.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Since when the oldest event waits; `None` if none does. Of the events from before the start, only those are known that
    /// were loaded, and the first of each service.
    pub(super) fn oldest_event(&self) -> Option<Timestamp> {
        self.ages.oldest()
    }

    /// Notes an event from before the start. When it was accepted is not known: not before it happened.
    pub(super) fn found(&mut self, id: i64, message: &PresenceMessage) {
        if let PresenceMessage::Event(accepted) = message {
            self.ages.add(id, accepted.event.occurred_at);
        }
    }

    /// Adds a message that was stored at this time, just now. If it is an event, it was admitted.
    pub(super) fn add(&mut self, id: i64, due_at: i64, message: PresenceMessage, now: Timestamp) {
        let scope = message.service();
        if due_at == AT_ONCE {
            let is_event = matches!(message, PresenceMessage::Event(_));
            if is_event {
                self.ages.add(id, now);
            }
            self.push(scope, Row { id, attempts: 0, message: Ok(message) }, is_event, false);
        } else {
            self.schedule(scope, due_at);
        }
    }

    fn push(&mut self, scope: Scope, row: Row, is_event: bool, is_loaded: bool) {
        let Row { id, attempts, message } = row;
        // A user goes by the hash of its name, which is short. Two with the same one share their turns.
        let user = self.hasher.hash_one(message.as_ref().ok().map(user));
        self.due.push(scope, user, Entry { id, attempts, is_event, is_loaded, message: Box::new(message) });
    }

    /// Adds messages that were stored just now, and are due at this time.
    pub(super) fn add_delayed(&mut self, scopes: BTreeSet<Scope>, due_at: i64) {
        scopes.into_iter().for_each(|scope| self.schedule(scope, due_at));
    }

    /// Notes that a service has a message in the table.
    pub(super) fn schedule(&mut self, scope: Scope, due_at: i64) {
        let numbers = self.services.entry(scope).or_default();
        // What is to be loaded soon is found then.
        if numbers.is_ready || numbers.next_due.is_some_and(|next_due| next_due <= due_at) {
            return;
        }
        if let Some(later) = numbers.next_due.replace(due_at) {
            self.schedule.remove(&(later, scope));
        }
        self.schedule.insert((due_at, scope));
    }

    /// Has every service that has messages in the table looked at.
    pub(super) fn look_again(&mut self) {
        for (_, scope) in std::mem::take(&mut self.schedule) {
            let numbers = self.services.entry(scope).or_default();
            (numbers.next_due, numbers.is_ready) = (None, true);
            self.ready.push_back(scope);
        }
    }

    /// When something will be due that is not in memory; `None` for never.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let at_once = (!self.ready.is_empty()).then_some(AT_ONCE);
        at_once.or(self.schedule.first().map(|(due_at, _)| *due_at)).map(Timestamp::from_millis)
    }

    /// What is to be loaded at this time: a little of some services, in turns.
    pub(super) fn loads(&mut self, now: Timestamp) -> Vec<Load> {
        while let Some((due_at, scope)) = self.schedule.first().copied()
            && due_at <= now.as_millis()
        {
            self.schedule.pop_first();
            let numbers = self.services.entry(scope).or_default();
            (numbers.next_due, numbers.is_ready) = (None, true);
            self.ready.push_back(scope);
        }
        let mut loads = Vec::new();
        for _ in 0..self.ready.len() {
            if loads.len() == SERVICES_AT_ONCE || self.loaded + (loads.len() + 1) * CHUNK > MAX_LOADED {
                break;
            }
            let Some(scope) = self.ready.pop_front() else { break };
            let numbers = self.services.entry(scope).or_default();
            let known = numbers.loaded.len();
            if known > CHUNK / 2 {
                self.ready.push_back(scope);
                continue;
            }
            numbers.is_ready = false;
            loads.push(Load { scope, known, has_backlog: numbers.backlog > 0 });
        }
        loads
    }

    /// Takes back [`Waiting::loads`], since the table could not be read.
    pub(super) fn postpone(&mut self, loads: &[Load]) {
        loads.iter().for_each(|load| self.schedule(load.scope, AT_ONCE));
    }

    /// Adds what was loaded.
    pub(super) fn load(&mut self, Loaded { load, delayed, next_due, backlog, is_whole_backlog }: Loaded) {
        let Load { scope, .. } = load;
        for (rows, is_backlog) in [(delayed, false), (backlog, true)] {
            for row in rows {
                let numbers = self.services.entry(scope).or_default();
                if !numbers.loaded.insert(row.id) {
                    continue;
                }
                self.loaded += 1;
                let is_retry = !is_backlog && matches!(row.message, Ok(PresenceMessage::Event(_)));
                if is_backlog {
                    numbers.backlog = numbers.backlog.saturating_sub(1);
                } else if is_retry {
                    numbers.events += 1;
                    self.events += 1;
                }
                if let Ok(message) = &row.message {
                    self.found(row.id, message);
                }
                self.push(scope, row, is_backlog || is_retry, true);
            }
        }
        let numbers = self.services.entry(scope).or_default();
        if is_whole_backlog {
            let missing = std::mem::take(&mut numbers.backlog);
            numbers.events -= missing;
            self.events -= missing;
        }
        if numbers.backlog > 0 {
            self.schedule(scope, AT_ONCE);
        } else if let Some(next_due) = next_due {
            self.schedule(scope, next_due);
        }
        self.with(scope, |_| ());
    }

    /// Takes messages to handle. Those up to this id were there at the start.
    pub(super) fn take(&mut self, at_most: usize, last_at_start: i64) -> Vec<Taken> {
        let taken = self.due.take(at_most).into_iter().map(|(scope, entry)| {
            let Entry { id, attempts, is_event, is_loaded, message } = entry;
            let is_repeated = attempts > 0 || id <= last_at_start;
            Taken { receipt: Receipt { id, attempts, is_repeated, scope, is_event, is_loaded }, message: *message }
        });
        taken.collect()
    }

    /// Forgets a message that was taken. If it is to be retried, it is due again at a time.
    pub(super) fn settle(&mut self, receipt: &Receipt, retry_at: Option<Timestamp>) {
        let Receipt { id, scope, is_event, is_loaded, .. } = *receipt;
        self.with(scope, |numbers| {
            numbers.events -= usize::from(is_event);
            if is_loaded {
                numbers.loaded.remove(&id);
            }
        });
        self.events -= usize::from(is_event);
        self.loaded -= usize::from(is_loaded);
        match retry_at {
            Some(retry_at) => self.schedule(scope, retry_at.as_millis()),
            None => self.ages.remove(id),
        }
    }

    /// Changes a service, and forgets it if nothing of it is left.
    fn with(&mut self, scope: Scope, change: impl FnOnce(&mut Numbers)) {
        let numbers = self.services.entry(scope).or_default();
        change(numbers);
        if numbers.events == 0 && numbers.loaded.is_empty() && numbers.next_due.is_none() && !numbers.is_ready {
            self.services.remove(&scope);
        }
    }
}

/// The user of a message; empty if it has none.
fn user(message: &PresenceMessage) -> &str {
    match message {
        PresenceMessage::Event(accepted) => accepted.event.user.identity.as_str(),
        PresenceMessage::Check(check) => check.user.identity.as_str(),
        PresenceMessage::Purge(_) => "",
    }
}
