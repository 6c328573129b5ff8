//! Users' states.

use async_trait::async_trait;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::ports::{Joined, States};
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::writes::JoinWrites;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::records::{identity_is_taken, insert_user, read_state, service_exists, write_state};
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
        news: &Presence,
        asked: &[ConnectionId],
        now: Timestamp,
    ) -> Result<Joined, StoreError> {
        let (user, news, asked) = (user.clone(), news.clone(), asked.to_vec());
        self.database
            .write(move |connection| {
                if !service_exists(connection, user.service_sid)? {
                    return Err(StoreError::Missing);
                }
                let before = read_state(connection, user.service_sid, &user.identity)?;
                let writes = JoinWrites::of(&before, &news, now);
                if let Some(state) = &writes.state {
                    write_state(connection, user.service_sid, &user.identity, state)?;
                }
                // Usually the user exists.
                if writes.creates_user && !identity_is_taken(connection, &user)? {
                    insert_user(connection, &user)?;
                }
                Ok(Joined::of(&before, writes.after(&before), &news, &asked))
            })
            .await
    }
}
