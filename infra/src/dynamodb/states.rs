//! Users' states. Events are joined in one update without a read. If that is not possible, another update follows that
//! knows the state.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use futures_util::{StreamExt, stream};
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::{Join, Joined, States};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::timer::Look;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::items::{read_state, revision_of, unchanged};
use super::join::JoinUpdate;
use super::key::{Key, user_of_state};
use super::state::StoredState;
use super::store::DynamoStore;
use super::table::{Attempts, Transacted, incomplete, unavailable, unless_refused};

/// How many users are written concurrently.
const USERS_AT_ONCE: usize = 512;

/// How many events one update may hold. The length of an expression is limited.
const EVENTS_AT_ONCE: usize = 20;

/// How many updates follow each other without a pause. Each has read what the one before it was refused for.
const TRIES_AT_ONCE: usize = 4;

/// The result of an update.
pub(super) enum Updated {
    /// The state before it.
    Done(StoredState),
    /// Nothing was written: the condition does not hold for this state.
    Refused(StoredState),
    /// Nothing was written: a transaction was writing the item, or the item would have become too large.
    NotNow,
}

impl DynamoStore {
    pub(super) async fn update_state(&self, key: &Key, update: JoinUpdate) -> Result<Updated, StoreError> {
        let request = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key.clone().attributes()))
            .update_expression(update.expression())
            .condition_expression(update.condition())
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) => Ok(Updated::Done(read_state(answer.attributes.unwrap_or_default())?)),
            Err(error) => match (error.as_service_error(), error.code()) {
                (Some(UpdateItemError::ConditionalCheckFailedException(failed)), _) => {
                    // Without an item there is none, on AWS. Other engines do not return it.
                    Ok(Updated::Refused(match failed.item.clone() {
                        Some(item) => read_state(item)?,
                        None => self.state(key.clone()).await?,
                    }))
                }
                (_, Some("TransactionConflictException" | "ValidationException")) => Ok(Updated::NotNow),
                _ => Err(unavailable(error)),
            },
        }
    }

    /// Updates the state, and creates the user's profile with it. Returns whether that was done.
    async fn create_by_events(&self, key: &Key, user: &User, update: JoinUpdate) -> Result<bool, StoreError> {
        let state = self
            .table
            .update(key.clone())
            .update_expression(update.expression())
            .condition_expression(update.condition())
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values));
        let state = TransactWriteItem::builder().update(state.build().map_err(incomplete)?).build();
        let done = self.table.transact(vec![state, self.put_profile(user)?]).await?;
        Ok(matches!(done, Transacted::Done))
    }

    /// Replaces a state by what becomes of it, and creates the user's profile if that creates the user. Nothing is written
    /// where there is no new state. Returns what comes of the last attempt.
    async fn replace_state<T>(
        &self,
        user: &User,
        change: impl Fn(&UserState) -> (Option<UserState>, T),
    ) -> Result<T, StoreError> {
        let key = Key::state(user.service_sid, &user.identity);
        let mut attempts = Attempts::default();
        loop {
            let read = self.state(key.clone()).await?;
            let (state, result) = change(&read.state);
            let Some(state) = state else { return Ok(result) };
            let creates_user = read.state.sid.is_none() && state.sid.is_some();
            let mut next = read.clone();
            next.state = state;
            let mut put = vec![self.put_state(key.clone(), &read, &next)?];
            if creates_user {
                put.push(self.put_profile(user)?);
            }
            if matches!(self.table.transact(put).await?, Transacted::Done) {
                return Ok(result);
            }
            attempts.again().await?;
        }
    }

    /// Sets the timer of a user whose state was just read or written, if the stored one will not do. `written` is the one that
    /// an update has set, or may have, since an answer was lost. Returns when the timer is due that is to be sent.
    async fn set_timer(
        &self,
        key: &Key,
        mut state: UserState,
        mut written: Option<Timestamp>,
        mut look: Look<'_>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            let stored = state.clone();
            let due = state.set_timer(&look);
            // That a timer is used up needs no write: it is past.
            let Some(next) = state.next_timer.filter(|next| stored.next_timer != Some(*next)) else {
                return Ok(due.or(written.filter(|written| stored.next_timer == Some(*written))));
            };
            state = match self.update_state(key, JoinUpdate::of_timer(&stored, next)).await? {
                Updated::Done(_) => return Ok(due),
                Updated::Refused(read) => read.state,
                Updated::NotNow => {
                    attempts.again().await?;
                    self.state(key.clone()).await?.state
                }
            };
            (look.was_live_until, written) = (state.presence.live_until(), Some(next));
        }
    }

    /// Joins events, no more than one update can hold.
    async fn join_part(
        &self,
        user: &User,
        news: &News,
        fired: &[Timestamp],
        now: Timestamp,
    ) -> Result<Joined, StoreError> {
        if news.has_wishes() {
            // What others see from then on depends on all that they saw before.
            let change = |before: &UserState| {
                let writes = JoinWrites::of(before, news, fired, user, now);
                let joined = writes.joined(before, news);
                (writes.state, joined)
            };
            return self.replace_state(user, change).await;
        }
        let key = Key::state(user.service_sid, &user.identity);
        let mut attempts = Attempts::default();
        let mut tries = 0;
        let look = |was: &UserState| Look {
            identity: &user.identity,
            was_live_until: was.presence.live_until(),
            fired,
            is_repeated: news.is_repeated(),
            now,
        };
        // The timer that the last update sets.
        let mut timer = None;
        let mut updated = match JoinUpdate::unread(news, &user.identity, now) {
            Some(update) => {
                timer = update.timer;
                self.update_state(&key, update).await?
            }
            None => Updated::Refused(self.state(key.clone()).await?),
        };
        loop {
            tries += 1;
            let read = match updated {
                Updated::Done(before) => {
                    let mut after = before.state.clone();
                    // Which is what the update has done.
                    after.join(news, user.sid, now);
                    if let Some(written) = timer {
                        after.next_timer = written;
                    }
                    let look = look(&before.state);
                    let timer = self.set_timer(&key, after.clone(), timer.flatten(), look).await?;
                    let limits = news.rules().limits;
                    let dropped = self.forget_connections(&key, &before, &after, limits, now).await;
                    return Ok(Joined { dropped, timer, ..Joined::of(&before.state, &after, news) });
                }
                Updated::Refused(read) if tries % TRIES_AT_ONCE != 0 => read,
                Updated::Refused(_) | Updated::NotNow => {
                    attempts.again().await?;
                    self.state(key.clone()).await?
                }
            };
            let mut after = read.state.clone();
            if !after.join(news, user.sid, now) {
                // A request is sent again if its answer is lost. Then the state is already what it has made of it.
                let written = timer.flatten().filter(|_| now <= read.state.as_of);
                let timer = self.set_timer(&key, after, written, look(&read.state)).await?;
                return Ok(Joined { timer, ..Joined::of(&read.state, &read.state, news) });
            }
            if read.is_older {
                self.rewrite(&key, news.rules().limits, now).await?;
                updated = Updated::Refused(self.state(key.clone()).await?);
                continue;
            }
            after.set_timer(&look(&read.state));
            let update = JoinUpdate::of_read(&read.state, &after, news, now);
            timer = update.timer;
            updated = if read.state.sid == after.sid {
                self.update_state(&key, update).await?
            } else if self.create_by_events(&key, user, update).await? {
                Updated::Done(read)
            } else {
                Updated::NotNow
            };
        }
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

    async fn join(&self, user: &User, news: &News, fired: &[Timestamp], now: Timestamp) -> Result<Joined, StoreError> {
        let mut joined: Option<Joined> = None;
        for part in news.parts(EVENTS_AT_ONCE) {
            let next = self.join_part(user, &part, fired, now).await?;
            joined = Some(match joined {
                None => next,
                Some(first) => first.followed_by(next),
            });
        }
        // There is at least one part.
        joined.ok_or(StoreError::Missing)
    }

    async fn join_all(&self, joins: Vec<Join>, now: Timestamp) -> Vec<Result<Joined, StoreError>> {
        let joins = stream::iter(joins);
        let joins = joins.map(async |Join { user, news, fired }| self.join(&user, &news, &fired, now).await);
        joins.buffered(USERS_AT_ONCE).collect().await
    }

    async fn disclose(&self, user: &User, wish: &Disclose, now: Timestamp) -> Result<Option<UserState>, StoreError> {
        let change = |before: &UserState| {
            if before.sid != Some(user.sid) {
                return (None, None);
            }
            let mut after = before.clone();
            let is_changed = after.disclose(wish, now);
            (is_changed.then(|| after.clone()), Some(after))
        };
        self.replace_state(user, change).await
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
            let (set, written) = revision_of(&next.state);
            let values = values.into_iter().flatten().chain(written).collect();
            let update = self
                .table
                .client
                .update_item()
                .table_name(&self.table.name)
                .set_key(Some(key.clone().attributes()))
                .update_expression(format!("{set}, reg = :reg"))
                .condition_expression(condition)
                .set_expression_attribute_values(Some(values))
                .expression_attribute_values(":reg", AttributeValue::N(generation.0.to_string()));
            if unless_refused(update.send().await)?.is_some() {
                return Ok(());
            }
            attempts.again().await?;
        }
    }
}
