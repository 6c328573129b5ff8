//! Dead letters: messages that can never be handled, or have failed too often.

use reachability_domain::error_chain::ErrorChain;
use reachability_infra::environment::{self, EnvironmentError};
use reachability_infra::sqs::DeadLetterQueue;
use reachability_worker::{Envelope, Failure};
use tracing::{error, warn};

/// The dead-letter queue of a function that consumes a queue.
pub struct DeadLetters {
    queue: DeadLetterQueue,
    max_deliveries: u32,
}

impl DeadLetters {
    /// The queue named by the function's environment.
    ///
    /// # Errors
    /// If a variable is missing or invalid.
    pub fn from_environment(client: aws_sdk_sqs::Client) -> Result<Self, EnvironmentError> {
        let queue = DeadLetterQueue::new(client, environment::text("REACHABILITY_DEAD_LETTER_QUEUE_URL")?);
        Ok(Self { queue, max_deliveries: environment::parsed("REACHABILITY_MAX_RECEIVES")? })
    }

    /// Moves a message to the dead-letter queue, with the reason, if the failure is permanent or this was the last
    /// delivery. SQS would move it on its own too, but without the reason. Returns whether it was moved; if not, the
    /// caller must have it delivered again.
    pub async fn take(&self, envelope: &Envelope, failure: &Failure) -> bool {
        let (message, deliveries) = (envelope.id.as_str(), envelope.attempts + 1);
        let reason = ErrorChain(failure).to_string();
        if !failure.is_permanent() && deliveries < self.max_deliveries {
            warn!(message.id = message, deliveries, reason, "a message will be retried");
            return false;
        }
        match self.queue.send(&envelope.body, &reason).await {
            Ok(()) => {
                warn!(message.id = message, deliveries, reason, "a message became a dead letter");
                true
            }
            Err(error) => {
                error!(message.id = message, reason, %error, "a message could not be moved to the dead-letter queue");
                false
            }
        }
    }
}
