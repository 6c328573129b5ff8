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
}

/// Which messages were not handled (`ReportBatchItemFailures`).
#[derive(Debug, Serialize)]
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
