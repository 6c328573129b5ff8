//! The store on SQLite.

use std::sync::Arc;

use reachability_domain::presence::at_commit::AtCommit;
use tokio::sync::Notify;

use super::database::Database;

/// Stores everything except the queues in an SQLite database.
#[derive(Clone)]
pub struct SqliteStore {
    pub(super) database: Database,
    /// Wakes the consumer of the feed.
    pub(super) feed_written: Arc<Notify>,
    pub(super) at_commit: Option<Arc<dyn AtCommit>>,
    /// Wakes whoever removes the records of deleted services.
    pub(super) services_deleted: Arc<Notify>,
}

impl SqliteStore {
    /// A store in this database.
    pub fn new(database: Database) -> Self {
        Self { database, feed_written: Arc::default(), at_commit: None, services_deleted: Arc::default() }
    }

    /// The same store, whose writes tell this listener what they lead to.
    #[must_use]
    pub fn with_at_commit(self, at_commit: Arc<dyn AtCommit>) -> Self {
        Self { at_commit: Some(at_commit), ..self }
    }
}
