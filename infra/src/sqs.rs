//! SQS: the queues and the dead-letter queues of a deployment on AWS.

use std::error::Error;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use futures_util::{StreamExt, TryStreamExt, stream};
use reachability_domain::queue::{Message, Queue, QueueError};
use reachability_domain::time::{Clock, Timestamp};
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

/// Maximum length of a dead letter's reason, in bytes.
const MAX_REASON: usize = 1_024;

/// An SQS queue.
#[derive(Debug)]
pub struct SqsQueue<M> {
    client: Client,
    url: String,
    clock: Clock,
    message: PhantomData<fn() -> M>,
}

/// SQS accepted only some of the messages.
#[derive(Debug, thiserror::Error)]
#[error("{count} messages were not accepted: {reason}")]
struct NotTaken {
    count: usize,
    reason: String,
}

impl<M: Message> SqsQueue<M> {
    /// The queue at this URL.
    pub fn new(client: Client, url: String, clock: Clock) -> Self {
        Self { client, url, clock, message: PhantomData }
    }

    /// Sends up to ten messages, and retries the ones that were rejected.
    async fn send_batch(&self, messages: &[M]) -> Result<(), QueueError> {
        let now = (self.clock)();
        let entry = |(index, message): (usize, &M)| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(aws::sendable(message.to_json()))
                // By its group, SQS sees which service has many messages in flight, and delivers the others' first.
                .set_message_group_id(message.service().map(|service| service.to_string()))
                .delay_seconds(delay(message, now))
                .build()
                .map_err(|error| QueueError::Unavailable(error.into()))
        };
        let mut waiting = messages.iter().enumerate().map(entry).collect::<Result<Vec<_>, QueueError>>()?;
        let mut attempt = 1;
        loop {
            let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(waiting.clone()));
            let answer = request.send().await.map_err(|error| QueueError::Unavailable(error.into()))?;
            waiting.retain(|entry| answer.failed.iter().any(|failed| failed.id == entry.id));
            let Some(failed) = answer.failed.first() else { return Ok(()) };
            if attempt == ATTEMPTS {
                let reason = failed.message.as_ref().unwrap_or(&failed.code).clone();
                return Err(QueueError::Unavailable(NotTaken { count: waiting.len(), reason }.into()));
            }
            sleep(ids::jitter(Duration::from_millis(50 << attempt))).await;
            attempt += 1;
        }
    }
}

#[async_trait]
impl<M: Message> Queue<M> for SqsQueue<M> {
    async fn send(&self, messages: &[M]) -> Result<(), QueueError> {
        let batches = messages.chunks(BATCH).map(|batch| self.send_batch(batch));
        stream::iter(batches.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// The delay of a message in seconds: rounded up, so that it is not delivered early.
fn delay(message: &impl Message, now: Timestamp) -> i32 {
    let wait = message.due_at().map_or(Duration::ZERO, |at| at.since(now)).min(MAX_DELAY);
    i32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX)
}

/// A dead-letter queue. Each message gets its reason as an attribute.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

impl DeadLetterQueue {
    /// The queue at this URL.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a message, with the reason in the attribute `reason`.
    ///
    /// # Errors
    /// If the queue did not accept it.
    pub async fn send(&self, body: &str, reason: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        let reason = aws::sendable(reason.replace(char::is_control, " "));
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        let attribute = MessageAttributeValue::builder().data_type("String").string_value(reason).build()?;
        let request = self.client.send_message().queue_url(&self.url).message_body(body);
        request.message_attributes("reason", attribute).send().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::presence::message::{PresenceMessage, Purge};
    use reachability_domain::sid::Sid;

    use super::*;

    #[test]
    fn messages_are_delayed_until_they_are_due() {
        let at = Timestamp::from_millis;
        let purge = |due_at| PresenceMessage::Purge(Purge { service: Sid::from_bits(1), due_at });
        for (due_at, seconds) in [(0, 0), (1_000, 0), (1_001, 1), (2_000, 1), (901_000, 900), (i64::MAX, 900)] {
            assert_eq!(delay(&purge(at(due_at)), at(1_000)), seconds, "{due_at}");
        }
    }
}
