//! A notification goes to its devices a page at a time: in few writes, and each device on its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use reachability_domain::metrics::{Answer as HttpAnswer, Counter, Metrics, Timing};
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::Push;
use reachability_domain::push::provider::{PushProvider, Unreachable};
use reachability_domain::queue::{Message, Queue};
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::ids::Uuids;
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqlite::{Database, Outcome, PushQueue, SqliteStore};
use reachability_tests::harness::Kept;
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;
use reachability_tests::queues::seal;
use reachability_tests::wait::wait;
use reachability_worker::{Failure, Pusher, PusherPorts};
use tokio::sync::Semaphore;

use super::content;

/// Accepts every push that it has a place for.
struct Accepts {
    places: Semaphore,
    begun: AtomicUsize,
}

impl Accepts {
    fn with_places(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Semaphore::new(places), begun: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl PushProvider for Accepts {
    async fn push(&self, _: &Credential, _: &Binding, _: &Push) -> PushOutcome {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.places.acquire().await.unwrap().forget();
        PushOutcome::Accepted { id: None }
    }

    fn outage(&self, _: &Credential) -> Option<Outage> {
        None
    }

    async fn binding_at(&self, _: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        Ok(None)
    }
}

/// Counts what is written to a database.
#[derive(Debug, Default)]
struct CountWrites {
    writes: AtomicU64,
    commits: AtomicU64,
}

impl CountWrites {
    /// The writes and the commits since the last time.
    fn take(&self) -> (u64, u64) {
        (self.writes.swap(0, Ordering::SeqCst), self.commits.swap(0, Ordering::SeqCst))
    }
}

impl Metrics for CountWrites {
    fn add_many(&self, _: Counter, _: u64) {}

    fn measure(&self, timing: Timing, _: Duration) {
        match timing {
            Timing::StoreWrite => drop(self.writes.fetch_add(1, Ordering::SeqCst)),
            Timing::StoreCommit | Timing::StoreFlush => drop(self.commits.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
    }

    fn answered(&self, _: &HttpAnswer<'_>) {}
}

/// Registers devices of this many users, ten of each. Returns the users' names.
async fn register(harness: &PushHarness, users: usize) -> Vec<String> {
    let users: Vec<String> = (0..users).map(|n| format!("user-{n}")).collect();
    let devices = users.iter().flat_map(|user| (0..10).map(move |n| (user, format!("{user}-{n}"))));
    let devices: Vec<(&String, String)> = devices.collect();
    join_all(devices.iter().map(|(user, token)| harness.register(user, Channel::Fcm, token))).await;
    users
}

async fn notify(harness: &PushHarness, users: &[String]) -> Deliver {
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    harness.notification(&users, content(), None).await
}

fn devices(messages: &[PushMessage]) -> Vec<usize> {
    let of = |message: &PushMessage| match message {
        PushMessage::Deliver(deliver) => deliver.devices().len(),
        other => panic!("{other:?}"),
    };
    messages.iter().map(of).collect()
}

/// How many writes there are, counted: from the message for all devices in the queue to the acknowledgement of the last page.
#[tokio::test]
async fn a_delivery_shares_its_writes_with_its_page() {
    let directory = tempfile::tempdir().unwrap();
    let writes = Arc::new(CountWrites::default());
    let path = directory.path().join("test.db");
    let database = Database::measured(&path, seal(), writes.clone()).unwrap();
    let store = Arc::new(SqliteStore::new(database.clone()));
    let harness = PushHarness::on(store.clone(), store.clone(), None).await;
    let users = register(&harness, 25).await;
    let queue = Arc::new(PushQueue::new(database));
    let accepts = Accepts::with_places(Semaphore::MAX_PERMITS);
    let ports =
        PusherPorts::of(store.clone(), queue.clone(), accepts, Arc::new(Uuids), Arc::new(EmfMetrics::default()));
    let pusher = Pusher::new(ports, clock::now);
    // Each message is handled and acknowledged on its own, as the server does.
    let handle_due = async || {
        let due = queue.due(clock::now(), 1_000).await.unwrap();
        for message in &due {
            let parsed = PushMessage::parse(message.body.as_bytes()).unwrap();
            assert!(pusher.process(vec![parsed]).await.is_empty());
            let outcome = Outcome { handled: vec![message.id], ..Outcome::default() };
            queue.acknowledge(outcome, clock::now()).await.unwrap();
        }
        due.len()
    };
    // With the first answers, the registrations are confirmed, in one more write for each page, and the credential is proven.
    for expected in [14, 10] {
        let deliver = notify(&harness, &users).await;
        writes.take();
        queue.send(&[PushMessage::Deliver(deliver.clone())]).await.unwrap();
        assert_eq!([handle_due().await, handle_due().await, handle_due().await], [1, 3, 0], "three pages");
        assert_eq!(writes.take(), (expected, expected), "writes and commits, for 250 deliveries");
        let stored = harness.deliveries(deliver.notification).await;
        assert!(stored.iter().all(|it| matches!(it.status, DeliveryStatus::Accepted { .. })), "{stored:?}");
        assert_eq!(stored.len(), 250);
    }
    for user in users {
        assert_eq!(harness.notifiable(&user).await, Some(true));
    }
}

/// A page is of one credential, so the retries at one provider do not wait for another provider.
#[tokio::test]
async fn a_page_is_of_one_provider() {
    let harness = PushHarness::new().await;
    for n in 0..30 {
        let channel = if n % 3 == 0 { Channel::Apn } else { Channel::Fcm };
        harness.register("alice", channel, &format!("{n:02}")).await;
    }
    let deliver = harness.notification(&["alice"], content(), None).await;
    let pages = harness.handle(vec![PushMessage::Deliver(deliver)]).await;
    assert_eq!(devices(&pages), [10, 20]);
}

/// The results of the others are stored, and shown, while one device's provider does not answer.
#[tokio::test]
async fn a_device_without_an_answer_holds_no_other_of_its_page_back() {
    let harness = PushHarness::new().await;
    for n in 0..10 {
        harness.register("alice", Channel::Fcm, &format!("token-{n}")).await;
    }
    harness.google.answer("token-3", Answer::stall());
    let deliver = harness.notification(&["alice"], content(), None).await;
    let pages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let pusher = harness.pusher.clone();
    let under_way = tokio::spawn(async move { pusher.process(pages).await });
    let statuses = wait("nine are accepted", async || {
        let deliveries = harness.deliveries(deliver.notification).await;
        let statuses: Vec<&str> = deliveries.iter().map(|it| it.status.as_str()).collect();
        (statuses.iter().filter(|status| **status == "accepted").count() == 9).then(|| statuses.join(" "))
    })
    .await;
    assert!(statuses.contains("queued") && !under_way.is_finished(), "{statuses}");
    under_way.abort();
}

/// The process was killed in the middle of a page.
#[tokio::test]
async fn a_redelivered_page_goes_to_those_without_a_result() {
    let harness = PushHarness::new().await;
    for n in 0..10 {
        harness.register("alice", Channel::Fcm, &format!("token-{n}")).await;
    }
    let deliver = harness.notification(&["alice"], content(), None).await;
    let pages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let queued = harness.deliveries(deliver.notification).await;
    let accepted = |delivery: &Delivery| Delivery { status: DeliveryStatus::Accepted { id: None }, ..delivery.clone() };
    harness.store.replace_deliveries(&queued[..4].iter().map(accepted).collect::<Vec<_>>()).await.unwrap();
    assert!(harness.handle(pages).await.is_empty());
    assert_eq!(harness.google.requests().iter().filter(|it| it.path.ends_with(":send")).count(), 6);
    assert!(harness.deliveries(deliver.notification).await.iter().all(|it| it.status.as_str() == "accepted"));
}

/// A function on AWS that must end soon, in the middle of a page: what was begun is recorded, and the rest is a message.
#[tokio::test]
async fn the_rest_of_a_page_is_handed_on() {
    /// Goes on with each look.
    static NOW: AtomicI64 = AtomicI64::new(1_795_132_800_000);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.fetch_add(1, Ordering::SeqCst))).await;
    for n in 0..40 {
        harness.register("alice", Channel::Fcm, &format!("token-{n}")).await;
    }
    let deliver = harness.notification(&["alice"], content(), None).await;
    let pages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    assert_eq!(devices(&pages), [40]);
    let ends_at = Timestamp::from_millis(NOW.load(Ordering::SeqCst) + 60);
    let failures = harness.pusher.beginning_until(ends_at).process(pages).await;
    assert!(failures.is_empty(), "{failures:?}");
    let rest = harness.queue.take();
    let stored = harness.deliveries(deliver.notification).await;
    let (sent, left): (Vec<_>, Vec<_>) = stored.iter().partition(|it| it.status.as_str() == "accepted");
    assert!(!sent.is_empty() && !left.is_empty(), "{} of 40", sent.len());
    let [PushMessage::Deliver(page)] = &rest[..] else { panic!("{rest:?}") };
    let mut named = page.devices().to_vec();
    named.sort_unstable();
    assert_eq!(named, left.iter().map(|it| it.binding_sid).collect::<Vec<_>>());
    assert!(left.iter().all(|it| it.status == DeliveryStatus::NEW && it.attempts == 0));
    // Of that page nothing is begun, so it comes back as it is.
    let failures = harness.pusher.beginning_until(ends_at).process(rest.clone()).await;
    assert!(matches!(failures[..], [(0, Failure::OutOfTime)]), "{failures:?}");
    assert!(harness.handle(rest).await.is_empty());
    for n in 0..40 {
        assert_eq!(harness.google.shown(&format!("token-{n}")).len(), 1);
    }
}

/// As many as one connection carries: further ones would wait for it, and their timeout would run.
#[tokio::test]
async fn a_thousand_devices_are_sent_to_at_a_time() {
    let store = Arc::new(MemoryStore::default());
    let harness = PushHarness::on(store.clone(), store.clone(), None).await;
    let users = register(&harness, 150).await;
    let (accepts, queue) = (Accepts::with_places(0), Arc::new(Kept::default()));
    let ports = PusherPorts::of(
        store.clone(),
        queue.clone(),
        accepts.clone(),
        Arc::new(Uuids),
        Arc::new(EmfMetrics::default()),
    );
    let pusher = Pusher::new(ports, clock::now);
    let deliver = [notify(&harness, &users[..100]).await, notify(&harness, &users[100..]).await];
    assert!(pusher.process(deliver.clone().map(PushMessage::Deliver).to_vec()).await.is_empty());
    let pages = queue.take();
    assert_eq!(devices(&pages), [100; 15]);
    let under_way = tokio::spawn(async move { pusher.process(pages).await });
    wait("a thousand are begun", async || (accepts.begun.load(Ordering::SeqCst) >= 1_000).then_some(())).await;
    // Each answer makes a place, whichever page it is of. The next page begins once there are places for all of it.
    for (answers, begun) in [(0, 1_000), (99, 1_000), (1, 1_100), (250, 1_300)] {
        accepts.places.add_permits(answers);
        wait("they are begun", async || (accepts.begun.load(Ordering::SeqCst) >= begun).then_some(())).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(accepts.begun.load(Ordering::SeqCst), begun);
    }
    accepts.places.add_permits(2_000);
    assert!(under_way.await.unwrap().is_empty());
    for deliver in deliver {
        assert!(harness.deliveries(deliver.notification).await.iter().all(|it| it.status.as_str() == "accepted"));
    }
}
