//! Users' states. Events are joined in one update without a read. If that is not possible, the state is read and
//! replaced.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::ports::{Joined, States};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::items::{read_state, state_item, unchanged};
use super::join::JoinUpdate;
use super::key::{Key, user_of_state};
use super::state::StoredState;
use super::store::DynamoStore;
use super::table::{Attempts, Transacted, unless_refused};

/// Maximum number of ended connections in a state: as many as fit into an item with the longest ids.
const MAX_CONNECTIONS: usize = 1_000;

/// The result of a join by update.
enum Update {
    /// The states before and after the update.
    Done(UserState, UserState),
    /// Nothing was written: the condition did not hold, or the item would become too large. Contains the stored state.
    NotPossible(StoredState),
}

impl DynamoStore {
    /// Joins in one update, without reading the state first.
    async fn join_by_update(
        &self,
        key: &Key,
        update: &JoinUpdate,
        news: &Presence,
        now: Timestamp,
    ) -> Result<Update, StoreError> {
        let request = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
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
            return Ok(Update::NotPossible(self.state(key.clone()).await?));
        }
        if let Some(answer) = unless_refused(answer)? {
            let before = read_state(answer.attributes.unwrap_or_default())?.state;
            let mut after = before.clone();
            // The same join as the update made.
            after.join(news, now);
            return Ok(Update::Done(before, after));
        }
        Ok(Update::NotPossible(match found {
            Some(item) => read_state(item)?,
            None => self.state(key.clone()).await?,
        }))
    }

    /// Joins with the domain's code and replaces the whole state. `None` if another writer has changed the state since
    /// it was read.
    async fn join_by_replacement(
        &self,
        key: &Key,
        user: &User,
        read: StoredState,
        news: &Presence,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Option<Joined>, StoreError> {
        let writes = JoinWrites::of(&read.state, news, now);
        let Some(state) = writes.state else {
            return Ok(Some(Joined::of(&read.state, &read.state, news, asked)));
        };
        let mut next = read.clone();
        next.state = state;
        next.state.presence.prune_ended(MAX_CONNECTIONS, now);
        let is_done = if writes.creates_user && read.sid.is_none() {
            next.sid = Some(user.sid);
            let items = vec![self.put_state(key.clone(), &read, &next)?, self.put_profile(user)?];
            matches!(self.table.transact(items).await?, Transacted::Done)
        } else {
            let (condition, values) = unchanged(&read);
            let item = state_item(key.clone(), &next);
            let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
            let put = put.condition_expression(condition).set_expression_attribute_values(values);
            unless_refused(put.send().await)?.is_some()
        };
        Ok(is_done.then(|| Joined::of(&read.state, &next.state, news, asked)))
    }
}

#[async_trait]
impl States for DynamoStore {
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        let keys: HashSet<&UserKey> = users.iter().collect();
        let mut states: HashMap<UserKey, UserState> = HashMap::with_capacity(users.len());
        for item in self.table.read_all(keys.into_iter().map(Key::state_of)).await? {
            let user = item.get("pk").and_then(|pk| pk.as_s().ok()).and_then(|pk| user_of_state(pk));
            if let Some(user) = user {
                states.insert(user, read_state(item)?.state);
            }
        }
        Ok(users.iter().map(|user| states.get(user).cloned().unwrap_or_default()).collect())
    }

    async fn join(
        &self,
        user: &User,
        news: &Presence,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        let update = JoinUpdate::of(news, now);
        let mut attempts = Attempts::default();
        loop {
            // After a conflict, the update is tried again: updates of several writers do not conflict.
            let read = match &update {
                None => self.state(key.clone()).await?,
                Some(update) => match self.join_by_update(&key, update, news, now).await? {
                    Update::Done(before, after) => {
                        self.prune_connections(&key, &after, now).await;
                        return Ok(Joined::of(&before, &after, news, asked));
                    }
                    Update::NotPossible(read) => read,
                },
            };
            if let Some(joined) = self.join_by_replacement(&key, user, read, news, asked, now).await? {
                return Ok(joined);
            }
            attempts.again().await?;
        }
    }
}
