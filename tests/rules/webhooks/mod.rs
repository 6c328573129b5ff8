//! Webhooks: the real queue, worker and client, and a real HTTP server that receives them, with a time that the test moves.

mod delivery;
mod names;
mod outages;
mod queue;
mod reports;
mod requests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::ports::{Services, Users};
use reachability_domain::directory::service::{Service, Webhooks as Urls};
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::queue::Queue;
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, ServiceSid, Sid, UserSid};
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqlite::{
    Database, DeadLetter, MAX_WAITING_WEBHOOKS, QueueName, Retention, Settled, SqliteFeed, SqliteStore, TakenWebhook,
    WebhookQueue,
};
use reachability_infra::webhook::{AddressRules, HttpWebhooks};
use reachability_tests::generate::START;
use reachability_tests::harness::{Kept, SETTINGS, new_service, rules};
use reachability_tests::queues::database;
use reachability_tests::simulated_clock::{now, pass, set};
use reachability_worker::{Fanout, WebhookOutbox, WebhookOutcome, WebhookPorts, Webhooks};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn service(n: u128) -> ServiceSid {
    Sid::from_bits(n)
}

fn key(of: ServiceSid, identity: &str) -> UserKey {
    UserKey { service: of, identity: identity.parse().unwrap() }
}

/// One process, with its database.
struct Process {
    directory: TempDir,
    parts: Parts,
    /// How many connections each user has opened.
    connections: RefCell<HashMap<UserKey, u64>>,
}

/// What a killed process loses.
struct Parts {
    store: Arc<SqliteStore>,
    database: Database,
    feed: SqliteFeed,
    fanout: Fanout,
    queue: WebhookQueue,
    webhooks: Webhooks,
    metrics: Arc<EmfMetrics>,
}

/// How a process is set up.
#[derive(Clone, Copy)]
struct Options {
    /// How many webhooks of a service may wait.
    max_waiting: usize,
    /// Whether private addresses are called.
    private: bool,
    /// The DNS server; `None` for the machine's.
    dns: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_waiting: MAX_WAITING_WEBHOOKS, private: true, dns: None }
    }
}

impl Parts {
    async fn open(directory: &Path, Options { max_waiting, private, dns }: Options) -> Self {
        let (database, metrics) = (database(directory), Arc::new(EmfMetrics::default()));
        let queue = WebhookQueue::open(database.clone(), max_waiting, metrics.clone()).await.unwrap();
        let store = Arc::new(SqliteStore::new(database.clone()));
        let outbox = WebhookOutbox {
            accounts: store.clone(),
            users: store.clone(),
            snapshots: store.clone(),
            queue: Arc::new(queue.clone()),
            clock: now,
        };
        let fanout = Fanout {
            services: store.clone(),
            pushes: Arc::new(Kept::default()),
            sinks: vec![],
            webhooks: Some(outbox),
            metrics: metrics.clone(),
        };
        let token = watch::channel(Secret::new("a-token-of-the-account").into()).1;
        let sender = HttpWebhooks::new(token, AddressRules { private }, None, now);
        let sender = match dns {
            Some(dns) => sender.with_dns_server(dns),
            None => sender,
        };
        let ports = WebhookPorts {
            accounts: store.clone(),
            services: store.clone(),
            sender: Arc::new(sender),
            ids: Arc::new(Uuids),
            metrics: metrics.clone(),
        };
        let webhooks = Webhooks::new(ports, AccountSid::from_bits(9), Duration::ZERO, now);
        let feed = store.feed(Retention { age: Duration::MAX, rows: usize::MAX });
        Self { store, database, feed, fanout, queue, webhooks, metrics }
    }
}

impl Process {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        set(Timestamp::from_millis(START));
        let directory = tempfile::tempdir().unwrap();
        let parts = Parts::open(directory.path(), options).await;
        Self { directory, parts, connections: RefCell::default() }
    }

    /// Ends without notice, and starts again.
    async fn restart(&mut self) {
        self.parts = Parts::open(self.directory.path(), Options::default()).await;
    }

    /// Creates a service with reachability on, whose webhooks go to this URL.
    async fn service(&self, n: u128, url: &str) -> ServiceSid {
        let mut service = new_service(service(n));
        service.configuration.set_reachability_enabled(true, now());
        service.webhooks = urls(url);
        self.parts.store.create_service(&service).await.unwrap();
        service.sid
    }

    async fn change(&self, sid: ServiceSid, change: impl FnOnce(&mut Service)) {
        let mut service = self.parts.store.service(sid).await.unwrap().unwrap();
        change(&mut service);
        self.parts.store.replace_service(&service).await.unwrap();
    }

    async fn event(&self, of: ServiceSid, identity: &str, kind: EventKind) {
        let user = key(of, identity);
        let connection = {
            let mut connections = self.connections.borrow_mut();
            let opened = connections.entry(user.clone()).or_default();
            *opened += u64::from(matches!(kind, EventKind::Connect { .. }));
            format!("c-{opened}").parse().unwrap()
        };
        let event = Event { user: user.clone(), connection, occurred_at: now(), kind };
        let generation = self.parts.store.service(of).await.unwrap().unwrap().configuration.generation;
        let mut news = News::new(rules(SETTINGS));
        news.add(&event, Acceptance::In(generation), now());
        let sid = UserSid::from_bits(u128::from_be_bytes(*uuid::Uuid::new_v4().as_bytes()));
        self.parts.store.join(&User::new(sid, user, None, now()), &news, &[], now()).await.unwrap();
    }

    /// A connection is opened that is not closed for a year.
    async fn connect(&self, of: ServiceSid, identity: &str) {
        let lease = Some(seconds(365 * 86_400));
        self.event(of, identity, EventKind::Connect { lease, device: None }).await;
    }

    async fn disconnect(&self, of: ServiceSid, identity: &str) {
        self.event(of, identity, EventKind::Disconnect { reason: EndReason::ClientClosed }).await;
    }

    async fn user(&self, of: ServiceSid, identity: &str) -> User {
        let user = UserRef::Identity(identity.parse().unwrap());
        self.parts.store.user(of, &user).await.unwrap().unwrap()
    }

    /// Delivers the feed: puts webhooks into their queue.
    async fn tell(&self) {
        let last = self.tell_and_be_killed().await;
        if let Some(last) = last {
            self.parts.feed.acknowledge(last, 1, now()).await.unwrap();
        }
    }

    /// The same, without an acknowledgement.
    async fn tell_and_be_killed(&self) -> Option<i64> {
        let rows = self.parts.feed.undelivered(None, 10_000).await.unwrap();
        let entries: Vec<FeedEntry> = rows.iter().map(|row| row.entry.clone()).collect();
        assert_eq!(self.parts.fanout.handle(&entries).await, None);
        rows.last().map(|row| row.id)
    }

    /// Starts what is due. Returns how much.
    async fn start_due(&self, under_way: &mut JoinSet<()>) -> usize {
        let taken = self.parts.queue.take(now()).await.unwrap();
        let count = taken.len();
        for webhook in taken {
            let (queue, webhooks) = (self.parts.queue.clone(), self.parts.webhooks.clone());
            under_way.spawn(async move {
                let outcome = webhooks.deliver(&webhook.body, webhook.attempts).await;
                queue.settle(&webhook, settled(outcome), now()).await.unwrap();
            });
        }
        count
    }

    /// Delivers what is due until this time, as the server does, and moves the time on while nothing is under way.
    async fn run_until(&self, until: Timestamp) {
        let mut under_way = JoinSet::new();
        loop {
            self.start_due(&mut under_way).await;
            if let Some(done) = under_way.join_next().await {
                done.unwrap();
                continue;
            }
            match self.parts.queue.next_due() {
                Some(next) if next <= until => set(next.max(now())),
                _ => break,
            }
        }
        set(until.max(now()));
    }

    /// Delivers what is due for so long.
    async fn run_for(&self, time: Duration) {
        self.run_until(now().plus(time)).await;
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.parts.database.dead_letters(usize::MAX).await.unwrap()
    }

    /// Puts a webhook into the queue, besides those of the feed.
    async fn send(&self, messages: &[WebhookMessage]) {
        self.parts.queue.send(messages).await.unwrap();
    }
}

fn urls(url: &str) -> Urls {
    let filters = ["onUserAdded", "onUserUpdated"].map(str::to_owned).to_vec();
    Urls { post_webhook_url: Some(url.to_owned()), filters: Some(filters), ..Urls::default() }
}

fn settled(outcome: WebhookOutcome) -> Settled {
    match outcome {
        WebhookOutcome::Done => Settled::Done,
        WebhookOutcome::Retry(wait) => Settled::RetryAt(now().plus(wait)),
        WebhookOutcome::Held(wait) => Settled::HeldUntil(now().plus(wait)),
        WebhookOutcome::Dead(reason) => Settled::Dead(reason),
    }
}
