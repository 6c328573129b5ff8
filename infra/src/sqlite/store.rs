//! The store.

use super::database::Database;

/// Services, users, their state, keys and everything for pushes in an SQLite database.
#[derive(Clone)]
pub struct SqliteStore {
    pub(super) database: Database,
}

impl SqliteStore {
    /// A store in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}
