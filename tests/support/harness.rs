//! The worker on a store, with a time that the test controls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::store::Store;
use async_trait::async_trait;
use reachability_domain::directory::service::{DefaultRoles, Service};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::connections::{LeasePolicy, Limits, Rules};
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, Check, PresenceMessage};
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::state::UserState;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_worker::{Failure, Received, Worker, WorkerPorts};

use crate::model::Settings;

/// The default settings of the tests.
pub const SETTINGS: Settings = Settings { grace: 10_000, lease: Some(120_000) };

/// The rules of these settings.
pub fn rules(settings: Settings) -> Rules {
    Rules {
        grace: Duration::from_millis(settings.grace as u64),
        lease: settings
            .lease
            .map_or(LeasePolicy::Unlimited, |lease| LeasePolicy::For(Duration::from_millis(lease as u64))),
        limits: Limits::DEFAULT,
    }
}

/// A new service.
pub fn new_service(sid: ServiceSid) -> Service {
    let [conversation_creator, conversation, service_user] = [1, 2, 3].map(Sid::from_bits);
    let roles = DefaultRoles { conversation_creator, conversation, service_user };
    Service::new(sid, "a service".to_owned(), roles, Timestamp::default())
}

/// A queue that keeps timers until the test takes them.
#[derive(Debug, Default)]
pub struct Timers(Mutex<Vec<Check>>);

impl Timers {
    /// The earliest timer's time.
    pub fn next(&self) -> Option<Timestamp> {
        self.0.lock().unwrap().iter().map(|check| check.due_at).min()
    }

    /// Removes and returns the timers that are due.
    pub fn take_due(&self, now: Timestamp) -> Vec<Check> {
        self.0.lock().unwrap().extract_if(.., |check| check.due_at <= now).collect()
    }

    /// Loses a timer: that with this index, of so many.
    pub fn lose(&self, index: impl FnOnce(usize) -> usize) -> Option<Check> {
        let mut timers = self.0.lock().unwrap();
        (!timers.is_empty()).then(|| index(timers.len())).map(|index| timers.swap_remove(index))
    }

    /// Whether there is such a timer.
    pub fn contains(&self, check: &Check) -> bool {
        self.0.lock().unwrap().contains(check)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[async_trait]
impl Queue<PresenceMessage> for Timers {
    async fn send(&self, messages: &[PresenceMessage]) -> Result<(), QueueError> {
        for message in messages {
            let PresenceMessage::Check(check) = message else { panic!("a worker sends timers only") };
            self.0.lock().unwrap().push(check.clone());
        }
        Ok(())
    }
}

/// A queue that keeps messages until the test takes them.
#[derive(Debug)]
pub struct Kept<M>(Mutex<Vec<M>>);

impl<M> Default for Kept<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M> Kept<M> {
    /// Removes and returns all messages.
    pub fn take(&self) -> Vec<M> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl<M: Clone + Send + Sync> Queue<M> for Kept<M> {
    async fn send(&self, messages: &[M]) -> Result<(), QueueError> {
        self.0.lock().unwrap().extend_from_slice(messages);
        Ok(())
    }
}

/// The ports of a worker on a store.
pub fn ports(store: Arc<dyn Store>, events: Arc<dyn Queue<PresenceMessage>>, metrics: Arc<EmfMetrics>) -> WorkerPorts {
    WorkerPorts {
        services: store.clone(),
        deleted_services: None,
        states: store,
        events,
        ids: Arc::new(Uuids),
        metrics,
    }
}

/// A worker on a store.
pub fn worker(
    store: Arc<dyn Store>,
    events: Arc<dyn Queue<PresenceMessage>>,
    rules: Rules,
    age: Duration,
    metrics: Arc<EmfMetrics>,
) -> Worker {
    Worker::new(ports(store, events, metrics), rules, age, clock::now)
}

/// An event that came straight to the queue.
pub fn unstamped(event: &Event) -> PresenceMessage {
    PresenceMessage::Event(Accepted::new(event.clone(), None))
}

/// A worker and its store.
pub struct Harness {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The worker's timers.
    pub timers: Arc<Timers>,
    /// The worker.
    pub worker: Worker,
}

impl Harness {
    /// With this store.
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        let timers = Arc::new(Timers::default());
        let worker = worker(store.clone(), timers.clone(), rules(settings), Duration::ZERO, Arc::default());
        Self { store, timers, worker }
    }

    /// Switches the reachability of a service, and creates the service if there is none.
    pub async fn switch(&self, sid: ServiceSid, on: bool) {
        let mut service = match self.store.service(sid).await.unwrap() {
            Some(service) => service,
            None => {
                self.store.create_service(&new_service(sid)).await.unwrap();
                new_service(sid)
            }
        };
        service.configuration.set_reachability_enabled(on, Timestamp::default());
        self.store.replace_service(&service).await.unwrap();
    }

    /// Delivers events, all of which must be handled.
    pub async fn deliver(&self, events: &[Event], now: i64) {
        let failures = self.try_deliver(events, now).await;
        assert!(failures.is_empty(), "{failures:?}");
    }

    /// Accepts an event now, as the HTTP function does.
    pub async fn accept(&self, event: &Event) -> PresenceMessage {
        let service = self.store.service(event.user.service).await.unwrap().unwrap();
        let acceptance = Some(Acceptance::now(&service.configuration));
        PresenceMessage::Event(Accepted::new(event.clone(), acceptance))
    }

    /// Delivers events. Returns the indices of those that were not handled.
    pub async fn try_deliver(&self, events: &[Event], now: i64) -> Vec<(usize, Failure)> {
        let messages = events.iter().map(unstamped).collect();
        self.worker.process(messages, Timestamp::from_millis(now)).await
    }

    /// Delivers the timers that are due.
    pub async fn tick(&self, now: i64) {
        self.tick_early(now, 0).await;
    }

    /// Delivers the timers that are due within this many milliseconds, as if the queue's clock were ahead by that much.
    pub async fn tick_early(&self, now: i64, early: i64) {
        let due = self.timers.take_due(Timestamp::from_millis(now + early));
        self.handle_timers(due, now).await;
    }

    /// Delivers timers in one batch.
    pub async fn handle_timers(&self, checks: Vec<Check>, now: i64) {
        self.handle(checks.into_iter().map(PresenceMessage::Check).collect(), now).await;
    }

    /// Delivers a message that was delivered before.
    pub async fn redeliver(&self, message: PresenceMessage, now: i64) {
        let again = vec![Received::new(message, true)];
        let failures = self.worker.process_received(again, Timestamp::from_millis(now)).await;
        assert!(failures.is_empty(), "{failures:?}");
    }

    /// Delivers messages in one batch.
    pub async fn handle(&self, messages: Vec<PresenceMessage>, now: i64) {
        let failures = self.worker.process(messages, Timestamp::from_millis(now)).await;
        assert!(failures.is_empty(), "{failures:?}");
    }

    /// A user's stored state.
    pub async fn state(&self, user: &UserKey) -> UserState {
        self.store.states(std::slice::from_ref(user)).await.unwrap().remove(0)
    }

    /// What a reader sees at this time.
    pub async fn read(&self, user: &UserKey, now: i64) -> Reachability {
        self.reachability(user, Timestamp::from_millis(now)).await.unwrap()
    }

    /// What watchers were told last: the state as of the user's last write.
    pub async fn told(&self, user: &UserKey) -> Reachability {
        let as_of = self.state(user).await.as_of;
        self.reachability(user, as_of).await.unwrap()
    }

    async fn reachability(&self, user: &UserKey, now: Timestamp) -> Result<Reachability, StoreError> {
        let service = self.store.service(user.service).await?.ok_or(StoreError::Missing)?;
        Ok(Appearance::of(&service.configuration, &self.state(user).await, now, Viewer::Other).reachability)
    }
}
