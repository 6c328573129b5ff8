//! The upkeep of an open database: whether it still works, and moving its log into it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reachability_domain::store::StoreError;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::database::{Database, unavailable};
use super::files::{FileLost, OpenFiles};
use super::writer::WriterPanicked;

/// What the upkeep knows.
pub(super) struct Upkeep {
    path: PathBuf,
    files: Arc<OpenFiles>,
    /// How many writes were asked for, except those that only flush.
    pub(super) writes: AtomicU64,
    /// Held while the log is moved: SQLite refuses a second one who does so.
    moving: Arc<Mutex<()>>,
}

impl Upkeep {
    /// For a database that was opened just now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let files = Arc::new(OpenFiles::of(path)?);
        Ok(Self { path: path.to_owned(), files, writes: AtomicU64::new(0), moving: Arc::default() })
    }

    /// The sizes of the database and of its log, in bytes.
    pub(super) fn sizes(&self) -> io::Result<(u64, u64)> {
        self.files.sizes()
    }
}

impl Database {
    /// Writes and flushes a little: whether that works now.
    ///
    /// # Errors
    /// If it does not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.writer.touch().await
    }

    /// Waits until the writer's thread has panicked: for ever if it does not.
    pub async fn panicked(&self) -> WriterPanicked {
        self.writer.panicked().await
    }

    /// Whether the database, its log and its locks are still where they were opened.
    ///
    /// # Errors
    /// If one of them is not.
    pub async fn check_files(&self) -> Result<(), FileLost> {
        let files = self.upkeep.files.clone();
        // A file system of another machine may take long. What fails otherwise says nothing of the files.
        spawn_blocking(move || files.check()).await.unwrap_or(Ok(()))
    }

    /// How many writes were asked for, except those that only flush.
    pub fn writes(&self) -> u64 {
        self.upkeep.writes.load(Ordering::SeqCst)
    }

    /// Moves the log to the database, which alone then has everything that was written before. Other writes need not wait
    /// meanwhile. Returns whether all of it was moved: readers may need it as it is.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn move_log(&self) -> Result<bool, StoreError> {
        let turn = self.upkeep.moving.clone().lock_owned().await;
        let path = self.upkeep.path.clone();
        let moving = move || {
            let _turn = turn;
            move_log(&path).map_err(unavailable)
        };
        let moved = spawn_blocking(moving).await.map_err(|error| StoreError::Unavailable(error.into()))??;
        if moved.pages > 0 && moved.is_all {
            // The next commit starts the log from its beginning. That takes a flush, for which nobody is to wait who owes none.
            self.writer.touch().await?;
        }
        Ok(moved.is_all)
    }

    /// Closes it, once all writes that were asked for before are done, and moves its log into it: the database alone then has
    /// everything. Later writes fail. If the log cannot be moved, that is logged, and nothing is lost.
    ///
    /// # Errors
    /// If the writer's thread panics, or has panicked.
    pub async fn close(&self) -> Result<(), WriterPanicked> {
        let _turn = self.upkeep.moving.lock().await;
        // The last connection to be closed removes the log, and only the writer's can.
        self.readers.close();
        self.writer.close().await
    }
}

struct Moved {
    pages: i32,
    is_all: bool,
}

/// Moves the log on a connection of its own: writes are appended to the log meanwhile. Like any other move it flushes the log
/// first.
fn move_log(path: &Path) -> rusqlite::Result<Moved> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // A connection does not know of the log before it has read something.
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))?;
    let (pages, moved) = connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
    Ok(Moved { pages: moved, is_all: moved == pages })
}

#[cfg(test)]
mod tests;
