//! Users: their profiles, alone and with the rest of what is known of them.

use std::sync::LazyLock;

use async_trait::async_trait;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::service::Service;
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

static SNAPSHOT_BY_SID: LazyLock<String> = LazyLock::new(|| select("users.sid"));
static SNAPSHOT_BY_IDENTITY: LazyLock<String> = LazyLock::new(|| select("states.identity"));

/// Selects a user with its state and the version of its service, by the column in the condition.
fn select(condition: &str) -> String {
    // The state names the user, which spares the look into the index of identities.
    format!(
        "SELECT services.version, users.version, users.document, {STATE}
         FROM services INDEXED BY services_by_version JOIN states ON states.service = services.sid
         JOIN users ON users.service = services.sid AND users.sid = states.user AND users.identity = states.identity
         WHERE services.sid = ?1 AND {condition} = ?2"
    )
}

#[async_trait]
impl UserSnapshots for SqliteStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let (select, named): (&str, &dyn ToSql) = match user {
            UserRef::Sid(sid) => (&SNAPSHOT_BY_SID, &Key(*sid)),
            UserRef::Identity(identity) => (&SNAPSHOT_BY_IDENTITY, &identity.as_str()),
        };
        self.database.look_up(|connection| {
            let snapshot = |row: &Row<'_>| {
                let of_service: u64 = row.get(0)?;
                let known = self.database.services.get(&service).ok();
                let known = known.filter(|known| known.version == of_service).map(|known| known.configuration);
                let (version, user, state) = (row.get(1)?, document(row, 2)?, state(row, 3)?);
                let parse = || {
                    // As of the same moment, since the row is still being read.
                    let configuration = known.map_or_else(|| read_configuration(connection, service), Ok)?;
                    Ok(UserSnapshot { configuration, user: User { version, ..user? }, state: (&state?).into() })
                };
                Ok(parse())
            };
            find(connection, select, [&Key(service), named], snapshot)?.transpose()
        })
    }
}

fn read_configuration(connection: &Connection, service: ServiceSid) -> Result<Configuration, StoreError> {
    let found: Option<Service> = Rows::new("services", "sid = ?1", &[&Key(service)]).find(connection)?;
    found.map(|service| service.configuration).ok_or(StoreError::Missing)
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
            for step in [
                "SEARCH services USING COVERING INDEX services_by_version (sid=?)",
                "SEARCH users USING PRIMARY KEY (service=? AND sid=?)",
                "SEARCH states USING PRIMARY KEY (service=? AND identity=?)",
            ] {
                assert!(plan.iter().any(|known| known == step), "{plan:?}");
            }
        }
    }
}
