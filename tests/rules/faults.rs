//! A store and a queue that fail, before or after they have done the operation.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services, Users};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::Joined;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::{KeySid, ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_tests::generate::{LENGTH, START, log_and_delivery, service, users};
use reachability_tests::harness::{Harness, SETTINGS, Timers, ports, rules, unstamped, worker};
use reachability_tests::model::Model;
use reachability_tests::store::{Leftovers, Store};
use reachability_worker::{Envelope, Failure, Received, Worker};

/// Fails about every other operation, before it is done or after.
#[derive(Default)]
struct Fickle<T> {
    inner: T,
    calls: AtomicU64,
}

impl<T> Fickle<T> {
    fn of(inner: T) -> Self {
        Self { inner, calls: AtomicU64::new(0) }
    }

    async fn call<R, E>(&self, done: impl Future<Output = Result<R, E>> + Send, failure: fn() -> E) -> Result<R, E> {
        // Scrambled, so that failures do not follow the rhythm of the calls.
        match self.calls.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & 3 {
            0 => Err(failure()),
            1 => {
                let _ = done.await;
                Err(failure())
            }
            _ => done.await,
        }
    }
}

fn no_store() -> StoreError {
    StoreError::Unavailable("it is away".into())
}

#[async_trait]
impl Queue<PresenceMessage> for Fickle<Arc<Timers>> {
    async fn send(&self, messages: &[PresenceMessage]) -> Result<(), QueueError> {
        self.call(self.inner.send(messages), || QueueError::Unavailable("it is away".into())).await
    }
}

/// The operations that the worker uses may fail; the others are passed on.
#[async_trait]
impl Services for Fickle<Arc<dyn Store>> {
    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.call(self.inner.service(sid), no_store).await
    }

    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.inner.create_service(service).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.inner.services(page).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        self.inner.replace_service(service).await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.inner.delete_service(sid).await
    }
}

#[async_trait]
impl States for Fickle<Arc<dyn Store>> {
    async fn join(&self, user: &User, news: &News, fired: &[Timestamp], now: Timestamp) -> Result<Joined, StoreError> {
        self.call(self.inner.join(user, news, fired, now), no_store).await
    }

    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        self.inner.states(users).await
    }

    async fn disclose(&self, user: &User, wish: &Disclose, now: Timestamp) -> Result<Option<UserState>, StoreError> {
        self.call(self.inner.disclose(user, wish, now), no_store).await
    }

    async fn announce(&self, user: &UserKey, generation: Generation, now: Timestamp) -> Result<(), StoreError> {
        self.inner.announce(user, generation, now).await
    }
}

#[async_trait]
impl Users for Fickle<Arc<dyn Store>> {
    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        self.call(self.inner.user(service, user), no_store).await
    }

    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        self.call(self.inner.create_user(user), no_store).await
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        self.inner.users(service, page).await
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        self.inner.replace_user(user).await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.delete_user(service, sid, now).await
    }
}

#[async_trait]
impl Accounts for Fickle<Arc<dyn Store>> {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        self.inner.account().await
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        self.inner.replace_account(settings).await
    }
}

#[async_trait]
impl Leftovers for Fickle<Arc<dyn Store>> {
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError> {
        self.inner.purge(sid, at_most).await
    }
}

#[async_trait]
impl ApiKeys for Fickle<Arc<dyn Store>> {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.inner.create_key(key).await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        self.inner.key(sid).await
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        self.inner.keys(page).await
    }

    async fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.inner.replace_key(key).await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        self.inner.delete_key(sid).await
    }
}

#[tokio::test]
async fn failed_messages_are_redelivered_and_nothing_is_lost() {
    let mut runner = TestRunner::deterministic();
    let mut redelivered = 0;
    for _ in 0..500 {
        let (log, _) = log_and_delivery().new_tree(&mut runner).unwrap().current();
        let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
        let mut model = Model::new(SETTINGS);
        for n in [1, 2] {
            harness.switch(service(n), true).await;
            model.switch(service(n), true);
        }
        let store = Arc::new(Fickle::of(harness.store.clone()));
        let queue = Arc::new(Fickle::of(harness.timers.clone()));
        let worker = worker(store, queue, rules(SETTINGS), Duration::ZERO, Arc::default());
        let now = START + LENGTH;
        let mut waiting = log.clone();
        let mut is_repeated = false;
        while !waiting.is_empty() {
            let messages = waiting.iter().map(|event| Received::new(unstamped(event), is_repeated)).collect();
            let failed = worker.process_received(messages, Timestamp::from_millis(now)).await;
            is_repeated = true;
            waiting = failed.iter().map(|(index, _)| waiting[*index].clone()).collect();
            redelivered += waiting.len();
        }
        log.iter().for_each(|event| model.arrive(event));
        // Watchers are told the truth too, so no timer was lost.
        let mut time = now;
        loop {
            for user in users() {
                let truth = model.truth(&user, time).online;
                assert_eq!(harness.read(&user, time).await.online, truth, "{log:#?}");
                assert_eq!(harness.told(&user).await.online, truth, "{log:#?}");
            }
            let Some(due) = harness.timers.next() else { break };
            time = due.as_millis();
            harness.tick(time).await;
        }
    }
    assert!(redelivered > 5_000, "only {redelivered} failed");
}

#[tokio::test]
async fn a_batch_reports_what_failed_and_nothing_else() {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    harness.switch(service(1), true).await;
    let body = |service: u32, identity: &str, second: &str| {
        format!(
            r#"{{"type":"connect","service_sid":"IS{service:032}","identity":"{identity}","connection_id":"c","occurred_at":"2026-11-20T{second}Z"}}"#
        )
    };
    let bodies = [
        body(1, "alice", "00:00:00"),
        "not json".to_owned(),
        body(9, "alice", "00:00:00"),
        body(1, "bob", "00:00:00"),
        body(1, "carol", "12:00:00"),
        r#"{"type":"check","service_sid":"IS00000000000000000000000000000009","identity":"x","connection_id":"c","due_at":1}"#.to_owned(),
        "{}".to_owned(),
    ];
    let envelope = |(n, body): (usize, &String)| Envelope {
        id: format!("m-{n}"),
        body: body.clone(),
        attempts: 0,
        accepted_at: Some(Timestamp::from_millis(START)),
    };
    let envelopes: Vec<Envelope> = bodies.iter().enumerate().map(envelope).collect();
    let mut failures = worker_at_start(&harness).handle(&envelopes).await;
    failures.sort_by_key(|(index, _)| *index);
    let permanent = failures.iter().map(|(_, failure)| failure.is_permanent());
    assert_eq!(permanent.collect::<Vec<_>>(), [true; 4], "none of them gets better by waiting");
    assert!(matches!(failures[1].1, Failure::UnknownService(_)));
    let indices = failures.iter().map(|(index, _)| *index);
    assert_eq!(indices.collect::<Vec<_>>(), [1, 2, 4, 6]);
    for (identity, online) in [("alice", Some(true)), ("bob", Some(true)), ("carol", None)] {
        let user = UserKey { service: service(1), identity: identity.parse().unwrap() };
        assert_eq!(harness.read(&user, START).await.online, online, "{identity}");
    }
}

/// A worker whose clock stands still at the start.
fn worker_at_start(harness: &Harness) -> Worker {
    let ports = ports(harness.store.clone(), harness.timers.clone(), Arc::default());
    Worker::new(ports, rules(SETTINGS), Duration::ZERO, || Timestamp::from_millis(START))
}

#[tokio::test]
async fn a_timer_that_is_delivered_too_early_is_set_again() {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    harness.switch(service(1), true).await;
    let event: Event = Event::parse(
        br#"{"type":"connect","service_sid":"IS00000000000000000000000000000001","identity":"alice","connection_id":"c","occurred_at":"2026-11-20T00:00:00Z"}"#,
    )
    .unwrap();
    harness.deliver(&[event], START).await;
    let due = harness.timers.next().unwrap();
    assert_eq!(due.as_millis(), START + 120_000);
    let early = harness.timers.take_due(due).into_iter().map(PresenceMessage::Check).collect();
    assert!(harness.worker.process(early, Timestamp::from_millis(START + 60_000)).await.is_empty());
    assert_eq!(harness.timers.next(), Some(due));
    assert_eq!(harness.timers.count(), 1);
}
