//! Reads, each on a connection of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reachability_domain::metrics::Timing;
use reachability_domain::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::database::{Database, unavailable};

/// Maximum number of concurrent long reads. More would only wait for the processors.
const LONG_READS: usize = 4;

/// The connections for reads. There are as many as were ever in use at the same time: one for each thread that looks up,
/// and [`LONG_READS`].
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of the database in this file.
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), permits: Arc::new(Semaphore::new(LONG_READS)), idle: Mutex::default() }
    }

    fn run<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path).map_err(unavailable)?,
        };
        let result = read(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    /// Closes the connections that are not in use.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Database {
    /// Runs a short read, of a few rows by their keys, on the calling thread: to change threads would take longer than the
    /// read. It sees every write that was answered before.
    pub(super) fn look_up<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.readers.run(read)
    }

    /// Looks up a record for each of these keys: one on the calling thread, several on another one. Returns those that exist.
    pub(super) async fn find_all<K, T, F>(&self, keys: &[K], find: F) -> Result<Vec<T>, StoreError>
    where
        K: Copy + Send + 'static,
        T: Send + 'static,
        F: Fn(&Connection, K) -> Result<Option<T>, StoreError> + Send + 'static,
    {
        if let [key] = keys {
            return self.look_up(|connection| find(connection, *key)).map(|found| found.into_iter().collect());
        }
        let keys = keys.to_vec();
        self.read(move |connection| keys.into_iter().filter_map(|key| find(connection, key).transpose()).collect())
            .await
    }

    /// Runs a long read on another thread. It sees every write that was answered before.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let started = Instant::now();
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits).acquire_owned().await;
        let permit = permit.map_err(|error| StoreError::Unavailable(error.into()))?;
        let run = move || {
            // The read continues even if its caller is gone.
            let _permit = permit;
            readers.run(read)
        };
        let read = tokio::task::spawn_blocking(run).await.map_err(|error| StoreError::Unavailable(error.into()));
        self.measure(Timing::StoreRead, started);
        read?
    }
}

/// Opens a connection that cannot write.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise SQLite plans joins and ranges again for other parameters, which takes longer than to run them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn statements_are_not_planned_again_for_other_parameters() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE a (x, y); CREATE INDEX b ON a (x, y);").unwrap();
        let replans = || {
            let mut statement = connection.prepare("SELECT y FROM a WHERE x = ?1 AND y > ?2 ORDER BY y").unwrap();
            for n in 0..5 {
                assert!(!statement.exists([n, n]).unwrap());
            }
            statement.get_status(StatementStatus::RePrepare)
        };
        assert_ne!(replans(), 0, "by default they are");
        configure(&connection).unwrap();
        assert_eq!(replans(), 0);
    }
}
