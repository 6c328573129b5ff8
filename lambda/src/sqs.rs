//! Lambda's SQS event, reduced to the fields used here, and its response.

use reachability_domain::time::Timestamp;
use reachability_worker::Envelope;
use serde::{Deserialize, Serialize};

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
    /// Identifies the message in the response.
    pub message_id: String,
    /// Names this delivery to the queue.
    #[serde(default)]
    pub receipt_handle: String,
    /// The message's body.
    pub body: String,
    /// Metadata of the queue.
    #[serde(default)]
    pub attributes: Attributes,
}

/// Metadata of a message: numbers as decimal digits, `None` if missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attributes {
    /// Number of deliveries, including this one.
    pub approximate_receive_count: Option<String>,
    /// When it was sent, in milliseconds since the epoch.
    pub sent_timestamp: Option<String>,
    /// The group; always there in a FIFO queue.
    pub message_group_id: Option<String>,
}

/// The response: which messages failed (`ReportBatchItemFailures`).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The failed messages. Empty: all succeeded.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A failed message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// The message's id.
    pub item_identifier: String,
}

impl Attributes {
    /// Number of deliveries, including this one.
    pub(crate) fn deliveries(&self) -> u32 {
        self.approximate_receive_count.as_ref().and_then(|count| count.parse().ok()).unwrap_or(1).max(1)
    }
}

impl From<Record> for Envelope {
    fn from(record: Record) -> Self {
        let sent = record.attributes.sent_timestamp.as_ref().and_then(|sent| sent.parse().ok());
        Self {
            id: record.message_id,
            body: record.body,
            attempts: record.attributes.deliveries() - 1,
            accepted_at: sent.map(Timestamp::from_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_from_lambda_is_parsed() {
        let json = r#"{"Records":[{"messageId":"m","receiptHandle":"h","body":"{}","attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"1795132800000"},"messageAttributes":{},"md5OfBody":"x","eventSource":"aws:sqs","eventSourceARN":"arn","awsRegion":"eu-west-1"},{"messageId":"n","body":"x"}]}"#;
        let batch: Batch = serde_json::from_str(json).unwrap();
        let envelopes: Vec<Envelope> = batch.records.into_iter().map(Envelope::from).collect();
        let sent = Some(Timestamp::from_millis(1_795_132_800_000));
        let first = Envelope { id: "m".to_owned(), body: "{}".to_owned(), attempts: 2, accepted_at: sent };
        let second = Envelope { id: "n".to_owned(), body: "x".to_owned(), attempts: 0, accepted_at: None };
        assert_eq!(envelopes, [first, second]);
    }

    #[test]
    fn a_response_names_the_failed_messages() {
        let failures = ["m-1", "m-2"].map(|id| ItemFailure { item_identifier: id.to_owned() });
        let answer = serde_json::to_string(&BatchResponse { batch_item_failures: failures.into() }).unwrap();
        assert_eq!(answer, r#"{"batchItemFailures":[{"itemIdentifier":"m-1"},{"itemIdentifier":"m-2"}]}"#);
        assert_eq!(serde_json::to_string(&BatchResponse::default()).unwrap(), r#"{"batchItemFailures":[]}"#);
    }
}
