//! The writer: one thread that runs all writes, many of them in one transaction.
//!
//! All commits go through one log. After a power cut, what is left of it is a prefix, and a flush covers every commit
//! before it. So only a transaction with a write that owes somebody a flush is flushed; the others are covered by the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use reachability_domain::store::StoreError;
use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::database::unavailable;

/// Maximum number of queued writes. Further writers wait.
const WAITING_WRITES: usize = 4_096;

/// Maximum number of writes per commit, so that the first one does not wait too long.
const WRITES_PER_COMMIT: usize = 1_024;

/// At about how many bytes a commit ends.
const BYTES_PER_COMMIT: usize = 4 << 20;

/// The size of the log, in pages, from which on it is moved to the database: 64 MiB, since a page that was written many
/// times in between is moved only once.
const CHECKPOINT_PAGES: i32 = 16_384;

/// The size of the log, in pages, from which on writes wait until readers let go of it: 128 MiB.
const MAX_LOG_PAGES: i32 = 2 * CHECKPOINT_PAGES;

/// By how much the log grows before a checkpoint is tried again that readers prevented, in pages.
const CHECKPOINT_AGAIN_PAGES: i32 = 4_096;

/// For how long a checkpoint that writes wait for may wait for readers.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(500);

/// For how long another process may hold the database's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long what waits for a flush waits for one that is owed anyway, before there is one for it alone.
const FLUSH_AFTER: Duration = Duration::from_millis(35);

/// Instead of the log's size: nothing was written to it.
const NOTHING: i32 = -1;

/// What a write takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Whether somebody is promised that the write survives a power cut. Without it, the write survives the end of the
    /// process, and a power cut once a later write was flushed.
    pub(super) owes_flush: bool,
    /// About how many bytes it writes.
    pub(super) bytes: usize,
}

impl Terms {
    /// For a few small rows.
    const SMALL: usize = 4_096;

    /// For a few small rows that are promised to somebody.
    pub(super) const PROMISED: Self = Self { owes_flush: true, bytes: Self::SMALL };

    /// For a few small rows that can be derived from others again.
    pub(super) const DERIVED: Self = Self { owes_flush: false, bytes: Self::SMALL };
}

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
enum NotCommitted {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// SQLite does so by itself when the disk is full or does not work.
    #[error("the transaction was undone, since one of its writes failed")]
    Undone,
}

/// The result of a commit, shared by all its writes.
type Committed = Result<(), Arc<NotCommitted>>;

/// Answers the caller of a write.
type Answer = Box<dyn FnOnce(Committed) + Send>;

/// What a write did to its transaction.
struct Ran {
    /// Whether the transaction has this write and those before it, or, if the write failed, those before it alone.
    is_intact: bool,
    answer: Answer,
}

/// Runs a write in a transaction; without a connection if none could be begun.
type Run = Box<dyn FnOnce(Option<&Connection>) -> Ran + Send>;

struct Write {
    terms: Terms,
    run: Run,
}

/// How far the log has come.
struct Progress {
    /// The number of the last commit that was begun. Readers may see it.
    begun: AtomicU64,
    /// The number of the last commit that survives a power cut.
    flushed: watch::Sender<u64>,
    /// The size of the log up to there, in pages.
    flushed_pages: AtomicI32,
}

/// The way to the writer's thread, which runs until every handle is dropped.
#[derive(Clone)]
pub(super) struct WriterThread {
    writes: mpsc::Sender<Write>,
    progress: Arc<Progress>,
    flushing: Arc<Mutex<()>>,
}

impl WriterThread {
    /// Starts it on this connection, whose log is watched.
    ///
    /// # Errors
    /// If there is no further thread.
    pub(super) fn start(connection: Connection, log_pages: Arc<AtomicI32>) -> std::io::Result<Self> {
        let (writes, waiting) = mpsc::channel(WAITING_WRITES);
        let progress = Arc::new(Progress {
            begun: AtomicU64::new(0),
            flushed: watch::channel(0).0,
            flushed_pages: AtomicI32::new(0),
        });
        let log = Log {
            connection,
            progress: progress.clone(),
            pages: log_pages,
            flushes: None,
            checkpoint_at: CHECKPOINT_PAGES,
        };
        std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || log.run(waiting))?;
        Ok(Self { writes, progress, flushing: Arc::default() })
    }

    /// Runs a write, and what is to be done once it is committed: on the writer's thread, in the order of the commits, also
    /// if the caller is gone. Returns when both are done, or the write is rolled back.
    pub(super) async fn write<T, R, F, G>(&self, terms: Terms, write: F, then: G) -> Result<R, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        G: FnOnce(T) -> R + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            let ran = connection.map(|connection| undo_on_error(connection, write));
            let is_intact = ran.as_ref().is_none_or(|(_, is_intact)| *is_intact);
            let answer = Box::new(move |committed: Committed| {
                let committed = committed.map_err(|error| StoreError::Unavailable(Box::new(error)));
                let result = match ran {
                    // It may be why the commit failed too.
                    Some((Err(error @ StoreError::Unavailable(_)), _)) => Err(error),
                    Some((written, _)) => committed.and(written).map(then),
                    None => Err(committed.err().unwrap_or_else(stopped)),
                };
                // The caller may be gone.
                let _ = answer.send(result);
            });
            Ran { is_intact, answer }
        });
        self.writes.send(Write { terms, run }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Waits until everything that can be read now survives a power cut.
    pub(super) async fn flushed(&self) -> Result<(), StoreError> {
        let wanted = self.progress.begun.load(Ordering::SeqCst);
        let mut flushed = self.progress.flushed.subscribe();
        if let Ok(Ok(_)) = timeout(FLUSH_AFTER, flushed.wait_for(|flushed| *flushed >= wanted)).await {
            return Ok(());
        }
        // One for all who wait.
        let _turn = self.flushing.lock().await;
        if *self.progress.flushed.borrow() >= wanted {
            return Ok(());
        }
        self.write(Terms::PROMISED, |connection| touch(connection).map_err(unavailable), |()| ()).await
    }

    /// The size of the log, in pages, up to which it survives a power cut.
    pub(super) fn flushed_pages(&self) -> i32 {
        self.progress.flushed_pages.load(Ordering::SeqCst)
    }
}

/// Writes something, since a commit of nothing is not flushed. SQLite does not write what is the same as before, either.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE feed_position SET flushes = flushes + 1", []).map(drop)
}

/// Returns what will have the size of the log after a commit, in pages. A commit of nothing does not set it. From then on
/// SQLite makes no checkpoints by itself.
pub(super) fn watch_log(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicI32>> {
    let pages = Arc::new(AtomicI32::new(0));
    let committed = pages.clone();
    let hook = move |_: &mut Wal, pages| {
        committed.store(pages, Ordering::SeqCst);
        Ok(())
    };
    connection.wal_hook(Some(hook))?;
    Ok(pages)
}

/// The writer's thread.
struct Log {
    connection: Connection,
    progress: Arc<Progress>,
    /// The size of the log after the last commit, in pages.
    pages: Arc<AtomicI32>,
    /// Whether commits are flushed; `None` before the first.
    flushes: Option<bool>,
    /// At which size of the log the next checkpoint is tried, in pages.
    checkpoint_at: i32,
}

impl Log {
    fn run(mut self, mut waiting: mpsc::Receiver<Write>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut bytes = first.terms.bytes;
            let mut batch = VecDeque::from([first]);
            while batch.len() < WRITES_PER_COMMIT && bytes < BYTES_PER_COMMIT {
                let Ok(next) = waiting.try_recv() else { break };
                bytes += next.terms.bytes;
                batch.push_back(next);
            }
            while !batch.is_empty() {
                self.commit(&mut batch);
            }
            self.checkpoint();
        }
    }

    /// Runs writes of a batch in one transaction: all, or those up to the one with which SQLite left the transaction.
    fn commit(&mut self, batch: &mut VecDeque<Write>) {
        let owes_flush = batch.iter().any(|write| write.terms.owes_flush);
        let begun = self.begin(owes_flush);
        let connection = begun.is_ok().then_some(&self.connection);
        let mut answers = Vec::with_capacity(batch.len());
        let mut is_intact = true;
        while is_intact && let Some(write) = batch.pop_front() {
            let ran = (write.run)(connection);
            answers.push(ran.answer);
            is_intact = ran.is_intact && connection.is_none_or(|connection| !connection.is_autocommit());
        }
        let committed = match begun {
            Ok(()) if is_intact => self.end(owes_flush),
            Ok(()) => Err(NotCommitted::Undone),
            Err(error) => Err(error.into()),
        };
        if !self.connection.is_autocommit() {
            // Not committed. All its writes are rolled back and answered with the error.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let committed = committed.map_err(Arc::new);
        for answer in answers {
            answer(committed.clone());
        }
    }

    fn begin(&mut self, owes_flush: bool) -> rusqlite::Result<()> {
        // It cannot be changed in a transaction.
        if self.flushes != Some(owes_flush) {
            self.flushes = None;
            let level = if owes_flush { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.flushes = Some(owes_flush);
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    fn end(&self, owes_flush: bool) -> Result<(), NotCommitted> {
        // Before the commit, since readers see it before it returns.
        let number = self.progress.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let before = self.pages.swap(NOTHING, Ordering::SeqCst);
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        let is_empty = self.pages.load(Ordering::SeqCst) == NOTHING;
        if is_empty {
            self.pages.store(before, Ordering::SeqCst);
        }
        committed?;
        // A commit of nothing flushes nothing, and is flushed if all before it are.
        if (owes_flush && !is_empty) || (is_empty && *self.progress.flushed.borrow() + 1 == number) {
            self.progress.flushed_pages.store(self.pages.load(Ordering::SeqCst), Ordering::SeqCst);
            self.progress.flushed.send_replace(number);
        }
        Ok(())
    }

    /// Moves a log that has become long to the database. The next commit begins it anew, if no reader needs it then.
    fn checkpoint(&mut self) {
        let pages = self.pages.load(Ordering::SeqCst);
        if pages < CHECKPOINT_PAGES {
            self.checkpoint_at = CHECKPOINT_PAGES;
        }
        if pages < self.checkpoint_at {
            return;
        }
        self.checkpoint_at = pages + CHECKPOINT_AGAIN_PAGES;
        let checkpoint = |mode| self.connection.wal_checkpoint_v2(None::<&str>, mode);
        let done = if pages < MAX_LOG_PAGES {
            checkpoint(CheckpointMode::PASSIVE)
        } else {
            // There was always a reader that needed the log. New ones do not once all of it is moved.
            let _ = self.connection.busy_timeout(CHECKPOINT_WAIT);
            let done = checkpoint(CheckpointMode::TRUNCATE);
            let _ = self.connection.busy_timeout(BUSY_TIMEOUT);
            done
        };
        if let Err(error) = done {
            tracing::warn!(%error, pages, "the log of the database could not be shortened");
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".into())
}

/// Runs one write of a shared transaction in a savepoint, so that its failure does not affect the others. Returns also
/// whether the transaction can be committed.
fn undo_on_error<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> (Result<T, StoreError>, bool) {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(unavailable);
    if let Err(error) = run("SAVEPOINT one") {
        return (Err(error), true);
    }
    let written = write(connection);
    let ended = match &written {
        Ok(_) => run("RELEASE one"),
        Err(_) => run("ROLLBACK TO one").and_then(|_| run("RELEASE one")),
    };
    match ended {
        Ok(_) => (written, true),
        // What the write did may still be in the transaction.
        Err(error) => (written.and(Err(error)), false),
    }
}

#[cfg(test)]
mod tests;
