//! The store on SQLite.

use super::database::Database;

/// Stores everything except the queues in an SQLite database.
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
