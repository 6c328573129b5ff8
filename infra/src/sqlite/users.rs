//! Users' profiles.

use async_trait::async_trait;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::writes::DeletionWrites;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use rusqlite::ToSql;

use super::records::{delete_binding, insert_user, read_state, write_state};
use super::rows::{Key, Rows, write_document};
use super::store::SqliteStore;

/// Selects a user by its sid.
const BY_SID: &str = "service = ?1 AND sid = ?2";

#[async_trait]
impl Users for SqliteStore {
    async fn create_user(&self, user: &User) -> Result<(), StoreError> {
        let user = user.clone();
        self.write(move |writer| {
            if writer.configuration(user.service_sid)?.is_none() {
                return Err(StoreError::Missing);
            }
            insert_user(writer, &user)?;
            let before = read_state(writer, user.service_sid, &user.identity)?;
            let mut after = before.clone();
            after.create(&user);
            write_state(writer, &user.key(), &before, &after)
        })
        .await
    }

    async fn user(&self, service: ServiceSid, user: &UserRef) -> Result<Option<User>, StoreError> {
        self.database.look_up(|connection| match user {
            UserRef::Sid(sid) => Rows::new("users", BY_SID, &[&Key(service), &Key(*sid)]).find(connection),
            UserRef::Identity(identity) => {
                let by_identity = "service = ?1 AND identity = ?2";
                Rows::new("users", by_identity, &[&Key(service), &identity.as_str()]).find(connection)
            }
        })
    }

    async fn users(&self, service: ServiceSid, page: PageRequest<UserSid>) -> Result<Page<User>, StoreError> {
        self.database
            .read(move |connection| Rows::new("users", "service = ?1", &[&Key(service)]).page(connection, page))
            .await
    }

    async fn replace_user(&self, user: &User) -> Result<(), StoreError> {
        let mut user = user.clone();
        self.write(move |writer| {
            let parameters: [&dyn ToSql; 2] = [&Key(user.service_sid), &Key(user.sid)];
            let rows = Rows::new("users", BY_SID, &parameters);
            let state = read_state(writer, user.service_sid, &user.identity)?;
            let mut changed = state.clone();
            changed.change_profile(user.date_updated);
            user.revision = changed.revision;
            let before: Option<User> = rows.find(writer)?;
            rows.replace(writer, user.version, &write_document(&user)?)?;
            write_state(writer, &user.key(), &state, &changed)?;
            if let (Some(before), Some(configuration)) = (before, writer.configuration(user.service_sid)?)
                && let Some(entry) = FeedEntry::of_profile(&configuration, &before, &user)
            {
                writer.tell(user.service_sid, Some(&user.identity), entry, user.date_updated)?;
            }
            Ok(())
        })
        .await
    }

    async fn delete_user(&self, service: ServiceSid, sid: UserSid, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |writer| {
            let deleted = Rows::new("users", BY_SID, &[&Key(service), &Key(sid)]).take(writer)?;
            let Some(user) = deleted.map(|user: User| user.key()) else { return Ok(false) };
            let state = read_state(writer, service, &user.identity)?;
            let writes = DeletionWrites::of(&state, now);
            for sid in writes.delete {
                delete_binding(writer, service, sid)?;
            }
            write_state(writer, &user, &state, &writes.state)?;
            Ok(true)
        })
        .await
    }
}
