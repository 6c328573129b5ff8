//! Users: their profiles, alone and with the rest of what is known of them.

use async_trait::async_trait;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::presence::writes::DeletionWrites;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::records::{delete_binding, insert_user, read_state, write_state};
use rusqlite::{Row, ToSql};
use serde::Deserialize;

use super::rows::{Key, Rows, document, find, write_document};
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

/// The part of a service's document that a snapshot needs. The rest, which is most of it, is not read.
#[derive(Deserialize)]
struct Configured {
    configuration: Configuration,
}

#[async_trait]
impl UserSnapshots for SqliteStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let (condition, named): (_, &dyn ToSql) = match user {
            UserRef::Sid(sid) => ("sid", &Key(*sid)),
            UserRef::Identity(identity) => ("identity", &identity.as_str()),
        };
        let select = format!(
            "SELECT services.document, users.document, users.version
             FROM services JOIN users ON users.service = services.sid
             WHERE services.sid = ?1 AND users.{condition} = ?2"
        );
        self.database.look_up(|connection| {
            // The state is read before this statement ends, and so as of the same moment.
            let snapshot = |row: &Row<'_>| {
                let (service, user): (_, Result<User, StoreError>) = (document(row, 0)?, document(row, 1)?);
                let version = row.get(2)?;
                Ok(service.and_then(|Configured { configuration }| {
                    let user = User { version, ..user? };
                    let state = (&read_state(connection, user.service_sid, &user.identity)?).into();
                    Ok(UserSnapshot { configuration, user, state })
                }))
            };
            find(connection, &select, [&Key(service), named], snapshot)?.transpose()
        })
    }
}
