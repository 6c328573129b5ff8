//! Lambda's DynamoDB stream event, reduced to the fields used here, and its response.

use reachability_domain::directory::service::Service;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::store::StoreError;
use reachability_infra::dynamodb::{StateError, StoredState, services, user_of_state};
use reachability_worker::{Fanout, StoredWrite};
use serde::{Deserialize, Serialize};
use serde_dynamo::{AttributeValue, Item};
use tracing::error;

/// A batch of a table's stream.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// The writes; those of one item are in order.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A write.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// The item before and after the write.
    pub dynamodb: Images,
}

/// An item before and after a write.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Images {
    /// The item's primary key.
    pub keys: Item,
    /// `None` if the item was created.
    pub old_image: Option<Item>,
    /// `None` if the item was deleted.
    pub new_image: Option<Item>,
    /// Identifies the record in the response.
    pub sequence_number: String,
}

/// The response: the record from which on the batch must be delivered again.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The first failed record. Empty: all succeeded.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A failed record.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// The record's sequence number.
    pub item_identifier: String,
}

/// Publishes the changes of a batch.
pub async fn handle(fanout: &Fanout, batch: Batch) -> BatchResponse {
    let (mut names, mut writes) = (vec![], vec![]);
    for Record { dynamodb: images } in batch.records {
        let name = images.sequence_number.clone();
        match read(images) {
            Ok(write) => {
                names.extend(write.is_some().then_some(name));
                writes.extend(write);
            }
            // A retry would fail too, and block the records after it.
            Err(error) => error!(error = %ErrorChain(&error), record = name, "a record was skipped"),
        }
    }
    let failed = fanout.handle(&writes).await.and_then(|failed| names.into_iter().nth(failed));
    let failure = |item_identifier| ItemFailure { item_identifier };
    BatchResponse { batch_item_failures: failed.map(failure).into_iter().collect() }
}

/// Converts a record; `None` if it cannot cause a published change.
fn read(images: Images) -> Result<Option<StoredWrite>, StoreError> {
    let pk = match images.keys.get("pk") {
        Some(AttributeValue::S(pk)) => pk.as_str(),
        _ => return Ok(None),
    };
    if services::lie_at(pk) {
        let read = |image: Option<Item>| image.map(services::read).transpose();
        let boxed = |service: Option<Service>| service.map(Box::new);
        let (before, after) = (boxed(read(images.old_image)?), boxed(read(images.new_image)?));
        return Ok(Some(StoredWrite::Service { before, after }));
    }
    // A removed state needs no notice: its user or its service was deleted before.
    let (Some(user), Some(after)) = (user_of_state(pk), images.new_image) else { return Ok(None) };
    let read = |image: Item| StoredState::read(image.into_inner()).map_err(corrupt);
    let before = read(images.old_image.unwrap_or_default())?;
    let after = read(after)?;
    let sid = after.sid.or(before.sid);
    let (before, after) = ((&before.state).into(), (&after.state).into());
    Ok(Some(StoredWrite::State { user, sid, before, after }))
}

fn corrupt(error: StateError) -> StoreError {
    StoreError::Corrupt(error.into())
}
