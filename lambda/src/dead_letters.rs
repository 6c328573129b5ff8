//! Where messages end that nobody can handle.

use reachability_domain::error_chain::ErrorChain;
use reachability_infra::environment::{self, EnvironmentError};
use reachability_infra::sqs::DeadLetterQueue;
use reachability_worker::sqs::{Batch, BatchResponse, ItemFailure};
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

    /// Moves what nobody can handle, and what has failed for the last time, out of the way, with the reason. Left to itself
    /// the queue would do so too, and say nothing of why.
    pub async fn dead_letter(&self, batch: &Batch, answer: &mut BatchResponse) {
        let mut again: Vec<ItemFailure> = Vec::new();
        for failure in answer.batch_item_failures.drain(..) {
            let reason = ErrorChain(&failure.reason).to_string();
            let Some(record) = batch.records.iter().find(|record| record.message_id == failure.item_identifier) else {
                continue;
            };
            let (message, deliveries) = (record.message_id.as_str(), record.deliveries());
            if !failure.reason.is_permanent() && deliveries < self.max_deliveries {
                warn!(message.id = message, deliveries, reason, "a message will be tried again");
                again.push(failure);
                continue;
            }
            match self.queue.send(&record.body, &reason).await {
                Ok(()) => warn!(message.id = message, deliveries, reason, "a message was laid aside"),
                Err(error) => {
                    error!(message.id = message, reason, %error, "a message could not be laid aside");
                    again.push(failure);
                }
            }
        }
        answer.batch_item_failures = again;
    }
}
