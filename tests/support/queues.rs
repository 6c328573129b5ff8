//! The event queue in a database of a server.

use std::path::Path;

use reachability_infra::sqlite::{Database, EventQueue, WaitingLimits};

/// As many events may wait as a test needs.
pub const ANY_NUMBER: WaitingLimits = WaitingLimits { per_service: usize::MAX, all: usize::MAX };

/// The server's database, opened by the test as well.
pub fn database(directory: &Path) -> Database {
    Database::open(&directory.join("reachability.db")).unwrap()
}

/// The server's event queue. A server that runs does not notice what the test sends.
pub async fn event_queue(directory: &Path) -> EventQueue {
    EventQueue::open(database(directory), ANY_NUMBER).await.unwrap()
}
