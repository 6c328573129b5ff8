//! Lambda's DynamoDB stream event, reduced to the fields used here, and its response.

use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::notification::Delivery;
use reachability_domain::store::StoreError;
use reachability_infra::dynamodb::stream::{self, ItemKind};
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
    let failed = fanout.handle_writes(&writes).await.and_then(|failed| names.into_iter().nth(failed));
    let failure = |item_identifier| ItemFailure { item_identifier };
    BatchResponse { batch_item_failures: failed.map(failure).into_iter().collect() }
}

/// Parses a write; `None` if nobody is told of it.
fn read(images: Images) -> Result<Option<StoredWrite>, StoreError> {
    let kind = match (images.keys.get("pk"), images.keys.get("sk")) {
        (Some(AttributeValue::S(pk)), Some(AttributeValue::S(sk))) => ItemKind::at(pk, sk),
        _ => None,
    };
    Ok(match (kind, images.old_image, images.new_image) {
        (Some(ItemKind::Service), before, after) => {
            let read = |image: Option<Item>| image.map(stream::read::<Service>).transpose();
            let (before, after) = (read(before)?.map(Box::new), read(after)?.map(Box::new));
            Some(StoredWrite::Service { before, after })
        }
        // Creation and deletion are read from the state.
        (Some(ItemKind::Profile), Some(before), Some(after)) => Some(StoredWrite::Profile {
            before: Box::new(stream::read::<User>(before)?),
            after: Box::new(stream::read::<User>(after)?),
        }),
        (Some(ItemKind::Binding), Some(before), Some(after)) => Some(StoredWrite::Binding {
            before: Box::new(stream::read::<Binding>(before)?),
            after: Box::new(stream::read::<Binding>(after)?),
        }),
        (Some(ItemKind::Delivery), Some(before), Some(after)) => Some(StoredWrite::Delivery {
            before: Box::new(stream::read::<Delivery>(before)?),
            after: Box::new(stream::read::<Delivery>(after)?),
        }),
        // A state that is removed had nothing more to tell: its user or its service was deleted before.
        (Some(ItemKind::State(user)), before, Some(after)) => Some(StoredWrite::State {
            user,
            before: Box::new(stream::read_state(before.unwrap_or_default())?),
            after: Box::new(stream::read_state(after)?),
        }),
        _ => None,
    })
}
