//! Users' states.

use async_trait::async_trait;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::{Joined, States};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::records::{insert_user, read_state, service_exists, write_state};
use super::store::SqliteStore;

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

    async fn join(
        &self,
        user: &User,
        news: &News,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError> {
        let (user, news, asked) = (user.clone(), news.clone(), asked.to_vec());
        self.write_unflushed(move |writer| {
            if !service_exists(writer, user.service_sid)? {
                return Err(StoreError::Missing);
            }
            let before = read_state(writer, user.service_sid, &user.identity)?;
            let writes = JoinWrites::of(&before, &news, user.sid, now);
            if let Some(state) = &writes.state {
                write_state(writer, &user.key(), &before, state)?;
            }
            if writes.creates_user {
                insert_user(writer, &user)?;
            }
            Ok(Joined::of(&before, writes.after(&before), &news, &asked))
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
