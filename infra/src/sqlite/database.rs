//! The database file: one connection for writes, a few for reads.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::service::Service;
use reachability_domain::metrics::{Metrics, Timing};
use reachability_domain::sid::{KeySid, ServiceSid};
use reachability_domain::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::known::Known;
use super::migrations::{SCHEMA_VERSION, migrate};
use super::readers::Readers;
use super::upkeep::Upkeep;
use super::writer::{BUSY_TIMEOUT, Terms, WriterThread, touch, watch_log};
use crate::credentials::seal::Seal;

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
    /// The file or its log is not there, though it was opened.
    #[error("cannot find the files of {path}")]
    Find {
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
    /// The secrets of API keys that an earlier version stored in the clear could not be sealed.
    #[error("cannot seal the API keys in {path}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: StoreError,
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
    pub(super) writer: WriterThread,
    pub(super) upkeep: Arc<Upkeep>,
    pub(super) readers: Arc<Readers>,
    pub(super) services: Arc<Known<ServiceSid, Service>>,
    pub(super) keys: Arc<Known<KeySid, ApiKey>>,
    pub(super) seal: Arc<Seal>,
    metrics: Option<Arc<dyn Metrics>>,
}

impl Database {
    /// Opens the file, or creates it with access for the owner only, and brings it up to date. The seal is for the secrets of
    /// API keys.
    ///
    /// # Errors
    /// If the file cannot be created, is not a database, cannot be brought up to date, or was written by a newer version.
    pub fn open(path: &Path, seal: Arc<Seal>) -> Result<Self, OpenError> {
        Self::open_or_create(path, seal, None)
    }

    /// As [`Database::open`]. The metrics are told how long its operations take.
    ///
    /// # Errors
    /// As of [`Database::open`].
    pub fn measured(path: &Path, seal: Arc<Seal>, metrics: Arc<dyn Metrics>) -> Result<Self, OpenError> {
        Self::open_or_create(path, seal, Some(metrics))
    }

    fn open_or_create(path: &Path, seal: Arc<Seal>, metrics: Option<Arc<dyn Metrics>>) -> Result<Self, OpenError> {
        let create_error = |source| OpenError::Create { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // SQLite's journal files get the same permissions.
        options.open(path).map_err(create_error)?;

        let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(sqlite_error)?;
        let found = configure(&connection).map_err(sqlite_error)?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found });
        }
        migrate(&connection, found, &seal).map_err(|error| error.at(path))?;
        // Flushes what an earlier process may have written without a flush before it was killed.
        touch(&connection).map_err(sqlite_error)?;
        Self::start(connection, path, seal, metrics)
    }

    /// Opens the file of a server that may be running: creates nothing, and leaves the schema as it is.
    ///
    /// # Errors
    /// If there is no such file, if it is not a database, or if another version of this program wrote it.
    pub fn open_beside_server(path: &Path, seal: Arc<Seal>) -> Result<Self, OpenError> {
        let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite_error)?;
        let found = configure(&connection).map_err(sqlite_error)?;
        if found != SCHEMA_VERSION {
            return Err(OpenError::Other { path: path.to_owned(), found });
        }
        Self::start(connection, path, seal, None)
    }

    fn start(
        mut connection: Connection,
        path: &Path,
        seal: Arc<Seal>,
        metrics: Option<Arc<dyn Metrics>>,
    ) -> Result<Self, OpenError> {
        let log_pages =
            watch_log(&mut connection).map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        let upkeep = Upkeep::of(path).map_err(|source| OpenError::Find { path: path.to_owned(), source })?;
        let writer = WriterThread::start(connection, log_pages, metrics.clone())
            .map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
        let (upkeep, readers) = (Arc::new(upkeep), Arc::new(Readers::of(path)));
        Ok(Self { writer, upkeep, readers, services: Arc::default(), keys: Arc::default(), seal, metrics })
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
        self.upkeep.writes.fetch_add(1, Ordering::SeqCst);
        let started = Instant::now();
        let written = self.writer.write(terms, write, then).await;
        self.measure(Timing::StoreWrite, started);
        written
    }

    /// Tells the metrics how long something took until now.
    pub(super) fn measure(&self, timing: Timing, started: Instant) {
        if let Some(metrics) = &self.metrics {
            metrics.measure(timing, started.elapsed());
        }
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
    // Overwrites what is deleted where that takes no further write.
    connection.pragma_update(None, "secure_delete", "FAST")?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise SQLite plans some statements again for each set of parameters.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
