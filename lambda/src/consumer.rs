//! The consumer of a standard queue: what fails for a passing cause is delivered again, soon at first and later more seldom,
//! for as long as the queue keeps it. Only what can never be handled becomes a dead letter.

use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::queue::backoff::backoff;
use reachability_infra::sqs::SqsConsumer;
use reachability_worker::{Envelope, Failure};
use tracing::warn;

use crate::dead_letters::DeadLetters;
use crate::sqs::{Batch, BatchResponse, ItemFailure};

/// Consumes a queue.
pub struct Consumer {
    /// The queue.
    pub queue: SqsConsumer,
    /// Where it puts what can never be handled.
    pub dead_letters: DeadLetters,
}

impl Consumer {
    /// Has a batch handled, by `handler`, which returns the indices of the messages that failed. Returns the messages that
    /// SQS must deliver again.
    ///
    /// If the function ends before this does, or the queue does not put messages off, SQS delivers them again after the
    /// visibility timeout of the queue.
    pub async fn handle(
        &self,
        batch: Batch,
        handler: impl AsyncFnOnce(&[Envelope]) -> Vec<(usize, Failure)>,
    ) -> BatchResponse {
        let receipts: Vec<String> = batch.records.iter().map(|record| record.receipt_handle.clone()).collect();
        let envelopes: Vec<Envelope> = batch.records.into_iter().map(Envelope::from).collect();
        let mut response = BatchResponse::default();
        let mut waits: Vec<(&str, Duration)> = vec![];
        for (index, failure) in handler(&envelopes).await {
            let envelope = &envelopes[index];
            if self.dead_letters.take(envelope, &failure).await {
                continue;
            }
            let wait = backoff(envelope.attempts);
            let (deliveries, backoff_s, reason) = (envelope.attempts + 1, wait.as_secs(), ErrorChain(&failure));
            warn!(message.id = envelope.id, deliveries, backoff_s, %reason, "a message will be retried");
            waits.push((&receipts[index], wait));
            response.batch_item_failures.push(ItemFailure { item_identifier: envelope.id.clone() });
        }
        if let Err(error) = self.queue.put_off(&waits).await {
            let messages = waits.len();
            warn!(messages, error = %ErrorChain(&error), "messages wait for the visibility timeout of their queue");
        }
        response
    }
}
