//! The database file: one connection for writes, a few for reads.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::{KeySid, ServiceSid};
use reachability_domain::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::known::Known;
use super::readers::Readers;
use super::snapshots::index_online;
use super::writer::{BUSY_TIMEOUT, Terms, WriterThread, touch, watch_log};

/// The migrations, one per version of the schema. A released migration must not change.
const SCHEMA: [&str; 9] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
];

/// The latest version of the schema.
pub(super) const SCHEMA_VERSION: i32 = SCHEMA.len() as i32;

/// The version of the schema since which there is an index of who is online.
const ONLINE_SINCE: i32 = 8;

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
    /// The file was written by another version of this program, and must not be changed here.
    #[error("{path} was written by another version (its schema is {found}, this version knows {SCHEMA_VERSION})")]
    Other {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i32,
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

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    writer: WriterThread,
    pub(super) readers: Arc<Readers>,
    pub(super) services: Arc<Known<ServiceSid, Service>>,
    pub(super) keys: Arc<Known<KeySid, ApiKey>>,
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
        Self::start(connection, path)
    }

    /// Opens the file of a server that may be running: creates nothing, and leaves the schema as it is.
    ///
    /// # Errors
    /// If there is no such file, if it is not a database, or if another version of this program wrote it.
    pub fn open_beside_server(path: &Path) -> Result<Self, OpenError> {
        let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite_error)?;
        let found = configure(&connection).map_err(sqlite_error)?;
        if found != SCHEMA_VERSION {
            return Err(OpenError::Other { path: path.to_owned(), found });
        }
        Self::start(connection, path)
    }

    fn start(mut connection: Connection, path: &Path) -> Result<Self, OpenError> {
        let log_pages =
            watch_log(&mut connection).map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        let writer = WriterThread::start(connection, log_pages)
            .map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
        Ok(Self { writer, readers: Arc::new(Readers::of(path)), services: Arc::default(), keys: Arc::default() })
    }

    /// Runs a write. Returns when it is on disk or rolled back.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_then(Terms::PROMISED, write, |written| written).await
    }

    /// Runs a write that nobody is promised to find after a power cut. Returns when it is committed, with or without a
    /// flush, or rolled back. A later write that is flushed takes it along.
    pub(super) async fn write_unflushed<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_then(Terms::DERIVED, write, |written| written).await
    }

    /// Runs a write, and `then` with what it returned once it is committed, also if the caller is gone by then. `then` must
    /// be quick: it runs between commits.
    pub(super) async fn write_then<T, R, F, G>(&self, terms: Terms, write: F, then: G) -> Result<R, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        G: FnOnce(T) -> R + Send + 'static,
    {
        self.writer.write(terms, write, then).await
    }

    /// Waits until everything that was read before survives a power cut: before it leaves the machine.
    pub(super) async fn flushed(&self) -> Result<(), StoreError> {
        self.writer.flushed().await
    }

    /// How many pages of the log (the file beside the database) survive a power cut.
    pub fn flushed_pages(&self) -> i32 {
        self.writer.flushed_pages()
    }
}

/// Wraps an SQLite error as [`StoreError::Unavailable`].
pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// Configures the connection. Returns the version of the schema.
fn configure(connection: &Connection) -> rusqlite::Result<i32> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // The inner pages of a million users fit. More does not save reads, which are from the system's memory anyway, but takes
    // the processor's cache: with 64 MiB an event costs a third more.
    connection.pragma_update(None, "cache_size", -16_384)?;
    // What undoes one write of a transaction is of no use after the process: in a file, it is another write of each page.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise SQLite plans some statements again for each set of parameters.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Configures the connection and migrates the schema. Returns the version of the schema.
fn prepare(connection: &Connection) -> rusqlite::Result<i32> {
    let found = configure(connection)?;
    let missing = SCHEMA.get(usize::try_from(found).unwrap_or_default()..).unwrap_or_default();
    if found > SCHEMA_VERSION {
        return Ok(found);
    }
    if !missing.is_empty() {
        let missing = missing.concat();
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {missing}"))?;
        if found < ONLINE_SINCE {
            index_online(connection)?;
        }
        connection.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))?;
    }
    // Flushes what an earlier process may have written without a flush before it was killed.
    touch(connection)?;
    Ok(SCHEMA_VERSION)
}
