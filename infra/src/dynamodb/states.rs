//! Users' states. Events are joined in one update without a read. If that is not possible, the state is read and
//! replaced.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::{Joined, States};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::items::{read_state, state_item, unchanged};
use super::join::{Ahead, Expression, JoinUpdate};
use super::key::{Key, user_of_state};
use super::state::StoredState;
use super::store::DynamoStore;
use super::table::{Attempts, Transacted, unavailable, unless_refused};

/// Maximum number of ended connections in a state: as many as fit into an item with the longest ids.
const MAX_CONNECTIONS: usize = 1_000;

/// The result of a join by update.
enum Update {
    /// The states before and after the update.
    Done(UserState, UserState),
    /// Nothing was written: the update's condition does not hold for this state.
    Refused(StoredState),
    /// Nothing was written: a transaction was writing the item.
    NotNow,
    /// Nothing was written: the item would become too large.
    TooLarge,
}

impl DynamoStore {
    /// Joins in one update, without reading the state first.
    async fn join_by_update(
        &self,
        key: &Key,
        user: &User,
        expression: Expression,
        news: &News,
        now: Timestamp,
    ) -> Result<Update, StoreError> {
        let request = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key.clone().attributes()))
            .update_expression(expression.update())
            .condition_expression(expression.condition())
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(Some(expression.values))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) => {
                let before = read_state(answer.attributes.unwrap_or_default())?.state;
                let mut after = before.clone();
                // Which is what the update has done.
                after.join(news, user.sid, now);
                Ok(Update::Done(before, after))
            }
            Err(error) => match (error.as_service_error(), error.code()) {
                (Some(UpdateItemError::ConditionalCheckFailedException(failed)), _) => {
                    // Without an item there is none, on AWS. Other engines do not return it.
                    Ok(Update::Refused(match failed.item.clone() {
                        Some(item) => read_state(item)?,
                        None => self.state(key.clone()).await?,
                    }))
                }
                (_, Some("TransactionConflictException")) => Ok(Update::NotNow),
                (_, Some("ValidationException")) => Ok(Update::TooLarge),
                _ => Err(unavailable(error)),
            },
        }
    }

    /// Joins with the domain's code and replaces the whole state. `None` if another writer has changed the state since
    /// it was read.
    async fn join_by_replacement(
        &self,
        key: &Key,
        user: &User,
        read: StoredState,
        news: &News,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Option<Joined>, StoreError> {
        let writes = JoinWrites::of(&read.state, news, user.sid, now);
        let Some(state) = writes.state else {
            return Ok(Some(Joined::of(&read.state, &read.state, news, asked)));
        };
        let mut next = read.clone();
        next.state = state;
        next.state.presence.prune_ended(MAX_CONNECTIONS, now);
        let is_done = if writes.creates_user {
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
        news: &News,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        let update = JoinUpdate::of(news, now);
        let mut ahead = Ahead::default();
        let mut attempts = Attempts::default();
        loop {
            let read = match &update {
                None => self.state(key.clone()).await?,
                Some(update) => match self.join_by_update(&key, user, update.expression(ahead), news, now).await? {
                    Update::Done(before, after) => {
                        self.prune_connections(&key, &after, now).await;
                        return Ok(Joined::of(&before, &after, news, asked));
                    }
                    // At once: what is ahead stays ahead, so this comes to an end however many write the same user.
                    Update::Refused(read) if update.is_possible(&read.state) && update.ahead(&read.state) != ahead => {
                        ahead = update.ahead(&read.state);
                        continue;
                    }
                    Update::Refused(read) => read,
                    Update::NotNow => {
                        attempts.again().await?;
                        continue;
                    }
                    Update::TooLarge => self.state(key.clone()).await?,
                },
            };
            if let Some(joined) = self.join_by_replacement(&key, user, read, news, asked, now).await? {
                return Ok(joined);
            }
            attempts.again().await?;
        }
    }

    async fn announce(&self, user: &UserKey, generation: Generation, now: Timestamp) -> Result<(), StoreError> {
        let key = Key::state_of(user);
        let mut attempts = Attempts::default();
        loop {
            let read = self.state(key.clone()).await?;
            let mut next = read.clone();
            if !next.state.announce(generation, now) {
                return Ok(());
            }
            let (condition, values) = unchanged(&read);
            let update = self
                .table
                .client
                .update_item()
                .table_name(&self.table.name)
                .set_key(Some(key.clone().attributes()))
                .update_expression("SET reg = :reg, rev = :next, as_of = :as_of")
                .condition_expression(condition)
                .set_expression_attribute_values(values)
                .expression_attribute_values(":reg", AttributeValue::N(generation.0.to_string()))
                .expression_attribute_values(":next", AttributeValue::N(next.state.revision.to_string()))
                .expression_attribute_values(":as_of", AttributeValue::N(next.state.as_of.as_millis().to_string()));
            if unless_refused(update.send().await)?.is_some() {
                return Ok(());
            }
            attempts.again().await?;
        }
    }
}
