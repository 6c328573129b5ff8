//! The part of Lambda's SQS event that matters here, and its answer.

use reachability_domain::presence::event::InvalidEvent;
use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::queue::Message;
use reachability_infra::metrics::Metrics;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// A batch of messages.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// The messages.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Names the message in the answer.
    pub message_id: String,
    /// What was sent.
    pub body: String,
    /// What the queue says of it.
    #[serde(default)]
    pub attributes: Attributes,
}

/// What the queue says of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attributes {
    /// How often it was delivered, this time included, in digits; `None` if that is not known.
    pub approximate_receive_count: Option<String>,
}

impl Record {
    /// How often it was delivered, this time included, as far as that is known.
    pub fn deliveries(&self) -> u32 {
        self.attributes.approximate_receive_count.as_ref().and_then(|count| count.parse().ok()).unwrap_or(1)
    }
}

impl Batch {
    /// Reads the messages, has them processed, and answers which were not handled. Processing returns the indices of those
    /// that were not, with the reason.
    pub(crate) async fn handle(
        &self,
        metrics: &Metrics,
        read: impl Fn(&[u8]) -> Result<Message, InvalidEvent>,
        process: impl AsyncFnOnce(Vec<Message>) -> Vec<(usize, Failure)>,
    ) -> BatchResponse {
        let mut failures = Vec::new();
        let mut places = Vec::with_capacity(self.records.len());
        let mut messages = Vec::with_capacity(self.records.len());
        for (place, record) in self.records.iter().enumerate() {
            match read(record.body.as_bytes()) {
                Ok(message) => {
                    places.push(place);
                    messages.push(message);
                }
                Err(error) => {
                    metrics.count(EventOutcome::Refused);
                    failures.push((place, error.into()));
                }
            }
        }
        let failed = process(messages).await;
        failures.extend(failed.into_iter().map(|(index, failure)| (places[index], failure)));
        let failure = |(place, reason): (usize, Failure)| ItemFailure {
            item_identifier: self.records[place].message_id.clone(),
            reason,
        };
        BatchResponse { batch_item_failures: failures.into_iter().map(failure).collect() }
    }
}

/// Which messages were not handled (`ReportBatchItemFailures`).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// Those messages. None: all were handled.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A message that was not handled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Its id.
    pub item_identifier: String,
    /// Why. Not a part of Lambda's answer.
    #[serde(skip)]
    pub reason: Failure,
}
