use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::{WebhookEvent, Webhooks as Urls};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::change_reason::ChangeReason;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::queue::Queue;
use reachability_domain::sid::{AccountSid, Sid};
use reachability_domain::webhook::message::{Told, UserTold};
use reachability_domain::webhook::ports::{WebhookAnswer, WebhookRequest, WebhookSender};
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqlite::{Database, MAX_WAITING_WEBHOOKS, SqliteStore};
use reachability_tests::generate::service;
use reachability_tests::harness::new_service;
use reachability_tests::queues::seal;
use reachability_tests::wait::wait;
use reachability_worker::WebhookPorts;

use super::*;

/// Panics at the first request for alice.
#[derive(Default)]
struct Sender(Mutex<Vec<String>>);

#[async_trait]
impl WebhookSender for Sender {
    async fn send(&self, request: &WebhookRequest) -> WebhookAnswer {
        let identity = request.parameters.iter().find(|(name, _)| *name == "Identity").unwrap().1.clone();
        let is_first = {
            let mut sent = self.0.lock().unwrap();
            let is_first = !sent.contains(&identity);
            sent.push(identity.clone());
            is_first
        };
        assert!(identity != "alice" || !is_first, "a bug in the sender");
        WebhookAnswer::Delivered
    }
}

fn webhook(identity: &str) -> WebhookMessage {
    WebhookMessage {
        user: UserKey { service: service(1), identity: identity.parse().unwrap() },
        event: WebhookEvent::UserUpdated,
        told: Told::User(UserTold {
            user_sid: Sid::from_bits(1),
            profile: None,
            reachability: Reachability::default(),
            reason: ChangeReason::Connect,
            revision: 1,
        }),
        queued_at: clock::now(),
        position: None,
    }
}

#[tokio::test]
async fn a_webhook_that_panics_is_tried_again_and_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("test.db"), seal()).unwrap();
    let (store, metrics) = (Arc::new(SqliteStore::new(database.clone())), Arc::new(EmfMetrics::default()));
    let queue = WebhookQueue::open(database.clone(), MAX_WAITING_WEBHOOKS, metrics.clone()).await.unwrap();
    let mut with_url = new_service(service(1));
    let filters = Some(vec!["onUserUpdated".to_owned()]);
    with_url.webhooks = Urls { post_webhook_url: Some("http://127.0.0.1:9".to_owned()), filters, ..Urls::default() };
    store.create_service(&with_url).await.unwrap();
    let sender = Arc::new(Sender::default());
    let ports = WebhookPorts {
        accounts: store.clone(),
        services: store,
        sender: sender.clone(),
        ids: Arc::new(Uuids),
        metrics,
    };
    let webhooks = Webhooks::new(ports, AccountSid::from_bits(9), Duration::ZERO, clock::now);
    let (stop, stopped) = watch::channel(false);
    let consumer = tokio::spawn(run(queue.clone(), webhooks, stopped));

    queue.send(&[webhook("alice"), webhook("bob")]).await.unwrap();
    let sent = async || Some(sender.0.lock().unwrap().clone()).filter(|sent| sent.len() == 3);
    let mut sent = wait("alice's is sent again", sent).await;
    sent.sort();
    assert_eq!(sent, ["alice", "alice", "bob"]);
    stop.send_replace(true);
    consumer.await.unwrap();
    assert_eq!(database.dead_letters(10).await.unwrap(), []);
}
