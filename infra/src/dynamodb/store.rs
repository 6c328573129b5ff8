//! The store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, DeleteRequest, KeysAndAttributes, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update, WriteRequest,
};
use futures_util::future::try_join_all;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::{Accounts, ApiKeys, DeletedServices, Services, Users};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::ports::Joined;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::device::Device;
use reachability_domain::sid::{KeySid, ServiceSid, Sid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tracing::warn;

use super::join::JoinUpdate;
use super::key::{Item, Key, SHARDS, user_of_state};
use super::state::{self, StoredState};
use crate::aws::CountRetries;
use crate::ids;
use crate::metrics::Metrics;

/// How often a write is tried when others write the same item, or a request that was not served whole is repeated.
pub(super) const ATTEMPTS: u32 = 12;

/// How many items one request reads at most.
pub(super) const READ_AT_ONCE: usize = 100;

/// How many items one request deletes at most.
pub(super) const DELETED_AT_ONCE: usize = 25;

/// How many attributes of connections a state may have before what can be forgotten is looked for. With fewer it
/// usually is smaller than one kilobyte, which is what a write unit pays for.
const MAX_MARKS: usize = 12;

/// How many of them it takes to be worth a write of its own.
const MIN_FORGOTTEN: usize = 6;

/// How many ended connections a state may have: of the longest ids as many as an item can hold.
const MAX_CONNECTIONS: usize = 1_000;

/// The store of a deployment on AWS. Clones share it.
#[derive(Debug, Clone)]
pub struct DynamoStore {
    pub(super) client: Client,
    pub(super) table: String,
}

/// What became of a transaction.
pub(super) enum Transacted {
    Done,
    /// Not done, since some conditions did not hold. For each of its items: whether its own did.
    Refused(Vec<bool>),
    /// Not done, since somebody else was writing one of the items, or there was too much to do.
    NotNow,
}

pub(super) fn unavailable<E>(error: SdkError<E>) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    StoreError::Unavailable(error.into())
}

pub(super) fn incomplete(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Unavailable(error.into())
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt(error.into())
}

/// The answer to a conditional write; `None` if its condition did not hold, which is an answer and not an error.
pub(super) fn unless_refused<T, E>(answer: Result<T, SdkError<E>>) -> Result<Option<T>, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // A transaction in the way is as good as somebody who was faster.
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

fn read_state(item: Item) -> Result<StoredState, StoreError> {
    StoredState::read(item.into_iter().map(|(name, value)| (name, value.into()))).map_err(corrupt)
}

pub(super) fn state_item(key: Key, state: &StoredState) -> Item {
    let mut item: Item = state.write().into_iter().map(|(name, value)| (name, value.into())).collect();
    item.extend(key.attributes());
    item
}

/// What must hold for a state that was read to be replaced: that it is as it was, or still not there.
pub(super) fn unchanged(read: &StoredState) -> (String, Option<HashMap<String, AttributeValue>>) {
    let mut values = HashMap::new();
    let mut same = |attribute: &str, value: Option<AttributeValue>| match value {
        None => format!("attribute_not_exists({attribute})"),
        Some(value) => {
            values.insert(format!(":{attribute}"), value);
            format!("{attribute} = :{attribute}")
        }
    };
    let revision = (read.state.revision > 0).then(|| AttributeValue::N(read.state.revision.to_string()));
    let sid = read.sid.map(|sid| AttributeValue::S(sid.to_string()));
    let condition = format!("{} AND {}", same("rev", revision), same("sid", sid));
    // None at all is not the same as an empty map of them.
    (condition, Some(values).filter(|values| !values.is_empty()))
}

/// Waits before another attempt, longer and longer.
pub(super) async fn back_off(attempt: u32) {
    sleep(ids::jitter(Duration::from_millis(10 << attempt.min(6)))).await;
}

/// All attempts were made.
#[derive(Debug, thiserror::Error)]
#[error("it did not get through in {ATTEMPTS} attempts")]
pub(super) struct Contended;

impl DynamoStore {
    /// A store in this table.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// A store in this table, with a client of its own that counts the requests that are made again.
    pub fn counting(config: &SdkConfig, table: String, metrics: Arc<Metrics>) -> Self {
        let config = Builder::from(config).interceptor(CountRetries(metrics)).build();
        Self::new(Client::from_conf(config), table)
    }

    async fn item(&self, key: Key) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key.attributes()));
        Ok(request.consistent_read(true).send().await.map_err(unavailable)?.item)
    }

    pub(super) async fn find<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StoreError> {
        self.item(key).await?.map(read_document).transpose()
    }

    pub(super) async fn state(&self, key: Key) -> Result<StoredState, StoreError> {
        self.item(key).await?.map(read_state).transpose().map(Option::unwrap_or_default)
    }

    /// Adds an item, unless there is one already. Returns whether it was added.
    pub(super) async fn add<T: Serialize>(&self, key: Key, item: &T) -> Result<bool, StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(document(key, item)?));
        let answer = put.condition_expression("attribute_not_exists(pk)").send().await;
        Ok(unless_refused(answer)?.is_some())
    }

    /// Adds an item. One that is there already is an error, unless it is the same: then its adding was answered before,
    /// and the answer lost.
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

    /// Replaces an item that is at this version by another.
    pub(super) async fn replace<T: Serialize>(&self, key: Key, version: u64, item: &T) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(document(key.clone(), item)?));
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

    /// Removes an item. Returns whether it was there.
    pub(super) async fn delete(&self, key: Key) -> Result<bool, StoreError> {
        let request = self.client.delete_item().table_name(&self.table).set_key(Some(key.attributes()));
        let answer = request.return_values(ReturnValue::AllOld).send().await.map_err(unavailable)?;
        Ok(answer.attributes.is_some())
    }

    /// Items that lie together, in a window by sid: one more than the window shows, if there is one, and from its end on
    /// if that is the way it is given.
    pub(super) async fn query<K: Sid>(&self, pk: String, page: PageRequest<K>) -> Result<Vec<Item>, StoreError> {
        self.query_those(pk, page, |_| true).await
    }

    /// As [`DynamoStore::query`], of some of the items.
    pub(super) async fn query_those<K: Sid>(
        &self,
        pk: String,
        page: PageRequest<K>,
        wanted_item: impl Fn(&Item) -> bool,
    ) -> Result<Vec<Item>, StoreError> {
        let wanted = page.limit.saturating_add(1);
        let (condition, bound) = match page.position {
            Cursor::Start => ("pk = :pk", None),
            Cursor::After(sid) => ("pk = :pk AND sk > :sk", Some(sid)),
            Cursor::Before(sid) => ("pk = :pk AND sk < :sk", Some(sid)),
        };
        let mut request = self.client.query().table_name(&self.table).consistent_read(true);
        request = request.expression_attribute_values(":pk", AttributeValue::S(pk));
        if let Some(sid) = bound {
            request = request.expression_attribute_values(":sk", AttributeValue::S(sid.to_string()));
        }
        let request = request
            .key_condition_expression(condition)
            .scan_index_forward(!matches!(page.position, Cursor::Before(_)))
            .limit(i32::try_from(wanted).unwrap_or(i32::MAX));
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let answer = request.clone().set_exclusive_start_key(start).send().await.map_err(unavailable)?;
            items.extend(answer.items.unwrap_or_default().into_iter().filter(&wanted_item));
            start = answer.last_evaluated_key;
            if start.is_none() || items.len() >= wanted {
                items.truncate(wanted);
                return Ok(items);
            }
        }
    }

    /// A part of a list that lies in one place.
    pub(super) async fn slice<K: Sid, T: DeserializeOwned>(
        &self,
        pk: String,
        page: PageRequest<K>,
    ) -> Result<Page<T>, StoreError> {
        let items = self.query(pk, page).await?;
        let items = items.into_iter().map(read_document).collect::<Result<Vec<T>, StoreError>>()?;
        Ok(cut(items, page))
    }

    /// Writes together what belongs together.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await else {
            return Ok(Transacted::Done);
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return match error.code() {
                Some("TransactionInProgressException" | "TransactionConflictException") => Ok(Transacted::NotNow),
                _ => Err(unavailable(error)),
            };
        };
        let codes: Vec<&str> = canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
        if codes.contains(&"ConditionalCheckFailed") {
            Ok(Transacted::Refused(codes.iter().map(|code| *code != "ConditionalCheckFailed").collect()))
        } else if codes.iter().all(|code| {
            // The SDK tries again what is throttled, but not if only a part of it is.
            matches!(*code, "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
        }) {
            Ok(Transacted::NotNow)
        } else {
            Err(unavailable(error))
        }
    }

    pub(super) fn put(&self, item: Item) -> PutBuilder {
        Put::builder().table_name(&self.table).set_item(Some(item))
    }

    /// A user's new profile, in a transaction.
    pub(super) fn put_profile(&self, user: &User) -> Result<TransactWriteItem, StoreError> {
        let item = document(Key::user(user.service_sid, user.sid), user)?;
        let put = self.put(item).condition_expression("attribute_not_exists(pk)").build().map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Joins in one update that does not read. `Ok(Err(…))` is the state as it is, where that is not how it can be done:
    /// its condition does not hold, or the item would become too large.
    async fn join_blindly(
        &self,
        key: &Key,
        update: &JoinUpdate,
        news: &Presence,
        now: Timestamp,
    ) -> Result<Result<Joined, StoredState>, StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key.clone().attributes()))
            .update_expression(update.expression())
            .condition_expression(update.condition())
            .set_expression_attribute_names(Some(update.names.clone()))
            .set_expression_attribute_values(Some(update.values.clone()))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let answer = request.send().await;
        let found = match &answer {
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed.item.clone(),
                _ => None,
            },
            Ok(_) => None,
        };
        let is_too_large =
            answer.as_ref().is_err_and(|error: &SdkError<UpdateItemError>| error.code() == Some("ValidationException"));
        if is_too_large {
            return Ok(Err(self.state(key.clone()).await?));
        }
        if let Some(answer) = unless_refused(answer)? {
            let before = read_state(answer.attributes.unwrap_or_default())?.state;
            let mut after = before.clone();
            // Which is what the update has done.
            after.join(news, now);
            return Ok(Ok(Joined { before, after }));
        }
        Ok(Err(match found {
            Some(item) => read_state(item)?,
            None => self.state(key.clone()).await?,
        }))
    }

    /// Joins as the domain does, and writes the whole state; `None` if somebody else has since it was read.
    async fn join_as_read(
        &self,
        key: &Key,
        user: &User,
        read: StoredState,
        news: &Presence,
        now: Timestamp,
    ) -> Result<Option<Joined>, StoreError> {
        let mut next = read.clone();
        let learned = next.state.join(news, now);
        if !learned.anything {
            return Ok(Some(Joined { before: read.state.clone(), after: read.state }));
        }
        let after = next.state.clone();
        next.state.presence.prune(now);
        next.state.presence.prune_ended(MAX_CONNECTIONS, now);
        let is_new = learned.lease && next.sid.is_none();
        if is_new {
            next.sid = Some(user.sid);
        }
        let (condition, values) = unchanged(&read);
        let item = state_item(key.clone(), &next);
        let is_done = if is_new {
            let state = self.put(item).condition_expression(condition).set_expression_attribute_values(values);
            let state = TransactWriteItem::builder().put(state.build().map_err(incomplete)?).build();
            matches!(self.transact(vec![state, self.put_profile(user)?]).await?, Transacted::Done)
        } else {
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            let put = put.condition_expression(condition).set_expression_attribute_values(values);
            unless_refused(put.send().await)?.is_some()
        };
        Ok(is_done.then_some(Joined { before: read.state, after }))
    }

    /// Makes a state smaller that has grown by what can be forgotten. Failing to changes nothing.
    async fn forget(&self, key: &Key, state: &UserState, now: Timestamp) {
        let marks = |presence: &Presence| {
            presence
                .connections()
                .map(|(_, it)| usize::from(it.lease.is_some()) + usize::from(it.ended.is_some()))
                .sum()
        };
        let all: usize = marks(&state.presence);
        if all <= MAX_MARKS {
            return;
        }
        let mut kept = state.presence.clone();
        kept.prune(now);
        if all - marks(&kept) < MIN_FORGOTTEN {
            return;
        }
        let kept: HashSet<_> = kept.connections().map(|(id, _)| id.clone()).collect();
        let gone = state.presence.connections().map(|(id, _)| id).filter(|id| !kept.contains(id));
        let names = gone.flat_map(|id| [state::opened(id), state::ended(id)]).take(100);
        let names: HashMap<String, String> = names.enumerate().map(|(n, name)| (format!("#n{n}"), name)).collect();
        let removed: Vec<&str> = names.keys().map(String::as_str).collect();
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key.clone().attributes()))
            .update_expression(format!("REMOVE {}", removed.join(", ")))
            .condition_expression("rev = :rev")
            .expression_attribute_values(":rev", AttributeValue::N(state.revision.to_string()))
            .set_expression_attribute_names(Some(names));
        if let Err(error) = unless_refused(request.send().await) {
            warn!(error = %ErrorChain(&error), "what could be forgotten was not");
        }
    }

    /// Reads up to [`READ_AT_ONCE`] items, in any order.
    pub(super) async fn read_all(&self, keys: &[Item]) -> Result<Vec<Item>, StoreError> {
        let keys = KeysAndAttributes::builder().set_keys(Some(keys.to_vec())).consistent_read(true).build();
        let mut waiting = HashMap::from([(self.table.clone(), keys.map_err(incomplete)?)]);
        let mut items = Vec::new();
        for attempt in 0..ATTEMPTS {
            let request = self.client.batch_get_item().set_request_items(Some(waiting));
            let answer = request.send().await.map_err(unavailable)?;
            items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            waiting = answer.unprocessed_keys.unwrap_or_default();
            if waiting.is_empty() {
                return Ok(items);
            }
            back_off(attempt).await;
        }
        Err(StoreError::Unavailable(Contended.into()))
    }

    /// Deletes up to [`DELETED_AT_ONCE`] items.
    pub(super) async fn delete_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        let delete = |key: &Key| {
            let delete = DeleteRequest::builder().set_key(Some(key.clone().attributes())).build();
            delete.map(|delete| WriteRequest::builder().delete_request(delete).build()).map_err(incomplete)
        };
        let deletes = keys.iter().map(delete).collect::<Result<Vec<WriteRequest>, StoreError>>()?;
        let mut waiting = HashMap::from([(self.table.clone(), deletes)]);
        for attempt in 0..ATTEMPTS {
            let request = self.client.batch_write_item().set_request_items(Some(waiting));
            waiting = request.send().await.map_err(unavailable)?.unprocessed_items.unwrap_or_default();
            if waiting.is_empty() {
                return Ok(());
            }
            back_off(attempt).await;
        }
        Err(StoreError::Unavailable(Contended.into()))
    }

    async fn profile(&self, service: ServiceSid, sid: UserSid) -> Result<Option<User>, StoreError> {
        self.find(Key::user(service, sid)).await
    }
}

/// What a window shows of the items that were found, which are one more if there are more.
pub(super) fn cut<K, T>(mut items: Vec<T>, page: PageRequest<K>) -> Page<T> {
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    if matches!(page.position, Cursor::Before(_)) {
        items.reverse();
    }
    Page { items, more }
}

#[async_trait]
impl Accounts for DynamoStore {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        Ok(self.find(Key::account()).await?.unwrap_or_default())
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        let next = AccountSettings { version: settings.version + 1, ..settings.clone() };
        if settings.version == 0 {
            return if self.add(Key::account(), &next).await? { Ok(()) } else { Err(StoreError::Conflict) };
        }
        match self.replace(Key::account(), settings.version, &next).await {
            Err(StoreError::Missing) => Err(StoreError::Conflict),
            replaced => replaced,
        }
    }
}

#[async_trait]
impl Services for DynamoStore {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.create(Key::service(service.sid), service).await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.find(Key::service(sid)).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.slice(Key::services(), page).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let next = Service { version: service.version + 1, ..service.clone() };
        self.replace(Key::service(service.sid), service.version, &next).await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.delete(Key::service(sid)).await
    }
}

#[async_trait]
impl DeletedServices for DynamoStore {
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError> {
        let page = PageRequest::<UserSid> { position: Cursor::Start, limit: at_most };
        let mut users: Vec<User> = Vec::new();
        for shard in 0..SHARDS {
            if users.len() <= at_most {
                let items = self.query(Key::users(sid, shard), page).await?;
                for item in items {
                    users.push(read_document(item)?);
                }
            }
        }
        let mut more = users.len() > at_most;
        users.truncate(at_most);
        // Bindings of users who are found are found as well: both are in the service's own partitions.
        more |= self.purge_bindings(sid, at_most).await?;
        // A user's state goes first: with its profile gone, nobody would find it.
        let states = users.iter().map(|user| Key::state(sid, &user.identity));
        let profiles = users.iter().map(|user| Key::user(sid, user.sid));
        for keys in [states.collect::<Vec<_>>(), profiles.collect()] {
            try_join_all(keys.chunks(DELETED_AT_ONCE).map(|keys| self.delete_all(keys))).await?;
        }
        Ok(more)
    }
}

#[async_trait]
impl Users for DynamoStore {
    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        // Not a part of the transaction: it would stand in the way of all others of the service. Should it be deleted in
        // between, its users are removed with it a little later.
        if self.service(user.service_sid).await?.is_none() {
            return Err(StoreError::Missing);
        }
        let state = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key.clone().attributes()))
            .update_expression("SET sid = :sid REMOVE #ttl")
            .condition_expression("attribute_not_exists(sid)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":sid", AttributeValue::S(user.sid.to_string()));
        let items = vec![
            TransactWriteItem::builder().update(state.build().map_err(incomplete)?).build(),
            self.put_profile(user)?,
        ];
        for attempt in 0..ATTEMPTS {
            match self.transact(items.clone()).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(_) => {
                    // Unless it is this very user: then its making was answered before, and the answer lost.
                    let is_ours = self.state(key).await?.sid == Some(user.sid);
                    return if is_ours { Ok(()) } else { Err(StoreError::Exists) };
                }
                Transacted::NotNow => back_off(attempt).await,
            }
        }
        Err(StoreError::Unavailable(Contended.into()))
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        let sid = match user {
            UserRef::Sid(sid) => *sid,
            UserRef::Identity(identity) => match self.state(Key::state(service, identity)).await?.sid {
                Some(sid) => sid,
                None => return Ok(None),
            },
        };
        self.profile(service, sid).await
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        let parts = (0..SHARDS).map(|shard| self.query(Key::users(service, shard), page));
        let items = try_join_all(parts).await?.into_iter().flatten().map(read_document);
        let mut users = items.collect::<Result<Vec<User>, StoreError>>()?;
        users.sort_by_key(|user| user.sid);
        if matches!(page.position, Cursor::Before(_)) {
            users.reverse();
        }
        Ok(cut(users, page))
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        let next = User { version: user.version + 1, ..user.clone() };
        self.replace(Key::user(user.service_sid, user.sid), user.version, &next).await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        let Some(user) = self.profile(service, sid).await? else { return Ok(false) };
        let key = Key::state(service, &user.identity);
        let profile = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(Key::user(service, sid).attributes()))
            .condition_expression("attribute_exists(pk)");
        let profile = TransactWriteItem::builder().delete(profile.build().map_err(incomplete)?).build();
        for attempt in 0..ATTEMPTS {
            let read = self.state(key.clone()).await?;
            let mut next = read.clone();
            next.sid = None;
            next.state.mark_deleted(now);
            let (condition, values) = unchanged(&read);
            let state = self.put(state_item(key.clone(), &next));
            let state = state.condition_expression(condition).set_expression_attribute_values(values);
            let state = TransactWriteItem::builder().put(state.build().map_err(incomplete)?).build();
            let mut items = vec![profile.clone(), state];
            for (sid, _) in read.state.registrations.devices() {
                items.push(self.delete_binding(service, Device::of_binding(sid), None)?);
            }
            match self.transact(items).await? {
                Transacted::Done => return Ok(true),
                Transacted::Refused(held) if held.first() == Some(&false) => return Ok(false),
                Transacted::Refused(_) | Transacted::NotNow => back_off(attempt).await,
            }
        }
        Err(StoreError::Unavailable(Contended.into()))
    }
}

#[async_trait]
impl States for DynamoStore {
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        let keys: HashSet<&UserKey> = users.iter().collect();
        let keys: Vec<Item> = keys.into_iter().map(|user| Key::state_of(user).attributes()).collect();
        let read = try_join_all(keys.chunks(READ_AT_ONCE).map(|keys| self.read_all(keys))).await?;
        let mut states: HashMap<UserKey, UserState> = HashMap::with_capacity(users.len());
        for item in read.into_iter().flatten() {
            let user = item.get("pk").and_then(|pk| pk.as_s().ok()).and_then(|pk| user_of_state(pk));
            if let Some(user) = user {
                states.insert(user, read_state(item)?.state);
            }
        }
        Ok(users.iter().map(|user| states.get(user).cloned().unwrap_or_default()).collect())
    }

    async fn join(&self, user: &User, news: &Presence, now: Timestamp) -> Result<Joined, StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        let update = JoinUpdate::of(news, now);
        for attempt in 0..ATTEMPTS {
            // Again after somebody else was faster: this way nobody is in anybody's way.
            let read = match &update {
                None => self.state(key.clone()).await?,
                Some(update) => match self.join_blindly(&key, update, news, now).await? {
                    Ok(joined) => {
                        self.forget(&key, &joined.after, now).await;
                        return Ok(joined);
                    }
                    Err(read) => read,
                },
            };
            if let Some(joined) = self.join_as_read(&key, user, read, news, now).await? {
                return Ok(joined);
            }
            back_off(attempt).await;
        }
        Err(StoreError::Unavailable(Contended.into()))
    }
}

#[async_trait]
impl ApiKeys for DynamoStore {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.create(Key::api_key(key.sid), key).await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        self.find(Key::api_key(sid)).await
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        self.slice(Key::api_keys(), page).await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        self.delete(Key::api_key(sid)).await
    }
}
