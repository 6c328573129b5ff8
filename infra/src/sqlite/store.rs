//! The store on SQLite.

use std::sync::Arc;

use tokio::sync::Notify;

use super::database::Database;

/// Stores everything except the queues in an SQLite database.
#[derive(Clone)]
pub struct SqliteStore {
    pub(super) database: Database,
    /// Wakes the consumer of the feed.
    pub(super) feed_written: Arc<Notify>,
}

impl SqliteStore {
    /// A store in this database.
    pub fn new(database: Database) -> Self {
        Self { database, feed_written: Arc::default() }
    }
}
