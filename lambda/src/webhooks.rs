//! The consumer of the webhook queue, a FIFO queue whose groups are users.
//!
//! SQS delivers no later message of a group while an earlier one is in flight. So a message that must wait keeps all later ones
//! of its user waiting, if they are put off with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::time::Clock;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::sqs::{Place, SqsConsumer};
use reachability_worker::{WebhookOutcome, Webhooks};
use tracing::{debug, warn};

use crate::dead_letters::DeadLetters;
use crate::sqs::{Batch, BatchResponse, ItemFailure, Record};

/// No attempt begins later than this after the batch came. With all its requests, one takes half a minute at most, and the
/// function must end before its timeout.
const BEGUN_WITHIN: Duration = Duration::from_secs(25);

/// The wait after something other than the receiver failed.
const PAUSE: Duration = Duration::from_secs(5);

/// The shortest wait of a message that was held back grows with its deliveries, a second with each, up to this. So in the four
/// hours that it is tried it is delivered 300 times, and SQS allows 1,000.
const LONGEST_FLOOR: Duration = Duration::from_secs(60);

/// Consumes the webhook queue.
pub struct Consumer {
    /// Delivers webhooks.
    pub webhooks: Webhooks,
    /// Counts their attempts.
    pub store: Arc<DynamoStore>,
    /// The queue.
    pub queue: SqsConsumer,
    /// Where it puts what is given up.
    pub dead_letters: DeadLetters,
    /// The current time.
    pub clock: Clock,
}

impl Consumer {
    /// Handles a batch: the messages of a user one after the other, and users at the same time. Returns the messages that SQS
    /// must deliver again.
    pub async fn handle(&self, batch: Batch) -> BatchResponse {
        let until = Instant::now() + BEGUN_WITHIN;
        let mut groups: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in batch.records {
            groups.entry(record.attributes.message_group_id.clone().unwrap_or_default()).or_default().push(record);
        }
        let left = join_all(groups.values().map(|records| self.handle_group(records, until))).await;
        let failure = |record: &Record| ItemFailure { item_identifier: record.message_id.clone() };
        BatchResponse { batch_item_failures: left.into_iter().flatten().map(failure).collect() }
    }

    /// Handles the messages of a user. Returns those that must be delivered again: one and all after it.
    async fn handle_group<'r>(&self, records: &'r [Record], until: Instant) -> &'r [Record] {
        for (place, record) in records.iter().enumerate() {
            let wait = if place > 0 && !self.delete(&records[place - 1]).await || Instant::now() >= until {
                Some(Duration::ZERO)
            } else {
                self.deliver(record).await
            };
            if let Some(wait) = wait {
                self.put_off(&records[place..], wait).await;
                return &records[place..];
            }
        }
        &[]
    }

    /// Deletes a message before the next one of its user is sent. Otherwise, if this function were stopped before Lambda
    /// deletes the batch, the receiver would see it again after the next one.
    async fn delete(&self, record: &Record) -> bool {
        let deleted = self.queue.delete(&record.receipt_handle).await;
        if let Err(error) = &deleted {
            warn!(message.id = record.message_id, error = %ErrorChain(error), "a webhook that was handled could not be deleted; later ones wait");
        }
        deleted.is_ok()
    }

    /// Delivers a webhook. Returns how long it must wait for its next delivery; `None` if it is done.
    async fn deliver(&self, record: &Record) -> Option<Duration> {
        let (id, deliveries) = (record.message_id.as_str(), record.attributes.deliveries());
        let attempts = match deliveries {
            1 => Ok(0),
            _ => self.store.webhook_attempts(id).await,
        };
        let (outcome, attempts) = match attempts {
            Ok(attempts) => (self.webhooks.deliver(&record.body, attempts).await, attempts),
            Err(error) => {
                warn!(message.id = id, error = %ErrorChain(&error), "a webhook waits, since its attempts cannot be read");
                (WebhookOutcome::Held(PAUSE), 0)
            }
        };
        let (wait, reason) = match outcome {
            WebhookOutcome::Done => return None,
            WebhookOutcome::Dead(reason) => (PAUSE, Some(reason)),
            WebhookOutcome::Retry(wait) => {
                let counted = self.store.set_webhook_attempts(id, attempts.saturating_add(1), (self.clock)()).await;
                if let Err(error) = counted {
                    warn!(message.id = id, error = %ErrorChain(&error), "an attempt to deliver a webhook is not counted");
                }
                (wait, None)
            }
            WebhookOutcome::Held(wait) => {
                let floor = LONGEST_FLOOR.min(Duration::from_secs(deliveries.into()));
                debug!(message.id = id, deliveries, "a webhook is held back");
                (wait.max(floor), None)
            }
        };
        let reason = reason.or_else(|| {
            self.dead_letters.is_last(deliveries).then(|| format!("not delivered after {deliveries} deliveries"))
        });
        match reason {
            Some(reason) => {
                let group = record.attributes.message_group_id.as_deref().unwrap_or_default();
                let moved = self.dead_letters.add(id, &record.body, &reason, Some(Place { group, id })).await;
                (!moved).then_some(PAUSE)
            }
            None => Some(wait),
        }
    }

    /// Has messages of a user delivered again, in order, after this wait.
    async fn put_off(&self, records: &[Record], wait: Duration) {
        let waits: Vec<(&str, Duration)> = records.iter().map(|it| (it.receipt_handle.as_str(), wait)).collect();
        if let Err(error) = self.queue.put_off(&waits).await {
            warn!(messages = records.len(), error = %ErrorChain(&error), "webhooks wait for the visibility timeout of their queue");
        }
    }
}
