//! Removal of what deleted services leave behind. Deleting a service deletes its row and notes its sid, in one write. Whoever
//! runs the store has the rest removed in parts, and other writes come in between.

use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use rusqlite::{Connection, params};

use super::rows::{Key, Rows, execute, find};
use super::store::SqliteStore;
use super::writer::Terms;

/// How many rows one write removes at most: it takes a few milliseconds.
const ROWS_AT_ONCE: usize = 2_000;

/// About how many bytes the removal of a row writes.
const BYTES_OF_ROW: usize = 256;

/// What lies under a service: tables, and the rest of their keys. Users go before their states, so that no user is without.
const TABLES: [(&str, &str); 5] =
    [("members", "cid, identity"), ("channels", "cid"), ("bindings", "sid"), ("users", "sid"), ("states", "identity")];

impl SqliteStore {
    /// Removes some of the records that deleted services left behind. Returns how many rows it removed; `None` if there is
    /// nothing left to remove.
    ///
    /// # Errors
    /// If the database fails; then nothing was removed.
    pub async fn purge_some(&self) -> Result<Option<usize>, StoreError> {
        // What a power cut takes back is removed again.
        let terms = Terms { owes_flush: false, bytes: ROWS_AT_ONCE * BYTES_OF_ROW };
        self.database.write_then(terms, purge, |purged| purged).await
    }

    /// Waits until a service was deleted since the last wait.
    pub async fn service_deleted(&self) {
        self.services_deleted.notified().await;
    }
}

/// Notes that the records of this service are to be removed.
pub(super) fn note(connection: &Connection, service: ServiceSid) -> Result<(), StoreError> {
    let insert = "INSERT INTO deleted_services (sid) VALUES (?1) ON CONFLICT DO NOTHING";
    execute(connection, insert, [Key(service)]).map(drop)
}

fn purge(connection: &Connection) -> Result<Option<usize>, StoreError> {
    let first = "SELECT sid FROM deleted_services LIMIT 1";
    let Some(service) = find(connection, first, [], |row| row.get::<_, Key<ServiceSid>>(0))? else { return Ok(None) };
    let mut left = ROWS_AT_ONCE;
    for (table, key) in TABLES {
        let some = format!("SELECT {key} FROM {table} WHERE service = ?1 LIMIT ?2");
        let delete = format!("DELETE FROM {table} WHERE service = ?1 AND ({key}) IN ({some})");
        left -= execute(connection, &delete, params![service, left])?;
        if left == 0 {
            return Ok(Some(ROWS_AT_ONCE));
        }
    }
    Rows::new("deleted_services", "sid = ?1", &[&service]).delete(connection)?;
    Ok(Some(ROWS_AT_ONCE - left))
}
