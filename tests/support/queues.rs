//! The database of a server, and the event queue in it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use reachability_domain::secret::Secret;
use reachability_infra::credentials::seal::Seal;
use reachability_infra::sqlite::{Database, EventQueue, WaitingLimits};

/// As many events may wait as a test needs.
pub const ANY_NUMBER: WaitingLimits = WaitingLimits { per_service: usize::MAX, all: usize::MAX };

/// The server's database, opened by the test as well.
pub fn database(directory: &Path) -> Database {
    let key = fs::read_to_string(directory.join("credentials.key"));
    let seal = key.map_or_else(|_| seal(), |key| Arc::new(Seal::new(&Secret::new(key.trim_end()))));
    Database::open(&directory.join("reachability.db"), seal).unwrap()
}

/// A seal for a database that no server opens.
pub fn seal() -> Arc<Seal> {
    Arc::new(Seal::new(&Secret::new("the key of a test")))
}

/// The server's event queue. A server that runs does not notice what the test sends.
pub async fn event_queue(directory: &Path) -> EventQueue {
    EventQueue::open(database(directory), ANY_NUMBER).await.unwrap()
}
