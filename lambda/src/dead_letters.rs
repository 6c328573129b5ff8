//! Dead letters: messages that can never be handled, or have failed too often.

use reachability_domain::error_chain::ErrorChain;
use reachability_infra::environment::{self, EnvironmentError};
use reachability_infra::sqs::{DeadLetterQueue, Place};
use reachability_worker::{Envelope, Failure};
use tracing::{error, warn};

/// The dead-letter queue of a function that consumes a queue.
pub struct DeadLetters {
    queue: DeadLetterQueue,
    max_deliveries: u32,
}

impl DeadLetters {
    /// This queue, for messages of a queue that delivers each so many times at most.
    pub fn new(queue: DeadLetterQueue, max_deliveries: u32) -> Self {
        Self { queue, max_deliveries }
    }

    /// The queue named by the function's environment.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub fn from_environment(client: aws_sdk_sqs::Client) -> Result<Self, EnvironmentError> {
        let queue = DeadLetterQueue::new(client, environment::text("REACHABILITY_DEAD_LETTER_QUEUE_URL")?);
        Ok(Self::new(queue, environment::parsed("REACHABILITY_MAX_RECEIVES")?))
    }

    /// Whether SQS delivers a message no more after this many deliveries, and moves it itself, without a reason.
    pub fn is_last(&self, deliveries: u32) -> bool {
        deliveries >= self.max_deliveries
    }

    /// Moves a message to the dead-letter queue, with the reason, if the failure is permanent or this was the last
    /// delivery. Returns whether it was moved; if not, the caller must have it delivered again.
    pub async fn take(&self, envelope: &Envelope, failure: &Failure) -> bool {
        if !failure.is_permanent() && !self.is_last(envelope.attempts + 1) {
            return false;
        }
        self.add(&envelope.id, &envelope.body, &ErrorChain(failure).to_string(), None).await
    }

    /// Moves a message to the dead-letter queue, with the reason; with its place if the queue is a FIFO queue. Returns whether
    /// it was moved; if not, the caller must have it delivered again.
    pub async fn add(&self, message: &str, body: &str, reason: &str, place: Option<Place<'_>>) -> bool {
        match self.queue.send(body, reason, place).await {
            Ok(()) => {
                warn!(message.id = message, reason, "a message became a dead letter");
                true
            }
            Err(error) => {
                error!(message.id = message, reason, %error, "a message could not be moved to the dead-letter queue");
                false
            }
        }
    }
}
