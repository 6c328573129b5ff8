//! The part of Lambda's SQS event that matters here, and its answer.

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
