//! The fanout of a deployment on AWS: how many requests of a batch wait for each other.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::{Accounts, Services, Users};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::presence::sink::{Sink, SinkError};
use reachability_domain::presence::state::UserState;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{Harness, Kept, SETTINGS};
use reachability_worker::{Fanout, StoredWrite, WebhookOutbox};
use tokio::time::{Instant, sleep};

/// How long each request takes, of a clock that goes on only while everybody waits.
const ROUND: Duration = Duration::from_secs(1);

const BATCH: usize = 100;
const SERVICES: usize = 20;

/// A store, queue and topic that answer after a while.
struct Slow(Arc<MemoryStore>);

#[async_trait]
impl Accounts for Slow {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        sleep(ROUND).await;
        self.0.account().await
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        self.0.replace_account(settings).await
    }
}

#[async_trait]
impl Services for Slow {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.0.create_service(service).await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        sleep(ROUND).await;
        self.0.service(sid).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.0.services(page).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        self.0.replace_service(service).await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.0.delete_service(sid).await
    }
}

#[async_trait]
impl Users for Slow {
    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        self.0.create_user(user).await
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        sleep(ROUND).await;
        self.0.user(service, user).await
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        self.0.users(service, page).await
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        self.0.replace_user(user).await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        self.0.delete_user(service, sid, now).await
    }
}

/// Requests of a queue or topic are made at the same time, as far as they may be.
#[derive(Default)]
struct SlowQueue(Kept<WebhookMessage>);

#[async_trait]
impl Queue<WebhookMessage> for SlowQueue {
    async fn send(&self, messages: &[WebhookMessage]) -> Result<(), QueueError> {
        sleep(ROUND).await;
        self.0.send(messages).await
    }
}

struct SlowTopic;

#[async_trait]
impl Sink for SlowTopic {
    async fn tell(&self, _: &[Notice]) -> Result<(), SinkError> {
        sleep(ROUND).await;
        Ok(())
    }
}

/// Changes of a hundred users of twenty services, which are all told by webhooks.
#[tokio::test(start_paused = true)]
async fn the_requests_of_a_batch_are_made_side_by_side() {
    let store = Arc::new(MemoryStore::default());
    let harness = Harness::new(store.clone(), SETTINGS);
    for n in 1..=SERVICES {
        let sid = service(n as u128);
        harness.switch(sid, true).await;
        let mut with_webhooks = store.service(sid).await.unwrap().unwrap();
        with_webhooks.webhooks.filters = Some(vec!["onUserUpdated".to_owned()]);
        store.replace_service(&with_webhooks).await.unwrap();
    }
    let mut account = store.account().await.unwrap();
    account.webhooks.post_webhook_url = Some("https://example.com/".to_owned());
    account.webhooks.filters = Some(vec!["onUserUpdated".to_owned()]);
    store.replace_account(&account).await.unwrap();
    let mut writes = Vec::new();
    for n in 0..BATCH {
        let mut event: Event =
            event_of(&format!("user-{n}"), "c", START, EventKind::Connect { lease: None, device: None });
        event.user.service = service((n % SERVICES + 1) as u128);
        harness.deliver(std::slice::from_ref(&event), START).await;
        let (before, after) = (Box::new(UserState::default()), Box::new(harness.state(&event.user).await));
        writes.push(StoredWrite::State { user: event.user, before, after });
    }
    let (slow, queue) = (Arc::new(Slow(store.clone())), Arc::new(SlowQueue::default()));
    let outbox = WebhookOutbox {
        accounts: slow.clone(),
        users: slow.clone(),
        snapshots: store,
        queue: queue.clone(),
        clock: || Timestamp::from_millis(START),
    };
    let fanout = Fanout {
        services: slow,
        pushes: Arc::new(Kept::default()),
        sinks: vec![Arc::new(SlowTopic)],
        webhooks: Some(outbox),
        metrics: Arc::new(EmfMetrics::default()),
    };
    let started = Instant::now();
    assert_eq!(fanout.handle_writes(&writes).await, None);
    assert_eq!(queue.0.take().len(), BATCH);
    let rounds = started.elapsed().as_secs_f64() / ROUND.as_secs_f64();
    assert_eq!(rounds, 5.0, "the services, the topic, the account, the users, and the queue");
}
