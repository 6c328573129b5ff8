//! The worker with a cached configuration, and its metrics.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::metrics::Counter;
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::{Check, PresenceMessage, Purge};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::services::SharedServices;
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{Harness, SETTINGS, ports, rules, unstamped, worker};
use reachability_tests::store::Store;
use reachability_worker::{Failure, Worker, WorkerPorts};

/// The maximum age of a cached configuration.
const AGE: Duration = Duration::from_secs(3);

struct Setup {
    harness: Harness,
    worker: Worker,
    metrics: Arc<EmfMetrics>,
}

fn setup() -> Setup {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    let metrics = Arc::new(EmfMetrics::default());
    let worker = worker(harness.store.clone(), harness.timers.clone(), rules(SETTINGS), AGE, metrics.clone());
    Setup { harness, worker, metrics }
}

fn event(connection: &str, at: i64, kind: EventKind) -> Event {
    event_of("alice", connection, at, kind)
}

fn connect(connection: &str, at: i64) -> Event {
    event(connection, at, EventKind::Connect { lease: None, device: None })
}

async fn handle(worker: &Worker, events: &[Event], now: i64) {
    let messages = events.iter().map(unstamped).collect();
    let failures = worker.process(messages, Timestamp::from_millis(now)).await;
    assert!(failures.is_empty(), "{failures:?}");
}

/// Services whose reads are counted.
struct Counted {
    services: Arc<dyn Store>,
    reads: AtomicUsize,
}

impl Counted {
    /// How often a service was read since the last call.
    fn take(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl Services for Counted {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.services.create_service(service).await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.services.service(sid).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.services.services(page).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        self.services.replace_service(service).await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.services.delete_service(sid).await
    }
}

/// A setup whose worker reads services that are counted.
fn counted() -> (Setup, Arc<Counted>) {
    let Setup { harness, metrics, .. } = setup();
    let services = Arc::new(Counted { services: harness.store.clone(), reads: AtomicUsize::new(0) });
    let ports = WorkerPorts {
        services: services.clone(),
        ..ports(harness.store.clone(), harness.timers.clone(), metrics.clone())
    };
    let worker = Worker::new(ports, rules(SETTINGS), AGE, || Timestamp::from_millis(START));
    (Setup { harness, worker, metrics }, services)
}

#[tokio::test]
async fn a_service_that_is_off_is_read_once_a_second() {
    let (Setup { harness, worker, metrics }, services) = counted();
    harness.switch(service(1), false).await;
    for n in 0..100 {
        let now = START + 30 * n;
        handle(&worker, &[connect(&format!("c-{n}"), now)], now).await;
    }
    assert_eq!(services.take(), 3, "in three seconds");
    assert_eq!(metrics.counted(Counter::EventsDisabled), 100);
}

/// Switches reachability on as a deployment with several processes does it, by a clock that stands still.
async fn switch_on(harness: &Harness) {
    let services = SharedServices::new(harness.store.clone(), harness.timers.clone(), || Timestamp::from_millis(START));
    let mut switched = harness.store.service(service(1)).await.unwrap().unwrap();
    switched.configuration.set_reachability_enabled(true, Timestamp::from_millis(START));
    services.replace_service(&switched).await.unwrap();
}

/// Whoever is told that reachability is on has it count all that happens from then on.
#[tokio::test(start_paused = true)]
async fn no_event_after_the_switch_on_is_lost() {
    let (Setup { harness, worker, metrics }, services) = counted();
    harness.switch(service(1), false).await;
    let alice = connect("c-1", START).user;
    let started = tokio::time::Instant::now();
    let now = || START + i64::try_from(started.elapsed().as_millis()).unwrap();
    handle(&worker, &[connect("c", START)], START).await;
    let events = async {
        // So that there is always a copy of the configuration.
        loop {
            let now = now();
            handle(&worker, &[connect(&format!("c-{now}"), now)], now).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = switch_on(&harness) => {}
        () = events => {}
    }
    let before = metrics.counted(Counter::EventsDisabled);
    let reads = services.take();
    assert!(before > 190 && reads < 110, "{before} events, {reads} reads: only of the second second's");
    assert_eq!(harness.read(&alice, now()).await.online, None);
    handle(&worker, &[connect("c-2", now())], now()).await;
    assert_eq!(harness.read(&alice, now()).await.online, Some(true));
    assert_eq!(metrics.counted(Counter::EventsDisabled), before);
}

/// Two who do so at the same time do not hold each other up, and neither does one that was stopped at it.
#[tokio::test(start_paused = true)]
async fn two_switch_on_at_the_same_time() {
    let (Setup { harness, .. }, _) = counted();
    harness.switch(service(1), false).await;
    let mut announced = harness.store.service(service(1)).await.unwrap().unwrap();
    announced.configuration.switches_on = true;
    harness.store.replace_service(&announced).await.unwrap();
    let started = tokio::time::Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        switch_on(&harness).await;
    };
    let first = switch_on(&harness);
    tokio::select! {
        () = first => {}
        () = later => {}
    }
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    let stored = harness.store.service(service(1)).await.unwrap().unwrap().configuration;
    assert!(stored.reachability_enabled && !stored.switches_on, "{stored:?}");
}

#[tokio::test]
async fn a_cached_configuration_expires() {
    let Setup { harness, worker, metrics } = setup();
    let alice = connect("c-1", START).user;
    harness.switch(service(1), true).await;
    handle(&worker, &[connect("c-1", START)], START).await;
    harness.switch(service(1), false).await;
    // This does no harm: readers see that reachability is off.
    handle(&worker, &[connect("c-2", START + 2_999)], START + 2_999).await;
    assert_eq!(metrics.counted(Counter::EventsApplied), 2);
    assert_eq!(harness.read(&alice, START + 2_999).await.online, None);
    let now = START + i64::try_from(AGE.as_millis()).unwrap();
    handle(&worker, &[connect("c-3", now)], now).await;
    assert_eq!((metrics.counted(Counter::EventsApplied), metrics.counted(Counter::EventsDisabled)), (2, 1));
    // On again, in a generation in which there are no events yet.
    harness.switch(service(1), true).await;
    assert_eq!(harness.read(&alice, now).await.online, None);
    // The cache is not used either after the clock was set back.
    harness.switch(service(1), false).await;
    handle(&worker, &[connect("c-4", now - 1)], now - 1).await;
    assert_eq!(metrics.counted(Counter::EventsDisabled), 2);
}

#[tokio::test]
async fn every_event_is_accounted_for() {
    let Setup { harness, worker, metrics } = setup();
    harness.switch(service(1), true).await;
    let end = |connection: &str, at| event(connection, at, EventKind::Disconnect { reason: EndReason::ClientClosed });
    let renew = |connection: &str, at| event(connection, at, EventKind::Renew { lease: None });
    let events = [
        connect("c-1", START),
        connect("c-1", START),
        renew("c-1", START + 2_000),
        renew("c-1", START + 1_000),
        end("c-1", START + 3_000),
        connect("c-1", START),
        // A renewal of a connection that has ended already.
        end("c-2", START + 4_000),
        connect("c-2", START + 3_500),
    ];
    for (n, event) in events.iter().enumerate() {
        handle(&worker, std::slice::from_ref(event), START + 5_000 + n as i64).await;
    }
    let counts = |metrics: &EmfMetrics| {
        [Counter::EventsApplied, Counter::EventsDuplicate, Counter::EventsStale, Counter::EventsRefused]
            .map(|counter| metrics.counted(counter))
    };
    assert_eq!(counts(&metrics), [4, 1, 3, 0]);

    // The same events in one batch, which is one write.
    let Setup { harness, worker, metrics } = setup();
    harness.switch(service(1), true).await;
    handle(&worker, &events, START + 5_000).await;
    assert_eq!(counts(&metrics), [4, 1, 3, 0]);
    assert_eq!(harness.state(&events[0].user).await.revision, START as u64 + 5_000, "the first");
    // All events again.
    handle(&worker, &events, START + 6_000).await;
    assert_eq!(metrics.counted(Counter::EventsApplied), 4);
}

/// Whoever accepted an event with a stamp found its service. Of one without a stamp nobody knows whether its service ever was.
#[tokio::test]
async fn what_is_left_of_a_deleted_service_is_dropped() {
    let Setup { harness, worker, metrics } = setup();
    harness.switch(service(1), true).await;
    let stamped = harness.accept(&connect("c-1", START)).await;
    let of_user = connect("c-1", START);
    let timer = PresenceMessage::Check(Check { user: of_user.user.clone(), due_at: Timestamp::from_millis(START) });
    assert!(harness.store.delete_service(service(1)).await.unwrap());
    let batch = vec![stamped.clone(), unstamped(&of_user), timer, stamped];
    let failures = worker.process(batch, Timestamp::from_millis(START)).await;
    assert_eq!(failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1], "{failures:?}");
    assert!(matches!(failures[0].1, Failure::UnknownService(of) if of == service(1)));
    assert_eq!((metrics.counted(Counter::EventsDropped), metrics.counted(Counter::EventsRefused)), (2, 1));
    assert_eq!(harness.timers.count(), 0);
}

#[tokio::test]
async fn leftovers_of_a_service_are_removed_only_after_its_deletion() {
    let Setup { harness, worker, .. } = setup();
    harness.switch(service(1), true).await;
    handle(&worker, &[connect("c-1", START)], START).await;
    let purge =
        PresenceMessage::Purge(Purge { service: service(1), due_at: Timestamp::from_millis(START), part: None });
    assert!(worker.process(vec![purge.clone()], Timestamp::from_millis(START)).await.is_empty());
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    assert_eq!(harness.store.users(service(1), page).await.unwrap().items.len(), 1);
    assert!(harness.store.delete_service(service(1)).await.unwrap());
    assert!(worker.process(vec![purge], Timestamp::from_millis(START)).await.is_empty());
    assert!(harness.store.users(service(1), page).await.unwrap().items.is_empty());
}
