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

use super::records::{STATE, delete_binding, insert_user, read_state, state, write_state};
use rusqlite::{Connection, Row, ToSql};
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

/// Selects a user with its service and its state, by the column in the condition.
fn select(condition: &str) -> String {
    // The state names the user, which spares the look into the index of identities.
    format!(
        "SELECT services.version, services.document, users.version, users.document, {STATE}
         FROM services JOIN states ON states.service = services.sid
         JOIN users ON users.service = services.sid AND users.sid = states.user AND users.identity = states.identity
         WHERE services.sid = ?1 AND {condition} = ?2"
    )
}

#[async_trait]
impl UserSnapshots for SqliteStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let (condition, named): (_, &dyn ToSql) = match user {
            UserRef::Sid(sid) => ("users.sid", &Key(*sid)),
            UserRef::Identity(identity) => ("states.identity", &identity.as_str()),
        };
        let select = select(condition);
        let snapshot = |row: &Row<'_>| {
            let version: u64 = row.get(0)?;
            let configuration = match self.database.services.get(&service) {
                Ok(known) if known.version == version => Ok(known.configuration),
                _ => document(row, 1)?.map(|Configured { configuration }| configuration),
            };
            let (version, user, state) = (row.get(2)?, document(row, 3)?, state(row, 4)?);
            let parse = || {
                let user = User { version, ..user? };
                Ok(UserSnapshot { configuration: configuration?, user, state: (&state?).into() })
            };
            Ok(parse())
        };
        let find = |connection: &Connection| find(connection, &select, [&Key(service), named], snapshot)?.transpose();
        self.database.look_up(find)
    }
}

/// The part of a service's document that a snapshot needs.
#[derive(Deserialize)]
struct Configured {
    configuration: Configuration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::database::Database;

    #[tokio::test]
    async fn a_snapshot_is_looked_up_by_keys_alone() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("test.db")).unwrap();
        for condition in ["users.sid", "states.identity"] {
            let explain = format!("EXPLAIN QUERY PLAN {}", select(condition));
            let plan = database.look_up(|connection| {
                let mut statement = connection.prepare(&explain).unwrap();
                let steps = statement.query_map([[0_u8; 16], [0_u8; 16]], |row| row.get::<_, String>(3)).unwrap();
                Ok(steps.collect::<Result<Vec<_>, _>>().unwrap())
            });
            let plan = plan.unwrap();
            assert_eq!(plan.len(), 3, "{plan:?}");
            for (table, key) in
                [("services", "(sid=?)"), ("users", "(service=? AND sid=?)"), ("states", "(service=? AND identity=?)")]
            {
                let step = format!("SEARCH {table} USING PRIMARY KEY {key}");
                assert!(plan.contains(&step), "{plan:?}");
            }
        }
    }
}
