//! The database file: one connection for writes, a few for reads.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::store::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::readers::Readers;

/// The migrations, one per version of the schema. A released migration must not change.
const SCHEMA: [&str; 3] = [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// The latest version of the schema.
const SCHEMA_VERSION: i32 = SCHEMA.len() as i32;

/// Maximum number of queued writes. Further writers wait.
const WAITING_WRITES: usize = 4_096;

/// Maximum number of writes per commit, so that the first one does not wait too long.
const WRITES_PER_COMMIT: usize = 1_024;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be created, or its permissions could not be set.
    #[error("cannot create {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Not a database, or an I/O error.
    #[error("cannot open {path} as a database")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a newer version of this program.
    #[error("{path} was written by a newer version (its schema is {found}, this version knows {SCHEMA_VERSION})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i32,
    },
}

/// Runs a write in a transaction; without a connection if none could be begun. Returns a function that takes the
/// commit's result.
type Write = Box<dyn FnOnce(Option<&Connection>) -> Answer + Send>;

/// Answers the caller of a write.
type Answer = Box<dyn FnOnce(Committed) + Send>;

/// The result of a commit, shared by all its writes.
type Committed = Result<(), Arc<rusqlite::Error>>;

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    writes: mpsc::Sender<Write>,
    pub(super) readers: Arc<Readers>,
}

impl Database {
    /// Opens the file, or creates it with access for the owner only.
    ///
    /// # Errors
    /// If the file cannot be created, is not a database, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let create_error = |source| OpenError::Create { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // SQLite's journal files get the same permissions.
        options.open(path).map_err(create_error)?;

        let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(sqlite_error)?;
        let found = prepare(&connection).map_err(sqlite_error)?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found });
        }

        let (writes, waiting) = mpsc::channel(WAITING_WRITES);
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_all(&connection, waiting))
            .map_err(create_error)?;
        Ok(Self { writes, readers: Arc::new(Readers::of(path)) })
    }

    /// Runs a write. Returns when it is on disk or rolled back.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |connection| {
            let written = connection.map(|connection| undo_on_error(connection, write));
            Box::new(move |committed| {
                let result = committed.map_err(|error| StoreError::Unavailable(Box::new(error)));
                let result = result.and_then(|()| written.unwrap_or_else(|| Err(stopped())));
                // The caller may be gone.
                let _ = answer.send(result);
            })
        });
        self.writes.send(write).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".into())
}

/// Wraps an SQLite error as [`StoreError::Unavailable`].
pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// Configures the connection and migrates the schema. Returns the version of the schema.
fn prepare(connection: &Connection) -> rusqlite::Result<i32> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Checkpoints run every 64 MiB of journal, since a page that was written many times in between is moved only once;
    // and the page cache has the same size. Both halve the cost of an event with many users.
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.set_prepared_statement_cache_capacity(64);
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = SCHEMA.get(usize::try_from(found).unwrap_or_default()..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(found);
    }
    let missing = missing.concat();
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {missing} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))?;
    Ok(SCHEMA_VERSION)
}

/// The writer thread. Runs until every handle is dropped.
fn write_all(connection: &Connection, mut waiting: mpsc::Receiver<Write>) {
    while let Some(first) = waiting.blocking_recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let mut answers = vec![first(begun.is_ok().then_some(connection))];
        while begun.is_ok() && answers.len() < WRITES_PER_COMMIT {
            let Ok(next) = waiting.try_recv() else { break };
            answers.push(next(Some(connection)));
        }
        let committed = begun.and_then(|()| connection.execute_batch("COMMIT")).map_err(Arc::new);
        if !connection.is_autocommit() {
            // The commit failed. All its writes are rolled back and answered with the error.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// Runs one write of a shared transaction in a savepoint, so that its failure does not affect the others.
fn undo_on_error<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(unavailable);
    run("SAVEPOINT one")?;
    let written = write(connection);
    if written.is_err() {
        run("ROLLBACK TO one")?;
    }
    run("RELEASE one")?;
    written
}
