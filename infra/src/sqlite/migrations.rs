//! The versions of the schema, and how a file of an earlier one is brought up to date.

use std::path::Path;

use reachability_domain::store::StoreError;
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use tracing::info;

use super::database::OpenError;
use super::keys;
use super::snapshots::index_online;
use crate::credentials::seal::Seal;

/// The migrations, one per version of the schema. A released migration must not change.
const SCHEMA: [&str; 15] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
    include_str!("schema/11.sql"),
    include_str!("schema/12.sql"),
    include_str!("schema/13.sql"),
    include_str!("schema/14.sql"),
    include_str!("schema/15.sql"),
];

/// The latest version of the schema.
pub(super) const SCHEMA_VERSION: i32 = SCHEMA.len() as i32;

/// The version of the schema since which there is an index of who is online.
const ONLINE_SINCE: i32 = 8;

/// The version of the schema since which the secrets of API keys are sealed.
const SEALED_SINCE: i32 = 9;

/// The version of the schema since which nothing that was deleted before is left in the file.
const REWRITTEN_SINCE: i32 = 10;

/// Why a file could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Keys(StoreError),
}

impl MigrationError {
    /// The error of this file.
    pub(super) fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Sqlite(source) => OpenError::Sqlite { path, source },
            Self::Keys(source) => OpenError::Keys { path, source },
        }
    }
}

/// Brings a file of this version, which is not a newer one, up to date.
pub(super) fn migrate(connection: &Connection, found: i32, seal: &Seal) -> Result<(), MigrationError> {
    if found <= 0 {
        return run(connection, 0, SCHEMA_VERSION, seal);
    }
    run(connection, found, SEALED_SINCE, seal)?;
    if found < REWRITTEN_SINCE {
        rewrite(connection)?;
    }
    run(connection, found.max(SEALED_SINCE), SCHEMA_VERSION, seal)
}

/// Runs the migrations after this version, up to another one, in one transaction.
fn run(connection: &Connection, found: i32, wanted: i32, seal: &Seal) -> Result<(), MigrationError> {
    let index = |version| usize::try_from(version).unwrap_or_default();
    let missing = SCHEMA.get(index(found)..index(wanted)).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {}", missing.concat()))?;
    if found < ONLINE_SINCE {
        index_online(connection)?;
    }
    if found < SEALED_SINCE {
        keys::seal_all(connection, seal).map_err(MigrationError::Keys)?;
    }
    connection.execute_batch(&format!("PRAGMA user_version = {wanted}; COMMIT;"))?;
    Ok(())
}

/// Rewrites the file, and empties the log beside it. Nothing is left of what was deleted or replaced before.
fn rewrite(connection: &Connection) -> rusqlite::Result<()> {
    info!("the database is rewritten once, so that no secret of an API key is left in it");
    // In memory, the new file would take as much as on disk.
    connection.pragma_update(None, "temp_store", "FILE")?;
    connection.execute_batch("VACUUM")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reachability_domain::secret::Secret;

    use super::super::Database;
    use super::*;

    /// A start was killed after it had sealed the secrets, and before it had rewritten the file.
    #[test]
    fn a_file_that_was_not_rewritten_is_rewritten_by_the_next_start() {
        const LEFT: &str = "what was deleted";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let seal = Arc::new(Seal::new(&Secret::new("key")));
        let is_left = || {
            ["test.db", "test.db-wal"].iter().any(|name| {
                let content = std::fs::read(directory.path().join(name)).unwrap_or_default();
                content.windows(LEFT.len()).any(|bytes| bytes == LEFT.as_bytes())
            })
        };
        drop(Database::open(&path, seal.clone()).unwrap());
        let raw = Connection::open(&path).unwrap();
        let delete = format!("CREATE TABLE rest (text); INSERT INTO rest VALUES ('{LEFT}'); DROP TABLE rest;");
        let undo = "DROP INDEX messages_by_timer; ALTER TABLE messages DROP COLUMN timer_of;
            ALTER TABLE states DROP COLUMN next_timer; DROP TABLE deleted_services; ALTER TABLE feed DROP COLUMN report;
            DROP TABLE recipients;";
        raw.execute_batch(&format!("{delete} {undo} PRAGMA user_version = {SEALED_SINCE};")).unwrap();
        drop(raw);
        assert!(is_left());
        for _ in 0..2 {
            drop(Database::open(&path, seal.clone()).unwrap());
            assert!(!is_left());
        }
    }
}
