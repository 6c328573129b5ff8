//! Where messages end that nobody can handle.

use reachability_domain::error_chain::ErrorChain;
use reachability_infra::environment::{self, EnvironmentError};
use reachability_infra::sqs::DeadLetterQueue;
use reachability_worker::{Envelope, Failure};
use tracing::{error, warn};

/// The dead-letter queue of a function that handles messages.
pub struct DeadLetters {
    queue: DeadLetterQueue,
    max_deliveries: u32,
}

impl DeadLetters {
    /// The one that the function's environment names.
    ///
    /// # Errors
    /// If it names none, or does not say how often a message is delivered.
    pub fn from_environment(client: aws_sdk_sqs::Client) -> Result<Self, EnvironmentError> {
        let queue = DeadLetterQueue::new(client, environment::text("REACHABILITY_DEAD_LETTER_QUEUE_URL")?);
        Ok(Self { queue, max_deliveries: environment::parsed("REACHABILITY_MAX_RECEIVES")? })
    }

    /// Takes a message that nobody can handle, or that has failed for the last time, with the reason. Left to itself the
    /// queue would do so too, and say nothing of why. Returns whether it was taken; otherwise it is to be delivered again.
    pub async fn take(&self, envelope: &Envelope, failure: &Failure) -> bool {
        let (message, deliveries) = (envelope.id.as_str(), envelope.attempts + 1);
        let reason = ErrorChain(failure).to_string();
        if !failure.is_permanent() && deliveries < self.max_deliveries {
            warn!(message.id = message, deliveries, reason, "a message will be tried again");
            return false;
        }
        match self.queue.send(&envelope.body, &reason).await {
            Ok(()) => {
                warn!(message.id = message, deliveries, reason, "a message was laid aside");
                true
            }
            Err(error) => {
                error!(message.id = message, reason, %error, "a message could not be laid aside");
                false
            }
        }
    }
}
