//! Users' states.

use std::sync::Arc;

use async_trait::async_trait;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::{Join, Joined, States};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::feed::Writer;
use super::records::{insert_user, read_state, write_state};
use super::sockets::remember;
use super::store::SqliteStore;
use super::writer::Terms;

/// How many users are joined in one write, so that others come in between.
const USERS_PER_WRITE: usize = 512;

/// What a user wants to show is promised to it. Connections are not: they end with the machine, or their events wait in the
/// queue until they are flushed.
fn terms(joins: &[Join]) -> Terms {
    if joins.iter().any(|join| join.news.has_wishes()) { Terms::PROMISED } else { Terms::DERIVED }
}

fn write_join(writer: &Writer<'_>, join: &Join, now: Timestamp) -> Result<Joined, StoreError> {
    let Join { user, news, fired } = join;
    if writer.configuration(user.service_sid)?.is_none() {
        return Err(StoreError::Missing);
    }
    let before = read_state(writer, user.service_sid, &user.identity)?;
    let writes = JoinWrites::of(&before, news, fired, user, now);
    if let Some(state) = &writes.state {
        write_state(writer, &user.key(), &before, state)?;
    }
    if writes.creates_user {
        insert_user(writer, user)?;
    }
    for id in news.unending() {
        remember(writer, user.service_sid, &user.identity, id)?;
    }
    Ok(writes.joined(&before, news))
}

#[async_trait]
impl States for SqliteStore {
    async fn states(&self, users: &[UserKey]) -> Result<Vec<UserState>, StoreError> {
        let users = users.to_vec();
        self.database
            .read(move |connection| {
                users.iter().map(|user| read_state(connection, user.service, &user.identity)).collect()
            })
            .await
    }

    async fn join(&self, user: &User, news: &News, fired: &[Timestamp], now: Timestamp) -> Result<Joined, StoreError> {
        let join = Join { user: user.clone(), news: news.clone(), fired: fired.to_vec() };
        self.write_on(terms(std::slice::from_ref(&join)), move |writer| write_join(writer, &join, now)).await
    }

    async fn join_all(&self, joins: Vec<Join>, now: Timestamp) -> Vec<Result<Joined, StoreError>> {
        let joins: Arc<[Join]> = joins.into();
        let mut results = Vec::with_capacity(joins.len());
        for first in (0..joins.len()).step_by(USERS_PER_WRITE) {
            let chunk = first..joins.len().min(first + USERS_PER_WRITE);
            let (all, range) = (joins.clone(), chunk.clone());
            let together = self.write_on(terms(&joins[chunk.clone()]), move |writer| {
                all[range].iter().map(|join| write_join(writer, join, now)).collect()
            });
            match together.await {
                Ok(joined) => results.extend(Vec::into_iter(joined).map(Ok)),
                // One of them failed, and so none was written. It is not to fail the others.
                Err(_) => {
                    for Join { user, news, fired } in &joins[chunk] {
                        results.push(self.join(user, news, fired, now).await);
                    }
                }
            }
        }
        results
    }

    async fn disclose(&self, user: &User, wish: &Disclose, now: Timestamp) -> Result<Option<UserState>, StoreError> {
        let (user, wish) = (user.clone(), wish.clone());
        self.write(move |writer| {
            let before = read_state(writer, user.service_sid, &user.identity)?;
            if before.sid != Some(user.sid) {
                return Ok(None);
            }
            let mut after = before.clone();
            if after.disclose(&wish, now) {
                write_state(writer, &user.key(), &before, &after)?;
            }
            Ok(Some(after))
        })
        .await
    }

    async fn announce(&self, user: &UserKey, generation: Generation, now: Timestamp) -> Result<(), StoreError> {
        let user = user.clone();
        self.write(move |writer| {
            let before = read_state(writer, user.service, &user.identity)?;
            let mut after = before.clone();
            if after.announce(generation, now) {
                write_state(writer, &user, &before, &after)?;
            }
            Ok(())
        })
        .await
    }
}
