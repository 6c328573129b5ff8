//! The table: requests for items of any kind, with retries.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, DeleteRequest, KeysAndAttributes, Put, ReturnValue, TransactWriteItem, Update, WriteRequest,
};
use futures_util::future::try_join_all;
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::sid::Sid;
use reachability_domain::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::key::{Item, Key};
use super::lost_answers::LostAnswers;
use crate::ids;

/// Maximum number of attempts for a write with conflicts, or for a batch that was only partly processed.
const ATTEMPTS: u32 = 12;

/// Maximum number of items per read request.
const READ_AT_ONCE: usize = 100;

/// Maximum number of items per delete request.
const DELETED_AT_ONCE: usize = 25;

/// The deployment's table. Clones share its client.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

/// The result of a transaction.
pub(super) enum Transacted {
    Done,
    /// Not done: conditions did not hold. For each item, whether its own condition held.
    Refused(Vec<bool>),
    /// Not done: another writer was writing one of the items, or the table was throttled.
    NotNow,
    /// Perhaps done: the answer to an earlier attempt was lost, and the table was still at it.
    InDoubt,
}

/// How a list looks for the items of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    /// How many items a request looks at.
    items: usize,
    /// How many requests there are at most, besides the first one in each partition.
    left: usize,
}

impl Looks {
    /// For a page of nearly all items.
    pub(super) fn few<K>(page: PageRequest<K>) -> Self {
        Self { items: page.read_limit(), left: usize::MAX }
    }

    /// For a page of items that may be few among very many others.
    pub(super) const MANY: Self = Self { items: 1_000, left: 10 };
}

/// What was found for a page.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Up to one more than the page holds.
    pub(super) items: Vec<Item>,
    /// The key of the last item that was looked at, if no looks were left before the page was full.
    pub(super) stopped_at: Option<Item>,
}

pub(super) fn unavailable<E>(error: SdkError<E>) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    StoreError::Unavailable(error.into())
}

pub(super) fn incomplete(error: BuildError) -> StoreError {
    StoreError::Unavailable(error.into())
}

pub(super) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt(error.into())
}

/// The response of a conditional write; `None` if its condition did not hold.
pub(super) fn unless_refused<T, E>(answer: Result<T, SdkError<E>>) -> Result<Option<T>, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // A conflicting transaction is handled like a failed condition: another writer was faster.
        Err(error)
            if matches!(error.code(), Some("ConditionalCheckFailedException" | "TransactionConflictException")) =>
        {
            Ok(None)
        }
        Err(error) => Err(unavailable(error)),
    }
}

pub(super) fn document<T: Serialize>(key: Key, document: &T) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(document).map_err(corrupt)?;
    item.extend(key.attributes());
    Ok(item)
}

pub(super) fn read_document<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(corrupt)
}

pub(super) fn read_documents<T: DeserializeOwned>(items: Vec<Item>) -> Result<Vec<T>, StoreError> {
    items.into_iter().map(read_document).collect()
}

/// All attempts failed.
#[derive(Debug, thiserror::Error)]
#[error("all {ATTEMPTS} attempts conflicted or were throttled")]
struct Contended;

/// Counts the attempts of a loop.
#[derive(Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Waits before the next attempt, with exponential backoff.
    ///
    /// # Errors
    /// If no attempts are left.
    pub(super) async fn again(&mut self) -> Result<(), StoreError> {
        let made = self.0;
        self.0 += 1;
        if self.0 == ATTEMPTS {
            return Err(StoreError::Unavailable(Contended.into()));
        }
        sleep(ids::jitter(Duration::from_millis(10 << made.min(6)))).await;
        Ok(())
    }
}

impl Table {
    pub(super) async fn item(&self, key: Key) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key.attributes()));
        Ok(request.consistent_read(true).send().await.map_err(unavailable)?.item)
    }

    pub(super) async fn find<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StoreError> {
        self.item(key).await?.map(read_document).transpose()
    }

    /// Adds an item unless one exists. Returns whether it was added.
    pub(super) async fn add<T: Serialize>(&self, key: Key, item: &T) -> Result<bool, StoreError> {
        let put = self.client.put_item().table_name(&self.name).set_item(Some(document(key, item)?));
        let answer = put.condition_expression("attribute_not_exists(pk)").send().await;
        Ok(unless_refused(answer)?.is_some())
    }

    /// Adds an item. If an identical item exists, succeeds: then an earlier attempt had succeeded, but its response was
    /// lost. Any other existing item is an error.
    pub(super) async fn create<T>(&self, key: Key, item: &T) -> Result<(), StoreError>
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        if self.add(key.clone(), item).await? || self.find::<T>(key).await?.as_ref() == Some(item) {
            Ok(())
        } else {
            Err(StoreError::Exists)
        }
    }

    /// Replaces an item, on the condition that it has this version.
    pub(super) async fn replace<T: Serialize>(&self, key: Key, version: u64, item: &T) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.name).set_item(Some(document(key.clone(), item)?));
        let put = put.condition_expression("version = :version");
        let put = put.expression_attribute_values(":version", AttributeValue::N(version.to_string()));
        if unless_refused(put.send().await)?.is_some() {
            Ok(())
        } else if self.item(key).await?.is_some() {
            Err(StoreError::Conflict)
        } else {
            Err(StoreError::Missing)
        }
    }

    /// Replaces an item, on the condition that there is one.
    pub(super) async fn overwrite<T: Serialize>(&self, key: Key, item: &T) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.name).set_item(Some(document(key, item)?));
        let answer = put.condition_expression("attribute_exists(pk)").send().await;
        unless_refused(answer)?.map(drop).ok_or(StoreError::Missing)
    }

    /// Deletes an item. Returns whether it existed: also if an attempt whose answer was lost may have deleted it.
    pub(super) async fn delete(&self, key: Key) -> Result<bool, StoreError> {
        let request = self.client.delete_item().table_name(&self.name).set_key(Some(key.attributes()));
        let attempts = LostAnswers::default();
        let request = request.return_values(ReturnValue::AllOld).customize().interceptor(attempts.clone());
        let answer = request.send().await.map_err(unavailable)?;
        Ok(answer.attributes.is_some() || attempts.were_there())
    }

    /// Reads the items of one partition from a cursor on, in the direction of the page: up to one more than the page
    /// holds.
    pub(super) async fn query<K: Sid>(&self, pk: String, page: PageRequest<K>) -> Result<Vec<Item>, StoreError> {
        self.query_those(pk, page, |_| true).await
    }

    /// Like [`Table::query`], with a filter that drops few items.
    pub(super) async fn query_those<K: Sid>(
        &self,
        pk: String,
        page: PageRequest<K>,
        wanted_item: impl Fn(&Item) -> bool,
    ) -> Result<Vec<Item>, StoreError> {
        Ok(self.look(pk, page, wanted_item, &mut Looks::few(page)).await?.items)
    }

    /// Like [`Table::query_those`], over several partitions in order, until there are enough items for the page or no looks
    /// are left.
    pub(super) async fn query_in_turn<K: Sid>(
        &self,
        pks: impl Iterator<Item = String>,
        page: PageRequest<K>,
        wanted_item: impl Fn(&Item) -> bool,
        mut looks: Looks,
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for pk in pks {
            if found.items.len() <= page.limit && found.stopped_at.is_none() {
                let rest = PageRequest { limit: page.limit - found.items.len(), ..page };
                let Found { items, stopped_at } = self.look(pk, rest, &wanted_item, &mut looks).await?;
                found.items.extend(items);
                found.stopped_at = stopped_at;
            }
        }
        Ok(found)
    }

    /// Looks at the items of one partition, at least once.
    async fn look<K: Sid>(
        &self,
        pk: String,
        page: PageRequest<K>,
        wanted_item: impl Fn(&Item) -> bool,
        looks: &mut Looks,
    ) -> Result<Found, StoreError> {
        let wanted = page.read_limit();
        let (condition, bound) = match page.position {
            Cursor::Start => ("pk = :pk", None),
            Cursor::After(sid) => ("pk = :pk AND sk > :sk", Some(sid)),
            Cursor::Before(sid) => ("pk = :pk AND sk < :sk", Some(sid)),
        };
        let mut request = self.client.query().table_name(&self.name).consistent_read(true);
        request = request.expression_attribute_values(":pk", AttributeValue::S(pk));
        if let Some(sid) = bound {
            request = request.expression_attribute_values(":sk", AttributeValue::S(sid.to_string()));
        }
        let request = request
            .key_condition_expression(condition)
            .scan_index_forward(!page.is_backward())
            .limit(i32::try_from(looks.items).unwrap_or(i32::MAX));
        let mut found = Found::default();
        let mut start = None;
        loop {
            let answer = request.clone().set_exclusive_start_key(start).send().await.map_err(unavailable)?;
            looks.left = looks.left.saturating_sub(1);
            found.items.extend(answer.items.unwrap_or_default().into_iter().filter(&wanted_item));
            start = answer.last_evaluated_key;
            if start.is_none() || found.items.len() >= wanted {
                found.items.truncate(wanted);
                return Ok(found);
            }
            if looks.left == 0 {
                found.stopped_at = start;
                return Ok(found);
            }
        }
    }

    /// One page of a list in one partition.
    pub(super) async fn page<K: Sid, T: DeserializeOwned>(
        &self,
        pk: String,
        page: PageRequest<K>,
    ) -> Result<Page<T>, StoreError> {
        Ok(page.page_of_read(read_documents(self.query(pk, page).await?)?))
    }

    /// Writes all items atomically.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await else {
            return Ok(Transacted::Done);
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return match error.code() {
                // The attempts of one request have the same token, by which the table knows that they are one.
                Some("TransactionInProgressException") => Ok(Transacted::InDoubt),
                Some("TransactionConflictException") => Ok(Transacted::NotNow),
                _ => Err(unavailable(error)),
            };
        };
        let codes: Vec<&str> = canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.contains(&"ConditionalCheckFailed") {
            Ok(Transacted::Refused(codes.iter().map(|code| *code != "ConditionalCheckFailed").collect()))
        } else if codes.iter().all(|code| {
            // The SDK retries a throttled request, but not a transaction in which only some items were throttled.
            matches!(*code, "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
        }) {
            Ok(Transacted::NotNow)
        } else {
            Err(unavailable(error))
        }
    }

    /// A put for a transaction.
    pub(super) fn put(&self, item: Item) -> PutBuilder {
        Put::builder().table_name(&self.name).set_item(Some(item))
    }

    /// An update for a transaction.
    pub(super) fn update(&self, key: Key) -> UpdateBuilder {
        Update::builder().table_name(&self.name).set_key(Some(key.attributes()))
    }

    /// A deletion for a transaction.
    pub(super) fn deletion(&self, key: Key) -> DeleteBuilder {
        Delete::builder().table_name(&self.name).set_key(Some(key.attributes()))
    }

    /// Reads items, in any order.
    pub(super) async fn read_all(&self, keys: impl IntoIterator<Item = Key>) -> Result<Vec<Item>, StoreError> {
        let keys: Vec<Item> = keys.into_iter().map(Key::attributes).collect();
        let read = try_join_all(keys.chunks(READ_AT_ONCE).map(|keys| self.read_batch(keys))).await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn read_batch(&self, keys: &[Item]) -> Result<Vec<Item>, StoreError> {
        let keys = KeysAndAttributes::builder().set_keys(Some(keys.to_vec())).consistent_read(true).build();
        let mut waiting = HashMap::from([(self.name.clone(), keys.map_err(incomplete)?)]);
        let (mut items, mut attempts) = (Vec::new(), Attempts::default());
        loop {
            let request = self.client.batch_get_item().set_request_items(Some(waiting));
            let answer = request.send().await.map_err(unavailable)?;
            items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            waiting = answer.unprocessed_keys.unwrap_or_default();
            if waiting.is_empty() {
                return Ok(items);
            }
            attempts.again().await?;
        }
    }

    pub(super) async fn delete_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        try_join_all(keys.chunks(DELETED_AT_ONCE).map(|keys| self.delete_batch(keys))).await.map(drop)
    }

    async fn delete_batch(&self, keys: &[Key]) -> Result<(), StoreError> {
        let delete = |key: &Key| {
            let delete = DeleteRequest::builder().set_key(Some(key.clone().attributes())).build();
            delete.map(|delete| WriteRequest::builder().delete_request(delete).build()).map_err(incomplete)
        };
        let deletes = keys.iter().map(delete).collect::<Result<Vec<WriteRequest>, StoreError>>()?;
        let mut waiting = HashMap::from([(self.name.clone(), deletes)]);
        let mut attempts = Attempts::default();
        loop {
            let request = self.client.batch_write_item().set_request_items(Some(waiting));
            waiting = request.send().await.map_err(unavailable)?.unprocessed_items.unwrap_or_default();
            if waiting.is_empty() {
                return Ok(());
            }
            attempts.again().await?;
        }
    }
}
