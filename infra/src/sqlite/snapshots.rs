//! Users with their service and their state: one, or many in the order of their identities.

use std::sync::LazyLock;

use async_trait::async_trait;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::Identity;
use reachability_domain::presence::search::{UserSearch, looks_online};
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, params};

use super::database::{Database, unavailable};
use super::known::Known;
use super::records::{STATE, state};
use super::rows::{Key, Rows, document, find};
use super::store::SqliteStore;

/// Where one user is found, and where a list begins: after an identity, with at most so many.
const BY_SID: &str = "users.sid = ?2";
const BY_IDENTITY: &str = "states.identity = ?2";
const IN_ORDER: &str = "states.identity > ?2 ORDER BY states.identity LIMIT ?3";
/// Those in the index of who is online. By itself, SQLite would look at everybody, in the order of the table.
const ONLINE: &str = "states INDEXED BY states_online";
const ONLINE_IN_ORDER: &str = "states.shown_online = 1 AND states.identity > ?2 ORDER BY states.identity LIMIT ?3";

static SELECT_BY_SID: LazyLock<String> = LazyLock::new(|| select("states", BY_SID));
static SELECT_BY_IDENTITY: LazyLock<String> = LazyLock::new(|| select("states", BY_IDENTITY));
static SELECT_IN_ORDER: LazyLock<String> = LazyLock::new(|| select("states", IN_ORDER));
static SELECT_ONLINE_IN_ORDER: LazyLock<String> = LazyLock::new(|| select(ONLINE, ONLINE_IN_ORDER));

/// Selects users with their state and the version of their service, from the states and by a condition.
fn select(states: &str, condition: &str) -> String {
    // The state names the user, which spares the look into the index of identities.
    format!(
        "SELECT services.version, users.version, users.document, {STATE}
         FROM services INDEXED BY services_by_version JOIN {states} ON states.service = services.sid
         JOIN users ON users.service = services.sid AND users.sid = states.user AND users.identity = states.identity
         WHERE services.sid = ?1 AND {condition}"
    )
}

/// Reads users of one service from the columns of [`select`].
struct Snapshots<'a> {
    connection: &'a Connection,
    services: &'a Known<ServiceSid, Service>,
    service: ServiceSid,
}

impl Snapshots<'_> {
    fn read(&self, row: &Row<'_>) -> rusqlite::Result<Result<UserSnapshot, StoreError>> {
        let of_service: u64 = row.get(0)?;
        let known = self.services.get(&self.service).ok();
        let known = known.filter(|known| known.version == of_service).map(|known| known.configuration);
        let (version, user, state) = (row.get(1)?, document(row, 2)?, state(row, 3)?);
        let parse = || {
            // As of the same moment, since the row is still being read.
            let configuration = known.map_or_else(|| self.configuration(), Ok)?;
            Ok(UserSnapshot { configuration, user: User { version, ..user? }, state: (&state?).into() })
        };
        Ok(parse())
    }

    fn configuration(&self) -> Result<Configuration, StoreError> {
        let found: Option<Service> = Rows::new("services", "sid = ?1", &[&Key(self.service)]).find(self.connection)?;
        found.map(|service| service.configuration).ok_or(StoreError::Missing)
    }
}

#[async_trait]
impl UserSnapshots for SqliteStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let (select, named): (&str, &dyn ToSql) = match user {
            UserRef::Sid(sid) => (&SELECT_BY_SID, &Key(*sid)),
            UserRef::Identity(identity) => (&SELECT_BY_IDENTITY, &identity.as_str()),
        };
        self.database.look_up(|connection| {
            let snapshots = Snapshots { connection, services: &self.database.services, service };
            find(connection, select, [&Key(service), named], |row| snapshots.read(row))?.transpose()
        })
    }
}

#[async_trait]
impl UserSearch for SqliteStore {
    async fn users_by_identity(
        &self,
        service: ServiceSid,
        identities: &[Identity],
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        let mut identities = identities.to_vec();
        identities.sort_unstable();
        identities.dedup();
        let services = self.database.services.clone();
        self.database
            .read(move |connection| {
                let snapshots = Snapshots { connection, services: &services, service };
                let found = |identity: &Identity| {
                    let parameters = params![Key(service), identity.as_str()];
                    find(connection, &SELECT_BY_IDENTITY, parameters, |row| snapshots.read(row))?.transpose()
                };
                identities.iter().map(found).filter_map(Result::transpose).collect()
            })
            .await
    }

    async fn users_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        list(&self.database, &SELECT_IN_ORDER, service, after, at_most).await
    }

    async fn online_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        list(&self.database, &SELECT_ONLINE_IN_ORDER, service, after, at_most).await
    }
}

async fn list(
    database: &Database,
    select: &'static str,
    service: ServiceSid,
    after: Option<&Identity>,
    at_most: usize,
) -> Result<Vec<UserSnapshot>, StoreError> {
    let after = after.map_or(String::new(), ToString::to_string);
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let services = database.services.clone();
    database
        .read(move |connection| {
            let mut statement = connection.prepare_cached(select).map_err(unavailable)?;
            let snapshots = Snapshots { connection, services: &services, service };
            let parameters = params![Key(service), after, at_most];
            let rows = statement.query_map(parameters, |row| snapshots.read(row)).map_err(unavailable)?;
            rows.map(|row| row.map_err(unavailable)?).collect()
        })
        .await
}

/// Fills the index of who is online, for a database of a version without it.
pub(super) fn index_online(connection: &Connection) -> rusqlite::Result<()> {
    // Timers are stored since a later version.
    let state_then = STATE.replace("next_timer", "NULL");
    let select = format!("SELECT service, identity, {state_then} FROM states WHERE user IS NOT NULL");
    let mut statement = connection.prepare(&select)?;
    let mut rows = statement.query([])?;
    let mut online: Vec<(Vec<u8>, String)> = Vec::new();
    while let Some(row) = rows.next()? {
        // What does not parse is told to whoever reads it.
        if state(row, 2)?.is_ok_and(|state| looks_online(&state)) {
            online.push((row.get(0)?, row.get(1)?));
        }
    }
    let mut update = connection.prepare("UPDATE states SET shown_online = 1 WHERE service = ?1 AND identity = ?2")?;
    online.iter().try_for_each(|user| update.execute(params![user.0, user.1]).map(drop))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reachability_domain::secret::Secret;

    use super::*;
    use crate::credentials::seal::Seal;

    /// By keys alone, in the order of the index, without a sort.
    #[test]
    fn snapshots_are_looked_up_by_keys_alone() {
        let directory = tempfile::tempdir().unwrap();
        let seal = Arc::new(Seal::new(&Secret::new("key")));
        let database = Database::open(&directory.path().join("test.db"), seal).unwrap();
        let by_key = "SEARCH states USING PRIMARY KEY (service=? AND identity=?)";
        for (select, states) in [
            (&SELECT_BY_SID, by_key),
            (&SELECT_BY_IDENTITY, by_key),
            (&SELECT_IN_ORDER, "SEARCH states USING PRIMARY KEY (service=? AND identity>?)"),
            (&SELECT_ONLINE_IN_ORDER, "SEARCH states USING INDEX states_online (service=? AND identity>?)"),
        ] {
            let explain = format!("EXPLAIN QUERY PLAN {}", **select);
            let plan = database.look_up(|connection| {
                let mut statement = connection.prepare(&explain).unwrap();
                let mut rows = statement.raw_query();
                let mut steps = Vec::new();
                while let Some(row) = rows.next().unwrap() {
                    steps.push(row.get::<_, String>(3).unwrap());
                }
                Ok(steps)
            });
            let plan = plan.unwrap();
            assert_eq!(plan.len(), 3, "{plan:?}");
            for step in [
                "SEARCH services USING COVERING INDEX services_by_version (sid=?)",
                "SEARCH users USING PRIMARY KEY (service=? AND sid=?)",
                states,
            ] {
                assert!(plan.iter().any(|found| found == step), "{step}: {plan:?}");
            }
        }
    }
}
