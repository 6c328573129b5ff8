//! The queue of webhooks and its consumer, on MiniStack, with a real HTTP server that receives them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message as Received, MessageSystemAttributeName, QueueAttributeName};
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Webhooks as Urls;
use reachability_domain::identity::UserKey;
use reachability_domain::queue::{Message, Queue};
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, Sid};
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_infra::clock;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqs::{DeadLetterQueue, SqsConsumer, SqsWebhooks};
use reachability_infra::webhook::{AddressRules, HttpWebhooks};
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::sqs::Batch;
use reachability_lambda::webhooks::Consumer;
use reachability_tests::aws;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::generate::service;
use reachability_tests::harness::new_service;
use reachability_tests::receiver::{Answer, Receiver};
use reachability_tests::webhook_messages::{self, of_user};
use reachability_worker::{WebhookPorts, Webhooks};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::MACHINE;

/// How long a test waits for a message.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a message is delivered at most.
const MAX_DELIVERIES: u32 = 7;

/// A queue, its consumer and a receiver.
struct Rig {
    client: Client,
    url: String,
    dead_url: String,
    queue: SqsWebhooks,
    store: Arc<DynamoStore>,
    consumer: Consumer,
    receiver: Receiver,
}

impl Rig {
    /// With queues of this name, whose messages are delivered again after so many seconds if nobody says otherwise, and a
    /// service that has failed webhooks tried again so many times at most.
    async fn new(name: &str, visibility: u32, retries: u32) -> Self {
        let config = aws::config(&MiniStack::shared().url()).await;
        let client = Client::new(&config);
        let create = async |name: String| {
            let create = client.create_queue().queue_name(name).attributes(QueueAttributeName::FifoQueue, "true");
            let create = create.attributes(QueueAttributeName::DeduplicationScope, "messageGroup");
            let create = create.attributes(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId");
            let create = create.attributes(QueueAttributeName::VisibilityTimeout, visibility.to_string());
            create.send().await.unwrap().queue_url.unwrap()
        };
        let (url, dead_url) = (create(format!("{name}.fifo")).await, create(format!("{name}-dead.fifo")).await);
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let table = aws::create_table(&dynamodb).await;
        let store = Arc::new(DynamoStore::new(dynamodb, table));
        let receiver = Receiver::start().await;
        let mut service = new_service(service(1));
        service.chat.post_webhook_retry_count = retries;
        let filters = ["onUserAdded", "onUserUpdated"].map(str::to_owned).to_vec();
        service.webhooks =
            Urls { post_webhook_url: Some(receiver.url("/")), filters: Some(filters), ..Urls::default() };
        store.create_service(&service).await.unwrap();
        let token = watch::channel(Secret::new("token").into()).1;
        let ports = WebhookPorts {
            accounts: store.clone(),
            services: store.clone(),
            sender: Arc::new(HttpWebhooks::new(token, AddressRules { private: true }, None, clock::now)),
            ids: Arc::new(Uuids),
            metrics: Arc::new(EmfMetrics::default()),
        };
        let consumer = Consumer {
            webhooks: Webhooks::new(ports, AccountSid::from_bits(1), Duration::ZERO, clock::now),
            store: store.clone(),
            queue: SqsConsumer::new(client.clone(), url.clone()),
            dead_letters: DeadLetters::new(DeadLetterQueue::new(client.clone(), dead_url.clone()), MAX_DELIVERIES),
            clock: clock::now,
        };
        let queue = SqsWebhooks::new(client.clone(), url.clone());
        Self { client, url, dead_url, queue, store, consumer, receiver }
    }

    async fn send(&self, messages: &[WebhookMessage]) {
        self.queue.send(messages).await.unwrap();
    }

    /// Up to ten messages, which may be none.
    async fn receive(&self, url: &str) -> Vec<Received> {
        let receive = self.client.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(1);
        let receive = receive.message_attribute_names("All");
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        receive.send().await.unwrap().messages.unwrap_or_default()
    }

    async fn delete(&self, url: &str, receipt: &str) {
        self.client.delete_message().queue_url(url).receipt_handle(receipt).send().await.unwrap();
    }

    /// Has the consumer handle these messages, as Lambda does. Returns the ids of those that it wants again.
    async fn handle(&self, received: &[Received]) -> BTreeSet<String> {
        let record = |message: &Received| {
            let attributes = message.attributes.as_ref().unwrap().iter();
            let attributes: BTreeMap<&str, &String> = attributes.map(|(name, value)| (name.as_str(), value)).collect();
            json!({
                "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
                "attributes": attributes,
            })
        };
        let records: Vec<Value> = received.iter().map(record).collect();
        let batch: Batch = serde_json::from_value(json!({ "Records": records })).unwrap();
        let answer = self.consumer.handle(batch).await;
        answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    /// Waits for a batch and has it handled, like Lambda. Returns the revisions of those that failed.
    async fn pass(&self) -> Vec<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut received = vec![];
        while received.is_empty() {
            assert!(Instant::now() < deadline, "nothing is delivered");
            received = self.receive(&self.url).await;
        }
        let failed = self.handle(&received).await;
        for message in received.iter().filter(|it| !failed.contains(it.message_id().unwrap())) {
            // The consumer may have deleted it.
            let delete = self.client.delete_message().queue_url(&self.url);
            let _ = delete.receipt_handle(message.receipt_handle().unwrap()).send().await;
        }
        received.iter().filter(|it| failed.contains(it.message_id().unwrap())).map(revision).collect()
    }

    /// The user and the revision of each webhook that was received since the last call.
    fn told(&self) -> Vec<(String, u64)> {
        let told = self.receiver.inbox.take();
        told.iter().map(|webhook| (webhook.get("Identity").to_owned(), webhook.revision())).collect()
    }

    /// How many messages the queue has, visible or not.
    async fn left(&self) -> usize {
        let get = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(QueueAttributeName::All);
        let attributes = get.send().await.unwrap().attributes.unwrap();
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        names.iter().map(|name| attributes[name].parse::<usize>().unwrap()).sum()
    }
}

fn webhook(identity: &str, revision: u64) -> WebhookMessage {
    let user = UserKey { service: service(1), identity: identity.parse().unwrap() };
    webhook_messages::webhook(user, revision, clock::now())
}

fn revision(message: &Received) -> u64 {
    of_user(&WebhookMessage::parse(message.body().unwrap().as_bytes()).unwrap()).revision
}

fn pairs(told: &[(&str, u64)]) -> Vec<(String, u64)> {
    told.iter().map(|(identity, revision)| ((*identity).to_owned(), *revision)).collect()
}

#[tokio::test]
async fn each_webhook_is_taken_once_and_in_the_order_of_its_user() {
    let _share = MACHINE.read().await;
    let rig = Rig::new("order", 30, 0).await;
    let identities = ["alice", "bob", "käthe \u{FFFE}"];
    let messages: Vec<WebhookMessage> =
        (0..60).map(|n| webhook(identities[n % 3], u64::try_from(n).unwrap())).collect();
    rig.send(&messages).await;
    // The fanout handles the same changes again, a moment later.
    let again = messages.iter().map(|it| WebhookMessage { queued_at: it.queued_at.plus(PATIENCE), ..it.clone() });
    rig.send(&again.collect::<Vec<_>>()).await;
    let mut received: BTreeMap<String, Vec<WebhookMessage>> = BTreeMap::new();
    while rig.left().await > 0 {
        for message in rig.receive(&rig.url).await {
            let attributes = message.attributes.unwrap();
            let group = attributes[&MessageSystemAttributeName::MessageGroupId].clone();
            assert!(group.starts_with(&format!("{}-", service(1))) && group.len() <= 128, "{group}");
            let webhook = WebhookMessage::parse(message.body.unwrap().as_bytes()).unwrap();
            assert_eq!(attributes[&MessageSystemAttributeName::MessageDeduplicationId], webhook.token());
            received.entry(group).or_default().push(webhook);
            rig.delete(&rig.url, &message.receipt_handle.unwrap()).await;
        }
    }
    let received: BTreeSet<Vec<u64>> =
        received.into_values().map(|of_one| of_one.iter().map(|it| of_user(it).revision).collect()).collect();
    let expected = (0..3).map(|user| (user..60).step_by(3).collect());
    assert_eq!(received, expected.collect());
}

#[tokio::test]
async fn a_webhook_that_is_sent_again_keeps_the_later_ones_of_its_user_waiting() {
    let _share = MACHINE.read().await;
    let rig = Rig::new("waiting", 30, 0).await;
    let mut failures = 1;
    rig.receiver.inbox.answer(move |webhook| {
        let fails = webhook.get("Identity") == "alice" && failures > 0;
        failures -= i32::from(fails);
        // Until then, everything below has happened.
        if fails { Answer::With(404, "retry-after", "8".to_owned()) } else { Answer::Status(200) }
    });
    rig.send(&[webhook("alice", 1), webhook("bob", 2), webhook("alice", 3)]).await;
    assert_eq!(rig.pass().await, [1, 3]);
    let first = rig.receiver.inbox.all().into_iter().find(|it| it.get("Identity") == "alice").unwrap();
    let mut told = rig.told();
    told.sort();
    assert_eq!(told, pairs(&[("alice", 1), ("bob", 2)]));
    // What comes later waits as well, and delays nobody else.
    rig.send(&[webhook("alice", 4), webhook("carol", 5)]).await;
    assert_eq!(rig.pass().await, [0; 0]);
    assert_eq!(rig.told(), pairs(&[("carol", 5)]));
    assert_eq!(rig.pass().await, [0; 0]);
    let again = rig.receiver.inbox.all()[0].clone();
    assert_eq!(rig.told(), pairs(&[("alice", 1), ("alice", 3), ("alice", 4)]));
    assert_eq!((again.token(), &again.body), (first.token(), &first.body), "each attempt is the same");
    assert_eq!(rig.left().await, 0);
}

/// A delivery in which a webhook waits behind another one is no attempt.
#[tokio::test]
async fn only_attempts_count_against_the_limit_of_retries() {
    let _share = MACHINE.read().await;
    let rig = Rig::new("attempts", 30, 1).await;
    let mut answers = vec![200, 500, 500, 500];
    rig.receiver.inbox.answer(move |_| Answer::Status(answers.pop().unwrap()));
    rig.send(&[webhook("alice", 1), webhook("alice", 2)]).await;
    assert_eq!(rig.pass().await, [1, 2]);
    assert_eq!(rig.told(), pairs(&[("alice", 1)]));
    // The first one is given up after its retry. The second one was delivered as often, and is tried for the first time.
    assert_eq!(rig.pass().await, [2]);
    assert_eq!(rig.told(), pairs(&[("alice", 1), ("alice", 2)]));
    assert_eq!(rig.pass().await, [0; 0]);
    assert_eq!(rig.told(), pairs(&[("alice", 2)]));
    let dead = rig.receive(&rig.dead_url).await;
    let reasons: Vec<&str> = dead.iter().map(reason).collect();
    assert_eq!(reasons, ["not delivered after 2 attempts: Status500"]);
    assert_eq!(rig.store.webhook_attempts("unknown").await.unwrap(), 0);
}

fn reason(message: &Received) -> &str {
    message.message_attributes.as_ref().unwrap()["reason"].string_value().unwrap()
}

#[tokio::test]
async fn what_is_given_up_becomes_a_dead_letter_in_the_order_of_its_user() {
    let _share = MACHINE.read().await;
    let rig = Rig::new("letters", 30, 0).await;
    rig.receiver.inbox.answer(|webhook| Answer::Status(if webhook.revision() < 3 { 410 } else { 200 }));
    let old = Timestamp::from_millis(clock::now().as_millis() - 4 * 3_600_000);
    let [one, two, three] = [1, 2, 3].map(|revision| WebhookMessage { queued_at: old, ..webhook("alice", revision) });
    rig.send(std::slice::from_ref(&one)).await;
    let malformed = rig.client.send_message().queue_url(&rig.url).message_body("{}").message_group_id(one.group());
    malformed.message_deduplication_id("malformed").send().await.unwrap();
    rig.send(&[two.clone(), three]).await;
    assert_eq!(rig.pass().await, [0; 0]);
    assert_eq!(rig.told(), pairs(&[("alice", 1), ("alice", 2), ("alice", 3)]));
    let dead = rig.receive(&rig.dead_url).await;
    let bodies: Vec<&str> = dead.iter().map(|it| it.body().unwrap()).collect();
    assert_eq!(bodies, [&one.to_json(), "{}", &two.to_json()]);
    assert_eq!([0, 2].map(|n| reason(&dead[n])), ["not delivered after 1 attempts: Status410"; 2]);
    assert!(reason(&dead[1]).starts_with("malformed JSON"), "{dead:?}");
    for letter in &dead {
        assert_eq!(letter.attributes.as_ref().unwrap()[&MessageSystemAttributeName::MessageGroupId], one.group());
    }
}

/// SQS would move a message without a reason after its last delivery.
#[tokio::test]
async fn the_last_delivery_ends_in_a_dead_letter_with_a_reason() {
    let _share = MACHINE.read().await;
    let rig = Rig::new("last", 0, 0).await;
    rig.receiver.inbox.answer(|_| Answer::Status(500));
    rig.send(&[webhook("alice", 1)]).await;
    // Whoever received it before was stopped.
    for _ in 1..MAX_DELIVERIES {
        assert_eq!(rig.receive(&rig.url).await.len(), 1);
    }
    assert_eq!(rig.pass().await, [0; 0]);
    assert_eq!(reason(&rig.receive(&rig.dead_url).await[0]), "not delivered after 7 deliveries");
}

/// The function is stopped after it has sent webhooks, and before Lambda deletes their messages.
#[tokio::test]
async fn only_the_last_webhook_of_a_user_is_ever_repeated() {
    let _share = MACHINE.read().await;
    let rig = Rig::new("stopped", 2, 0).await;
    rig.send(&[webhook("alice", 1), webhook("alice", 2), webhook("alice", 3), webhook("bob", 4)]).await;
    let received = rig.receive(&rig.url).await;
    assert_eq!((received.len(), rig.handle(&received).await.len()), (4, 0));
    let mut told = rig.told();
    told.sort();
    assert_eq!(told, pairs(&[("alice", 1), ("alice", 2), ("alice", 3), ("bob", 4)]));
    let mut again = vec![];
    let deadline = Instant::now() + PATIENCE;
    while again.len() < 2 {
        assert!(Instant::now() < deadline, "{again:?}");
        let received = rig.receive(&rig.url).await;
        again.extend(received.iter().map(revision));
        for message in received {
            rig.delete(&rig.url, message.receipt_handle().unwrap()).await;
        }
    }
    again.sort_unstable();
    assert_eq!((again, rig.left().await), (vec![3, 4], 0));
}
