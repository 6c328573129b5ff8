//! What was done to each user and acknowledged, and what anybody may see of it. What was not acknowledged may have happened.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Instant;

use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::Event;
use reachability_domain::sid::ServiceSid;
use reachability_tests::model::{Model, Settings};
use serde_json::Value;

/// A user: the number of the service, and the identity.
pub(crate) type Key = (usize, String);

/// A value that is written again and again, by one writer.
#[derive(Debug, Default)]
pub(crate) struct Setting<T> {
    acknowledged: T,
    /// What was written since, without an answer.
    unsure: Vec<T>,
}

impl<T: Clone + PartialEq> Setting<T> {
    /// A write is sent.
    pub(crate) fn sent(&mut self, value: T) {
        self.unsure.push(value);
    }

    /// A write is acknowledged.
    pub(crate) fn acknowledged(&mut self, value: T) {
        self.acknowledged = value;
        self.unsure.clear();
    }

    /// The values that it may have.
    pub(crate) fn allowed(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.acknowledged).chain(&self.unsure)
    }

    /// Whether it may have this value.
    pub(crate) fn allows(&self, value: &T) -> bool {
        self.allowed().any(|allowed| allowed == value)
    }
}

/// The push registration of a user, who has at most one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Registration {
    #[default]
    Never,
    Deliverable,
    Gone,
}

impl Registration {
    pub(crate) fn notifiable(self) -> Option<bool> {
        match self {
            Self::Never => None,
            Self::Deliverable => Some(true),
            Self::Gone => Some(false),
        }
    }
}

/// Everything that is known of a user.
#[derive(Debug, Default)]
pub(crate) struct Person {
    /// It was created over REST.
    pub(crate) is_created: bool,
    accepted: Vec<Event>,
    unsure: Vec<Event>,
    /// A socket of its own was open once: for certain, and perhaps.
    pub(crate) was_open: (bool, bool),
    /// A socket of its own is open.
    pub(crate) is_open: bool,
    pub(crate) status: Setting<Option<String>>,
    pub(crate) invisible: Setting<bool>,
    /// It may have been invisible at some time, so that others do not know that it was online.
    was_invisible: bool,
    pub(crate) name: Setting<Option<String>>,
    pub(crate) registration: Setting<Registration>,
    /// A device has a token that its provider calls dead.
    pub(crate) is_dead: bool,
    history: Vec<String>,
}

impl Person {
    /// An event is sent.
    pub(crate) fn event_sent(&mut self, event: &Value) {
        self.unsure.push(Event::parse(event.to_string().as_bytes()).unwrap());
    }

    /// All events that were sent are accepted.
    pub(crate) fn events_accepted(&mut self) {
        self.accepted.append(&mut self.unsure);
    }

    /// Whether it is to be invisible or not is sent.
    pub(crate) fn invisible_sent(&mut self, is_invisible: bool) {
        self.was_invisible |= is_invisible;
        self.invisible.sent(is_invisible);
    }

    /// Whether it must exist.
    pub(crate) fn exists(&self) -> bool {
        let is_registered = |registration: &Registration| *registration != Registration::Never;
        self.is_created
            || self.was_open.0
            || self.accepted.iter().any(Event::renews_lease)
            || self.registration.allowed().all(is_registered)
    }

    /// The values of `is_online` that itself may be shown at this time, in milliseconds.
    pub(crate) fn online_to_itself(&self, key: &UserKey, settings: Settings, now: i64) -> BTreeSet<Option<bool>> {
        if self.is_open {
            return BTreeSet::from([Some(true)]);
        }
        let mut allowed = BTreeSet::new();
        for part in 0_u32..1 << self.unsure.len() {
            let mut model = Model::new(settings);
            model.switch(key.service, true);
            self.accepted.iter().for_each(|event| model.arrive(event));
            let unsure = self.unsure.iter().enumerate().filter(|(n, _)| part >> n & 1 == 1);
            unsure.for_each(|(_, event)| model.arrive(event));
            let by_events = model.truth(key, now).online;
            let (was_open, may_have_been) = self.was_open;
            if may_have_been {
                allowed.insert(by_events.or(Some(false)));
            }
            if !was_open {
                allowed.insert(by_events);
            }
        }
        allowed
    }

    /// The same, of what others may be shown.
    pub(crate) fn online_to_others(&self, key: &UserKey, settings: Settings, now: i64) -> BTreeSet<Option<bool>> {
        let to_itself = self.online_to_itself(key, settings, now);
        let mut allowed = BTreeSet::new();
        for is_invisible in self.invisible.allowed() {
            allowed
                .extend(to_itself.iter().map(|online| if *is_invisible { online.and(Some(false)) } else { *online }));
        }
        if self.was_invisible && allowed.contains(&Some(false)) {
            allowed.insert(None);
        }
        allowed
    }
}

/// What is known of everybody.
pub(crate) struct Ledger {
    began: Instant,
    settings: Settings,
    services: Vec<ServiceSid>,
    people: RefCell<BTreeMap<Key, Person>>,
}

impl Ledger {
    pub(crate) fn new(services: &[String], settings: Settings) -> Self {
        let services = services.iter().map(|service| service.parse().unwrap()).collect();
        Self { began: Instant::now(), settings, services, people: RefCell::default() }
    }

    /// Writes down what was done to a user, or what became of that.
    pub(crate) fn note<T>(&self, key: &Key, what: impl Into<String>, change: impl FnOnce(&mut Person) -> T) -> T {
        let mut people = self.people.borrow_mut();
        let person = people.entry(key.clone()).or_default();
        person.history.push(format!("{:9.3} {}", self.began.elapsed().as_secs_f64(), what.into()));
        change(person)
    }

    /// Reads what is known of everybody.
    pub(crate) fn people(&self) -> std::cell::Ref<'_, BTreeMap<Key, Person>> {
        self.people.borrow()
    }

    /// The settings of the model.
    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }

    /// How the product names a user.
    pub(crate) fn user(&self, (service, identity): &Key) -> UserKey {
        UserKey { service: self.services[*service], identity: identity.parse().unwrap() }
    }

    /// The last of what was done to a user.
    pub(crate) fn history(&self, key: &Key) -> String {
        const LINES: usize = 30;
        let people = self.people.borrow();
        let Some(person) = people.get(key) else { return "nothing was done to it".to_owned() };
        let skipped = person.history.len().saturating_sub(LINES);
        person.history[skipped..].join("\n      ")
    }
}
