use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
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
use reachability_tests::queues::seal;
use reachability_tests::wait::wait;
use reachability_worker::PusherPorts;

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
