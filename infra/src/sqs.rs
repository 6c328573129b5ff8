//! SQS: the queues and the dead-letter queues of a deployment on AWS.

use std::collections::HashMap;
use std::error::Error;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::builders::SendMessageBatchRequestEntryBuilder;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::time::{Clock, Timestamp};
use reachability_domain::webhook::message::WebhookMessage;
use tokio::time::sleep;

use crate::{aws, ids};

/// Maximum number of messages per request.
const BATCH: usize = 10;

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 32;

/// Maximum number of attempts for messages that SQS rejected.
const ATTEMPTS: u32 = 4;

/// The longest delay that SQS supports.
const MAX_DELAY: Duration = Duration::from_secs(15 * 60);

/// For how long a message can be invisible, less what its delivery has taken.
const MAX_INVISIBLE: Duration = Duration::from_secs(11 * 3_600);

/// Maximum length of a dead letter's reason, in bytes.
const MAX_REASON: usize = 1_024;

/// An SQS queue.
#[derive(Debug)]
pub struct SqsQueue<M> {
    sender: Sender,
    clock: Clock,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> SqsQueue<M> {
    /// The queue at this URL.
    pub fn new(client: Client, url: String, clock: Clock) -> Self {
        Self { sender: Sender { client, url }, clock, message: PhantomData }
    }
}

#[async_trait]
impl<M: Message> Queue<M> for SqsQueue<M> {
    async fn send(&self, messages: &[M]) -> Result<(), QueueError> {
        let now = (self.clock)();
        let entry = |message: &M| {
            SendMessageBatchRequestEntry::builder()
                .message_body(aws::sendable(message.to_json()))
                // By its group, SQS sees which service has many messages in flight, and delivers the others' first.
                .set_message_group_id(message.service().map(|service| service.to_string()))
                .delay_seconds(delay(message, now))
        };
        self.sender.send(messages, entry).await
    }
}

/// The FIFO queue of webhooks. It keeps the messages of one user in order, and takes each once: what is sent again within
/// five minutes is dropped.
#[derive(Debug)]
pub struct SqsWebhooks {
    sender: Sender,
}

impl SqsWebhooks {
    /// The queue at this URL.
    pub fn new(client: Client, url: String) -> Self {
        Self { sender: Sender { client, url } }
    }
}

#[async_trait]
impl Queue<WebhookMessage> for SqsWebhooks {
    async fn send(&self, messages: &[WebhookMessage]) -> Result<(), QueueError> {
        let entry = |message: &&WebhookMessage| {
            SendMessageBatchRequestEntry::builder()
                .message_body(aws::sendable(message.to_json()))
                .message_group_id(message.group())
                .message_deduplication_id(message.token())
        };
        for turn in turns(messages) {
            self.sender.send(&turn, entry).await?;
        }
        Ok(())
    }
}

/// The first message of each user, the second of each, and so on. SQS may reject single messages of a request. A later
/// message of the same user must not be accepted before they are.
fn turns(messages: &[WebhookMessage]) -> Vec<Vec<&WebhookMessage>> {
    let (mut turns, mut counts) = (Vec::<Vec<_>>::new(), HashMap::<_, usize>::new());
    for message in messages {
        let count = counts.entry(&message.user).or_default();
        match turns.get_mut(*count) {
            Some(turn) => turn.push(message),
            None => turns.push(vec![message]),
        }
        *count += 1;
    }
    turns
}

/// SQS did what was asked for with only some of the messages.
#[derive(Debug, thiserror::Error)]
#[error("{count} messages were refused: {reason}")]
struct Refused {
    count: usize,
    reason: String,
}

/// Sends messages to a queue.
#[derive(Debug)]
struct Sender {
    client: Client,
    url: String,
}

impl Sender {
    /// Sends messages, of which `entry` makes entries without an id, in batches at the same time.
    async fn send<M>(
        &self,
        messages: &[M],
        entry: impl Fn(&M) -> SendMessageBatchRequestEntryBuilder,
    ) -> Result<(), QueueError> {
        let batches = messages.chunks(BATCH).map(|batch| self.send_batch(batch.iter().map(&entry)));
        stream::iter(batches.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Sends up to ten messages, and retries the ones that were rejected.
    async fn send_batch(
        &self,
        entries: impl Iterator<Item = SendMessageBatchRequestEntryBuilder>,
    ) -> Result<(), QueueError> {
        let entries = entries.enumerate().map(|(index, entry)| entry.id(index.to_string()).build());
        let mut waiting = entries.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
        let mut attempt = 1;
        loop {
            let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(waiting.clone()));
            let answer = request.send().await.map_err(unavailable)?;
            waiting.retain(|entry| answer.failed.iter().any(|failed| failed.id == entry.id));
            let Some(failed) = answer.failed.first() else { return Ok(()) };
            if attempt == ATTEMPTS {
                let reason = failed.message.as_ref().unwrap_or(&failed.code).clone();
                return Err(unavailable(Refused { count: waiting.len(), reason }));
            }
            sleep(ids::jitter(Duration::from_millis(50 << attempt))).await;
            attempt += 1;
        }
    }
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> QueueError {
    QueueError::Unavailable(error.into())
}

/// The delay of a message in seconds: rounded up, so that it is not delivered early.
fn delay(message: &impl Message, now: Timestamp) -> i32 {
    let wait = message.due_at().map_or(Duration::ZERO, |at| at.since(now)).min(MAX_DELAY);
    i32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX)
}

/// What the consumer of a queue does itself with messages that Lambda has received for it.
#[derive(Debug)]
pub struct SqsConsumer {
    client: Client,
    url: String,
}

impl SqsConsumer {
    /// The consumer of the queue at this URL.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Deletes a message by its receipt handle.
    ///
    /// # Errors
    /// If the queue does not answer, or does not know the handle.
    pub async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
        request.send().await.map(drop).map_err(unavailable)
    }

    /// Has messages, given by their receipt handles, delivered again after these waits, rounded up to whole seconds, at least
    /// one.
    ///
    /// # Errors
    /// If the queue does not do so for all of them: the others are delivered again after the visibility timeout of the queue.
    pub async fn put_off(&self, waits: &[(&str, Duration)]) -> Result<(), QueueError> {
        join_all(waits.chunks(BATCH).map(|batch| self.put_off_batch(batch))).await.into_iter().collect()
    }

    async fn put_off_batch(&self, waits: &[(&str, Duration)]) -> Result<(), QueueError> {
        let entries = waits.iter().enumerate().map(|(index, (receipt, wait))| {
            let seconds = wait.min(&MAX_INVISIBLE).as_millis().div_ceil(1_000).max(1);
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(*receipt).visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX)).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
        let request = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = request.send().await.map_err(unavailable)?;
        let Some(failed) = answer.failed.first() else { return Ok(()) };
        let reason = failed.message.as_ref().unwrap_or(&failed.code).clone();
        Err(unavailable(Refused { count: answer.failed.len(), reason }))
    }
}

/// A dead-letter queue. Each message gets its reason as an attribute.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

/// The place of a message in a FIFO queue.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The messages of a group are in order.
    pub group: &'a str,
    /// By this the queue knows a repetition.
    pub id: &'a str,
}

impl DeadLetterQueue {
    /// The queue at this URL.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a message, with the reason in the attribute `reason`; with its place if it is a FIFO queue.
    ///
    /// # Errors
    /// If the queue did not accept it.
    pub async fn send(
        &self,
        body: &str,
        reason: &str,
        place: Option<Place<'_>>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let reason = aws::sendable(reason.replace(char::is_control, " "));
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        let attribute = MessageAttributeValue::builder().data_type("String").string_value(reason).build()?;
        let request = self.client.send_message().queue_url(&self.url).message_body(body);
        let request = request.message_attributes("reason", attribute);
        let request = request
            .set_message_group_id(place.map(|place| place.group.to_owned()))
            .set_message_deduplication_id(place.map(|place| place.id.to_owned()));
        request.send().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::presence::message::{PresenceMessage, Purge};
    use reachability_domain::sid::Sid;
    use reachability_domain::webhook::message::Told;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_later_message_of_a_user_waits_for_the_turn_after() {
        let message = |identity: &str, revision: u64| -> WebhookMessage {
            let json = json!({
                "service_sid": "IS00000000000000000000000000000001", "identity": identity,
                "user_sid": "US00000000000000000000000000000001", "event": "onUserUpdated", "is_online": true,
                "is_notifiable": null, "reason": "connect", "revision": revision, "queued_at": 1_795_132_800_000_i64,
            });
            WebhookMessage::parse(json.to_string().as_bytes()).unwrap()
        };
        let messages = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("c", 5), ("b", 6)].map(|(of, n)| message(of, n));
        let revision = |message: &&WebhookMessage| match &message.told {
            Told::User(told) => told.revision,
            Told::Push(report) => panic!("{report:?}"),
        };
        let revisions = |turn: Vec<&WebhookMessage>| turn.iter().map(revision).collect();
        let turns: Vec<Vec<u64>> = turns(&messages).into_iter().map(revisions).collect();
        assert_eq!(turns, [vec![1, 2, 5], vec![3, 6], vec![4]]);
    }

    #[test]
    fn messages_are_delayed_until_they_are_due() {
        let at = Timestamp::from_millis;
        let purge = |due_at| PresenceMessage::Purge(Purge { service: Sid::from_bits(1), due_at, part: None });
        for (due_at, seconds) in [(0, 0), (1_000, 0), (1_001, 1), (2_000, 1), (901_000, 900), (i64::MAX, 900)] {
            assert_eq!(delay(&purge(at(due_at)), at(1_000)), seconds, "{due_at}");
        }
    }
}
