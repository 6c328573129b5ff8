use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::metrics::Counter;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::event::EventKind;
use reachability_domain::presence::ports::States;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::message::{Feedback, PushMessage};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::Push;
use reachability_domain::push::provider::{PushProvider, Unreachable};
use reachability_domain::queue::Queue;
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqlite::{Database, SqliteStore};
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{SETTINGS, Timers, new_service, ports, rules, unstamped};
use reachability_tests::queues::{ANY_NUMBER, seal};
use reachability_tests::wait::wait;
use reachability_worker::{PusherPorts, WorkerPorts};

use super::*;

/// Panics when it is first asked for the endpoint `bad`.
#[derive(Default)]
struct Provider {
    bad: AtomicUsize,
    good: AtomicUsize,
}

#[async_trait]
impl PushProvider for Provider {
    async fn push(&self, _: &Credential, _: &Binding, _: &Push) -> PushOutcome {
        unreachable!("nobody is registered")
    }

    fn outage(&self, _: &Credential) -> Option<Outage> {
        None
    }

    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        if endpoint == "good" {
            self.good.fetch_add(1, Ordering::SeqCst);
        } else if self.bad.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("a bug in the provider");
        }
        Ok(None)
    }
}

fn feedback(endpoint: &str) -> PushMessage {
    PushMessage::Feedback(Feedback { endpoint_arn: endpoint.to_owned() })
}

/// The lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_push_that_panics_is_tried_again_and_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let (store, queue) = (Arc::new(SqliteStore::new(database.clone())), PushQueue::new(database.clone()));
    let provider = Arc::new(Provider::default());
    let (pushes, metrics) = (Arc::new(queue.clone()), Arc::new(EmfMetrics::default()));
    let ports = PusherPorts::of(store, pushes, provider.clone(), Arc::new(Uuids), metrics);
    let lines = Lines::default();
    let writer = lines.clone();
    let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // This test has one thread.
    let _logs = tracing::subscriber::set_default(logs);
    let (stop, stopped) = watch::channel(false);
    let consumer = tokio::spawn(run_pushes(queue.clone(), Pusher::new(ports, clock::now), stopped));

    queue.send(&[feedback("bad"), feedback("good")]).await.unwrap();
    let handled = async || {
        let waits = !queue.due(Timestamp::MAX, 10).await.unwrap().is_empty();
        (!waits).then(|| (provider.bad.load(Ordering::SeqCst), provider.good.load(Ordering::SeqCst)))
    };
    assert_eq!(wait("both are handled", handled).await, (2, 1));
    queue.send(&[feedback("good")]).await.unwrap();
    assert_eq!(wait("the next one is handled", handled).await, (2, 2));
    stop.send_replace(true);
    consumer.await.unwrap();
    assert_eq!(database.dead_letters(10).await.unwrap(), []);
    let logs = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(logs.matches("a bug in the provider").count(), 1, "{logs}");
}

/// The services of a store that is away for a while. The worker reads nothing else.
struct Away {
    store: Arc<SqliteStore>,
    is_away: AtomicBool,
}

#[async_trait]
impl Services for Away {
    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it is away".into()));
        }
        self.store.service(sid).await
    }

    async fn create_service(&self, _: &Service) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn services(&self, _: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        unreachable!()
    }

    async fn replace_service(&self, _: &Service) -> Result<(), StoreError> {
        unreachable!()
    }

    async fn delete_service(&self, _: ServiceSid) -> Result<bool, StoreError> {
        unreachable!()
    }
}

/// Longer than SQS keeps a message.
const LONG: Duration = Duration::from_secs(15 * 86_400);

#[tokio::test]
async fn an_event_that_fails_for_a_passing_cause_waits_for_longer_and_longer_and_never_dies() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let store = Arc::new(SqliteStore::new(database.clone()));
    store.create_service(&new_service(service(1))).await.unwrap();
    let queue = EventQueue::open(database.clone(), ANY_NUMBER).await.unwrap();
    let away = Arc::new(Away { store: store.clone(), is_away: AtomicBool::new(true) });
    let metrics = Arc::new(EmfMetrics::default());
    let ports = ports(store.clone(), Arc::new(Timers::default()), metrics.clone());
    let ports = WorkerPorts { services: away.clone(), ..ports };
    let worker = Worker::new(ports, rules(SETTINGS), Duration::ZERO, clock::now);

    let start = Timestamp::from_millis(START);
    let event = event_of("alice", "c-1", START, EventKind::Connect { lease: None, device: None });
    queue.send(&[unstamped(&event)]).await.unwrap();
    let (mut now, mut attempts) = (start, 0);
    while now.since(start) < LONG {
        let taken = queue.take(now, 10).await.unwrap();
        assert_eq!(taken.iter().map(|taken| taken.receipt.attempts).collect::<Vec<_>>(), [attempts]);
        let (receipts, outcome) = handle(&worker, taken, now).await;
        let due_at = now.plus(backoff(attempts));
        assert_eq!(outcome, Outcome { retry: vec![(receipts[0].id, due_at)], ..Outcome::default() });
        queue.acknowledge(&receipts, outcome, now).await.unwrap();
        assert_eq!(queue.next_due(), Some(due_at));
        (now, attempts) = (due_at, attempts + 1);
    }
    assert!(attempts > 300, "{attempts}");
    assert_eq!(metrics.counted(Counter::MessagesRetried), u64::from(attempts));

    away.is_away.store(false, Ordering::SeqCst);
    let taken = queue.take(now, 10).await.unwrap();
    let (receipts, outcome) = handle(&worker, taken, now).await;
    assert_eq!(outcome, Outcome { handled: vec![receipts[0].id], ..Outcome::default() });
    queue.acknowledge(&receipts, outcome, now).await.unwrap();
    assert!(store.states(&[event.user]).await.unwrap()[0].sid.is_some(), "it was handled in the end");
    assert_eq!(database.dead_letters(10).await.unwrap(), []);
}

/// Does not answer.
struct Silent;

#[async_trait]
impl PushProvider for Silent {
    async fn push(&self, _: &Credential, _: &Binding, _: &Push) -> PushOutcome {
        unreachable!("nobody is registered")
    }

    fn outage(&self, _: &Credential) -> Option<Outage> {
        None
    }

    async fn binding_at(&self, _: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        Err(Unreachable("it does not answer".into()))
    }
}

#[tokio::test]
async fn a_push_that_fails_for_a_passing_cause_waits_for_longer_and_longer_and_never_dies() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let (store, queue) = (Arc::new(SqliteStore::new(database.clone())), PushQueue::new(database.clone()));
    let (pushes, metrics) = (Arc::new(queue.clone()), Arc::new(EmfMetrics::default()));
    let ports = PusherPorts::of(store, pushes, Arc::new(Silent), Arc::new(Uuids), metrics.clone());
    let pusher = Pusher::new(ports, clock::now);

    let start = Timestamp::from_millis(START);
    queue.send(&[feedback("silent")]).await.unwrap();
    let (mut now, mut attempts) = (start, 0);
    while now.since(start) < LONG {
        let due = queue.due(now, 10).await.unwrap();
        let handled: Vec<(i64, u32)> = due.iter().map(|message| (message.id, message.attempts)).collect();
        assert_eq!(handled, [(handled[0].0, attempts)]);
        let outcome = outcome(&handled, pusher.handle(&envelopes(&due)).await, now);
        let due_at = now.plus(backoff(attempts));
        assert_eq!(outcome, Outcome { retry: vec![(handled[0].0, due_at)], ..Outcome::default() });
        queue.acknowledge(outcome, now).await.unwrap();
        assert_eq!(queue.next_due(now).await.unwrap(), Some(due_at));
        (now, attempts) = (due_at, attempts + 1);
    }
    assert_eq!(metrics.counted(Counter::MessagesRetried), u64::from(attempts));
    assert_eq!(database.dead_letters(10).await.unwrap(), []);
}
