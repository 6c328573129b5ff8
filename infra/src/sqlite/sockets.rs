//! The sockets that are open.

use std::error::Error;

use async_trait::async_trait;
use reachability_domain::identity::{ConnectionId, Identity, UserKey};
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use rusqlite::{Connection, Row, params};

use super::database::unavailable;
use super::rows::{Key, execute};
use super::store::SqliteStore;

/// Remembers a socket of this user.
pub(super) fn remember(
    connection: &Connection,
    service: ServiceSid,
    identity: &Identity,
    id: &ConnectionId,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO sockets (connection, service, identity) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    execute(connection, insert, params![id.as_str(), Key(service), identity.as_str()]).map(drop)
}

#[async_trait]
impl Sockets for SqliteStore {
    async fn closed(&self, sockets: &[Socket]) -> Result<(), StoreError> {
        let ids: Vec<ConnectionId> = sockets.iter().map(|socket| socket.connection.clone()).collect();
        self.database
            .write_unflushed(move |connection| {
                let delete = "DELETE FROM sockets WHERE connection = ?1";
                ids.iter().try_for_each(|id| execute(connection, delete, [id.as_str()]).map(drop))
            })
            .await
    }

    async fn open(&self, at_most: usize) -> Result<Vec<Socket>, StoreError> {
        let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
        self.database
            .read(move |connection| {
                let select = "SELECT connection, service, identity FROM sockets LIMIT ?1";
                let mut statement = connection.prepare_cached(select).map_err(unavailable)?;
                let rows = statement.query_map([limit], |row| Ok(socket(row))).map_err(unavailable)?;
                rows.map(|row| row.map_err(unavailable)?.map_err(StoreError::Corrupt)).collect()
            })
            .await
    }
}

/// Reads a socket from its connection, service and identity.
pub(super) fn socket(row: &Row<'_>) -> Result<Socket, Box<dyn Error + Send + Sync>> {
    let Key(service): Key<ServiceSid> = row.get(1)?;
    let user = UserKey { service, identity: row.get_ref(2)?.as_str()?.parse()? };
    Ok(Socket { user, connection: row.get_ref(0)?.as_str()?.parse()? })
}
