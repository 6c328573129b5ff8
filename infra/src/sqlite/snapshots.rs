//! Users with their service and their state: one, or many in the order of their identities.

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
use serde::Deserialize;

use super::database::{Database, unavailable};
use super::known::Known;
use super::records::{STATE, state};
use super::rows::{Key, document, find};
use super::store::SqliteStore;

/// The condition of a list: after an identity, at most so many.
const IN_ORDER: &str = "states.identity > ?2 ORDER BY states.identity LIMIT ?3";

/// The same, of those in the index of who is online.
const ONLINE_IN_ORDER: &str = "states.shown_online = 1 AND states.identity > ?2 ORDER BY states.identity LIMIT ?3";

/// Selects users with their service and their state, by a condition.
fn select(condition: &str) -> String {
    // The state names the user, which spares the look into the index of identities.
    format!(
        "SELECT services.version, services.document, users.version, users.document, {STATE}
         FROM services JOIN states ON states.service = services.sid
         JOIN users ON users.service = services.sid AND users.sid = states.user AND users.identity = states.identity
         WHERE services.sid = ?1 AND {condition}"
    )
}

/// Reads a user of this service from the columns of [`select`].
fn snapshot(
    services: &Known<ServiceSid, Service>,
    service: ServiceSid,
    row: &Row<'_>,
) -> rusqlite::Result<Result<UserSnapshot, StoreError>> {
    let version: u64 = row.get(0)?;
    let configuration = match services.get(&service) {
        Ok(known) if known.version == version => Ok(known.configuration),
        _ => document(row, 1)?.map(|Configured { configuration }| configuration),
    };
    let (version, user, state) = (row.get(2)?, document(row, 3)?, state(row, 4)?);
    let parse = || {
        let user = User { version, ..user? };
        Ok(UserSnapshot { configuration: configuration?, user, state: (&state?).into() })
    };
    Ok(parse())
}

/// The part of a service's document that a snapshot needs.
#[derive(Deserialize)]
struct Configured {
    configuration: Configuration,
}

#[async_trait]
impl UserSnapshots for SqliteStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let (condition, named): (_, &dyn ToSql) = match user {
            UserRef::Sid(sid) => ("users.sid = ?2", &Key(*sid)),
            UserRef::Identity(identity) => ("states.identity = ?2", &identity.as_str()),
        };
        let select = select(condition);
        let services = &self.database.services;
        let read = |row: &Row<'_>| snapshot(services, service, row);
        self.database.look_up(|connection| find(connection, &select, params![Key(service), named], read)?.transpose())
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
                let select = select("states.identity = ?2");
                let read = |row: &Row<'_>| snapshot(&services, service, row);
                let found = |identity: &Identity| {
                    find(connection, &select, params![Key(service), identity.as_str()], read)?.transpose()
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
        list(&self.database, IN_ORDER, service, after, at_most).await
    }

    async fn online_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        list(&self.database, ONLINE_IN_ORDER, service, after, at_most).await
    }
}

async fn list(
    database: &Database,
    condition: &'static str,
    service: ServiceSid,
    after: Option<&Identity>,
    at_most: usize,
) -> Result<Vec<UserSnapshot>, StoreError> {
    let after = after.map_or(String::new(), ToString::to_string);
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let services = database.services.clone();
    database
        .read(move |connection| {
            let mut statement = connection.prepare_cached(&select(condition)).map_err(unavailable)?;
            let read = |row: &Row<'_>| snapshot(&services, service, row);
            let rows = statement.query_map(params![Key(service), after, at_most], read).map_err(unavailable)?;
            rows.map(|row| row.map_err(unavailable)?).collect()
        })
        .await
}

/// Fills the index of who is online, for a database of a version without it.
pub(super) fn index_online(connection: &Connection) -> rusqlite::Result<()> {
    let select = format!("SELECT service, identity, {STATE} FROM states WHERE user IS NOT NULL");
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
    use super::*;

    /// By keys alone, in the order of the index, without a sort.
    #[test]
    fn snapshots_are_looked_up_by_keys_alone() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("test.db")).unwrap();
        let by_key = "SEARCH states USING PRIMARY KEY (service=? AND identity=?)";
        for (condition, states) in [
            ("users.sid = ?2", by_key),
            ("states.identity = ?2", by_key),
            (IN_ORDER, "SEARCH states USING PRIMARY KEY (service=? AND identity>?)"),
            (ONLINE_IN_ORDER, "SEARCH states USING INDEX states_online (service=? AND identity>?)"),
        ] {
            let explain = format!("EXPLAIN QUERY PLAN {}", select(condition));
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
                "SEARCH services USING PRIMARY KEY (sid=?)",
                "SEARCH users USING PRIMARY KEY (service=? AND sid=?)",
                states,
            ] {
                assert!(plan.iter().any(|found| found == step), "{step}: {plan:?}");
            }
        }
    }
}
