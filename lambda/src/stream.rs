//! The part of a table's stream that matters here, and the answer to it.

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
    /// What was written, in the order of writing as far as one item is concerned.
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A write.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// Of which item, and how that was before and after it.
    pub dynamodb: Images,
}

/// An item before and after a write.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Images {
    /// Its primary key.
    pub keys: Item,
    /// `None` if it was not there.
    pub old_image: Option<Item>,
    /// `None` if it is not there any more.
    pub new_image: Option<Item>,
    /// Names the record in the answer.
    pub sequence_number: String,
}

/// From which record on the batch is to be delivered again.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// That record. None: all were handled.
    pub batch_item_failures: Vec<ItemFailure>,
}

/// A record that was not handled.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// Its sequence number.
    pub item_identifier: String,
}

/// Has a batch told of.
pub async fn handle(fanout: &Fanout, batch: Batch) -> BatchResponse {
    let (mut names, mut writes) = (vec![], vec![]);
    for Record { dynamodb: images } in batch.records {
        let name = images.sequence_number.clone();
        match read(images) {
            Ok(write) => {
                names.extend(write.is_some().then_some(name));
                writes.extend(write);
            }
            // It will not get better, and others wait behind it.
            Err(error) => error!(error = %ErrorChain(&error), record = name, "a record was left out"),
        }
    }
    let failed = fanout.handle(&writes).await.and_then(|failed| names.into_iter().nth(failed));
    let failure = |item_identifier| ItemFailure { item_identifier };
    BatchResponse { batch_item_failures: failed.map(failure).into_iter().collect() }
}

/// What was written; `None` if it is nothing that anybody is told of.
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
    // A state that is removed had nothing more to tell: its user was deleted before, or its service was.
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
