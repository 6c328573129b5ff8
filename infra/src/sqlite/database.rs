//! The file: one connection that writes, a few that read.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reachability_domain::store::StoreError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// What makes of each version of the schema the next one, from nothing on. Those that were released stay as they are.
const SCHEMA: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The version of the schema that this code knows.
const SCHEMA_VERSION: i32 = SCHEMA.len() as i32;

/// How many reads run side by side. More would only wait for the processors.
const READERS: usize = 4;

/// How many writes wait at most before the next one waits outside.
const WAITING_WRITES: usize = 4_096;

/// How many writes are committed together at most, so that the first of them does not wait for ever.
const WRITES_PER_COMMIT: usize = 1_024;

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be made or its rights could not be set.
    #[error("cannot create {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not a database, or it could not be read or written.
    #[error("cannot open {path} as a database")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer version of this program has written it.
    #[error("{path} was written by a newer version (its schema is {found}, this version knows {SCHEMA_VERSION})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: i32,
    },
}

/// What a write does in a transaction, if one could be begun. It returns what to do with the commit's result.
type Write = Box<dyn FnOnce(Option<&Connection>) -> Answer + Send>;

/// Answers a write.
type Answer = Box<dyn FnOnce(Committed) + Send>;

/// Whether the commit worked. Several writes share it.
type Committed = Result<(), Arc<rusqlite::Error>>;

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    writes: mpsc::Sender<Write>,
    readers: Arc<Readers>,
}

struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens the file, or makes it, readable by its owner only.
    ///
    /// # Errors
    /// If it cannot be made, is no database, or is a newer version's.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let create_error = |source| OpenError::Create { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // The journal files that SQLite adds get the rights of this one.
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
        let readers =
            Readers { path: path.to_owned(), permits: Arc::new(Semaphore::new(READERS)), idle: Mutex::default() };
        Ok(Self { writes, readers: Arc::new(readers) })
    }

    /// Runs a write. It returns once the write is on the disk, or has been undone.
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
                // Nobody may be waiting any more.
                let _ = answer.send(result);
            })
        });
        self.writes.send(write).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Runs a read, which sees every write that was answered before.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits).acquire_owned().await;
        let permit = permit.map_err(|error| StoreError::Unavailable(error.into()))?;
        let run = move || {
            // It goes on when nobody waits for it any more.
            let _permit = permit;
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open_reader(&readers.path).map_err(unavailable)?,
            };
            let result = read(&connection);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| StoreError::Unavailable(error.into()))?
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".into())
}

/// As [`StoreError::Unavailable`].
pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// Sets the connection up and brings the schema to what this code knows. Returns the schema's version.
fn prepare(connection: &Connection) -> rusqlite::Result<i32> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Pages are moved from the journal to their places by the 64 MiB, since a page that was written many times in between
    // is moved once; and as much is kept at hand. Both halve the cost of an event where there are many users.
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

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The writer's thread: until every handle is gone.
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
            // The commit failed. What is undone is answered as not done.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// Runs one of several writes of a transaction, so that its failure is its own.
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
