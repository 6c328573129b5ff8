//! The sockets that are open.

use async_trait::async_trait;
use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use rusqlite::{Row, params};

use super::database::unavailable;
use super::rows::{Key, execute};
use super::store::SqliteStore;

#[async_trait]
impl Sockets for SqliteStore {
    async fn opened(&self, sockets: &[Socket]) -> Result<(), StoreError> {
        let sockets = sockets.to_vec();
        let insert = "INSERT INTO sockets (connection, service, identity) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        self.database
            .write_unflushed(move |connection| {
                sockets.iter().try_for_each(|Socket { user, connection: id }| {
                    let row = params![id.as_str(), Key(user.service), user.identity.as_str()];
                    execute(connection, insert, row).map(drop)
                })
            })
            .await
    }

    async fn closed(&self, sockets: &[Socket]) -> Result<(), StoreError> {
        let ids: Vec<ConnectionId> = sockets.iter().map(|socket| socket.connection.clone()).collect();
        self.database
            .write_unflushed(move |connection| {
                let delete = "DELETE FROM sockets WHERE connection = ?1";
                ids.iter().try_for_each(|id| execute(connection, delete, [id.as_str()]).map(drop))
            })
            .await
    }

    async fn open(&self, after: Option<&ConnectionId>, at_most: usize) -> Result<Vec<Socket>, StoreError> {
        let after = after.map(|id| id.as_str().to_owned()).unwrap_or_default();
        let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached(
                        "SELECT connection, service, identity FROM sockets WHERE connection > ?1 ORDER BY connection
                         LIMIT ?2",
                    )
                    .map_err(unavailable)?;
                type Columns = (String, Key<ServiceSid>, String);
                let columns =
                    |row: &Row<'_>| -> rusqlite::Result<Columns> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
                let rows = statement.query_map(params![after, limit], columns).map_err(unavailable)?;
                rows.map(|row| socket(row.map_err(unavailable)?)).collect()
            })
            .await
    }
}

fn socket((connection, Key(service), identity): (String, Key<ServiceSid>, String)) -> Result<Socket, StoreError> {
    let corrupt = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Corrupt(error);
    let identity =
        identity.parse().map_err(|error: reachability_domain::identity::InvalidIdentity| corrupt(error.into()))?;
    let connection = connection
        .parse()
        .map_err(|error: reachability_domain::identity::InvalidConnectionId| corrupt(error.into()))?;
    Ok(Socket { user: UserKey { service, identity }, connection })
}
