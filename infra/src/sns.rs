//! SNS: publishes changes of a deployment on AWS.

use std::error::Error;

use crate::aws;
use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use futures_util::{StreamExt, stream};
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::sink::{Sink, SinkError};

/// Maximum number of messages per request.
const BATCH: usize = 10;

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 32;

/// An SNS topic.
#[derive(Debug, Clone)]
pub struct Topic {
    client: Client,
    arn: String,
}

#[async_trait]
impl Sink for Topic {
    /// Publishes `service_sid` and `type` as message attributes too, for filter policies.
    async fn tell(&self, notices: &[Notice]) -> Result<(), SinkError> {
        let publish = |(batch, notices)| async move {
            self.publish_batch(notices).await.map_err(|(indices, source)| {
                let indices: Vec<usize> = indices.into_iter().map(|index: usize| batch * BATCH + index).collect();
                (indices, source)
            })
        };
        let batches: Vec<_> = notices.chunks(BATCH).enumerate().map(publish).collect();
        let published = stream::iter(batches);
        let mut failed: Option<SinkError> = None;
        for result in published.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
            if let Err((indices, source)) = result {
                failed.get_or_insert(SinkError { indices: vec![], source }).indices.extend(indices);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Topic {
    /// The topic with this ARN.
    pub fn new(client: Client, arn: String) -> Self {
        Self { client, arn }
    }

    async fn publish_batch(&self, notices: &[Notice]) -> Result<(), (Vec<usize>, Box<dyn Error + Send + Sync>)> {
        let everything = |error: Box<dyn Error + Send + Sync>| ((0..notices.len()).collect(), error);
        let entries = notices.iter().enumerate().map(|(index, notice)| entry(index, notice));
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| everything(error.into()))?;
        let request = self.client.publish_batch().topic_arn(&self.arn).set_publish_batch_request_entries(Some(entries));
        let answer = request.send().await.map_err(|error| everything(error.into()))?;
        let failed = answer.failed.unwrap_or_default();
        match failed.first() {
            None => Ok(()),
            Some(one) => {
                let reason = one.message.as_ref().unwrap_or(&one.code).as_str().into();
                Err((failed.iter().filter_map(|failed| failed.id.parse().ok()).collect(), reason))
            }
        }
    }
}

fn entry(index: usize, notice: &Notice) -> Result<PublishBatchRequestEntry, aws_sdk_sns::error::BuildError> {
    let attribute = |value: String| MessageAttributeValue::builder().data_type("String").string_value(value).build();
    PublishBatchRequestEntry::builder()
        .id(index.to_string())
        .message(aws::sendable(notice.to_json()))
        .message_attributes("type", attribute(notice.kind().to_owned())?)
        .message_attributes("service_sid", attribute(notice.service().to_string())?)
        .build()
}
