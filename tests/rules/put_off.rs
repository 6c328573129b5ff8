//! What the consumer of a queue of SQS does with messages that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use reachability_domain::push::message::{Feedback, PushMessage};
use reachability_domain::queue::backoff::backoff;
use reachability_domain::queue::{InvalidMessage, Queue};
use reachability_domain::store::StoreError;
use reachability_infra::sqs::{DeadLetterQueue, SqsConsumer, SqsQueue};
use reachability_lambda::consumer::Consumer;
use reachability_lambda::dead_letters::DeadLetters;
use reachability_tests::aws;
use reachability_tests::simulated_clock::{now, pass};
use reachability_tests::simulated_sqs::{Redrive, SimulatedSqs};
use reachability_worker::Failure;

/// A queue `some` with its dead-letter queue `dead`, and its consumer.
struct Rig {
    sqs: SimulatedSqs,
    consumer: Consumer,
}

const VISIBILITY: Duration = Duration::from_secs(180);

impl Rig {
    /// With so many messages, which are delivered so often at most.
    async fn new(messages: usize, max_receives: u32) -> Self {
        let sqs = SimulatedSqs::start(now).await;
        let client = Client::new(&aws::config(&sqs.url()).await);
        let dead_url = sqs.make("dead", VISIBILITY, None);
        let url = sqs.make("some", VISIBILITY, Some(Redrive { to: "dead", max_receives }));
        let queue = SqsQueue::<PushMessage>::new(client.clone(), url.clone(), now);
        let message = |n| PushMessage::Feedback(Feedback { endpoint_arn: format!("{n}") });
        queue.send(&(0..messages).map(message).collect::<Vec<_>>()).await.unwrap();
        let dead_letters = DeadLetters::new(DeadLetterQueue::new(client.clone(), dead_url), max_receives);
        Self { sqs, consumer: Consumer { queue: SqsConsumer::new(client, url), dead_letters } }
    }

    /// Delivers what is due. All of it fails. Returns how much was delivered, and how much is to be delivered again.
    async fn fail(&self, failure: &Failure) -> (usize, usize) {
        let batch = self.sqs.receive("some", 100);
        let ids: Vec<String> = batch.records.iter().map(|record| record.message_id.clone()).collect();
        let fails = async |envelopes: &[_]| (0..envelopes.len()).map(|index| (index, failure.clone())).collect();
        let answer = self.consumer.handle(batch, fails).await;
        self.sqs.delete("some", &ids, &answer);
        (ids.len(), answer.batch_item_failures.len())
    }
}

fn passing() -> Failure {
    StoreError::Unavailable("it is away".into()).into()
}

/// More at once than one request to SQS can put off.
#[tokio::test]
async fn what_fails_for_a_passing_cause_is_put_off_by_the_schedule() {
    let rig = Rig::new(25, 1_000).await;
    for attempts in 0..12 {
        assert_eq!(rig.fail(&passing()).await, (25, 25), "after {attempts} attempts");
        pass(backoff(attempts) - Duration::from_secs(1));
        if attempts > 0 {
            assert_eq!(rig.fail(&passing()).await, (0, 0), "too early after {attempts} attempts");
        }
        pass(Duration::from_secs(1));
    }
    assert!(rig.sqs.dead_letters("dead").is_empty());
}

#[tokio::test]
async fn what_can_never_be_handled_is_a_dead_letter_at_once() {
    let rig = Rig::new(3, 1_000).await;
    let failure = Failure::Malformed(Arc::new(InvalidMessage::Json("no message".to_owned())));
    assert_eq!(rig.fail(&failure).await, (3, 0));
    let reasons: Vec<_> = rig.sqs.dead_letters("dead").into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, vec![Some("it is malformed: malformed JSON: no message".to_owned()); 3]);
}

/// SQS would move it without a reason.
#[tokio::test]
async fn the_last_delivery_ends_in_a_dead_letter_with_its_reason() {
    let rig = Rig::new(1, 2).await;
    assert_eq!(rig.fail(&passing()).await, (1, 1));
    pass(backoff(0));
    assert_eq!(rig.fail(&passing()).await, (1, 0));
    let letters = rig.sqs.dead_letters("dead");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason.as_deref(), Some("a store operation failed: the store is not available: it is away"));
}

#[tokio::test]
async fn what_cannot_be_put_off_comes_back_after_the_visibility_timeout() {
    let rig = Rig::new(1, 1_000).await;
    rig.sqs.refuse_put_offs();
    assert_eq!(rig.fail(&passing()).await, (1, 1));
    pass(VISIBILITY - Duration::from_secs(1));
    assert_eq!(rig.fail(&passing()).await, (0, 0));
    pass(Duration::from_secs(1));
    assert_eq!(rig.fail(&passing()).await, (1, 1));
}
