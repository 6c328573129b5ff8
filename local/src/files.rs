//! The files that the process may open, and who may open how many: a connection is one, and so is what SQLite has open.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tracing::warn;

use crate::metrics;

/// Upper bound of the open files that the process itself needs: the log, the listeners, the database's writer.
const OWN_FILES: usize = 56;

/// How many files the reads of the database need on each processor: a thread that reads has a database and a journal open.
const FILES_FOR_READS: usize = 4;

/// How many files are left to the requests that the server sends itself, such as webhooks.
const FILES_FOR_SENDING: usize = 1_024;

/// How many of the files that may be open are left to requests when there are as many sockets as there may be.
const FILES_FOR_REQUESTS: usize = 1_024;

/// The files that connections may open: the limit of open files minus those that the rest of the process needs. Without free
/// file descriptors, SQLite cannot open its files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// How many there are.
    count: usize,
    /// Those that are free.
    pub(crate) free: Arc<Semaphore>,
}

impl Files {
    /// As many as the system allows.
    pub(crate) fn all() -> Self {
        let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
            warn!(%error, "cannot read the limit of open files");
            1_024
        });
        let processors = available_parallelism().map_or(1, usize::from);
        let count = for_connections(usize::try_from(limit).unwrap_or(usize::MAX), processors);
        Self { count, free: Arc::new(Semaphore::new(count)) }
    }

    /// How many event streams there may be: each has a connection, which is not closed for others.
    pub(crate) fn for_streams(&self) -> usize {
        self.for_sockets() / 2
    }

    /// How many sockets there may be: requests must not be kept out by them.
    pub(crate) fn for_sockets(&self) -> usize {
        self.count - FILES_FOR_REQUESTS.min(self.count / 2)
    }
}

/// How many of the files that may be open are for connections.
fn for_connections(limit: usize, processors: usize) -> usize {
    // With few files, readers of metrics may have to wait.
    let scrapes = metrics::MAX_CONNECTIONS.min(limit / 16);
    let own = OWN_FILES + scrapes + FILES_FOR_READS * processors;
    let sending = FILES_FOR_SENDING.min(limit / 4);
    limit.saturating_sub(own + sending).clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_process_keeps_its_files() {
        for (limit, processors, expected) in
            [(1_024, 2, 688), (1_024, 64, 440), (100, 2, 5), (20, 2, 1), (1_048_576, 8, 1_047_448)]
        {
            assert_eq!(for_connections(limit, processors), expected, "{limit}");
        }
        assert_eq!(for_connections(usize::MAX, 2), Semaphore::MAX_PERMITS);
    }
}
