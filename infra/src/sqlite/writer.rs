//! The writer: one thread that runs all writes, many of them in one transaction.
//!
//! All commits go through one log. After a power cut, what is left of it is a prefix, and a flush covers every commit
//! before it. So only a transaction with a write that owes somebody a flush is flushed; the others are covered by the next.

mod log;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use reachability_domain::metrics::Metrics;
use reachability_domain::panics;
use reachability_domain::store::StoreError;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::log::Log;
pub(super) use self::log::watch_log;
use super::database::unavailable;

/// Maximum number of queued writes. Further writers wait.
const WAITING_WRITES: usize = 4_096;

/// For how long another process may hold the database's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long what waits for a flush waits for one that is owed anyway, before there is one for it alone.
const FLUSH_AFTER: Duration = Duration::from_millis(35);

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
    pub(super) const SMALL: usize = 4_096;

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

/// The writer's thread panicked, so nothing can be stored any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the thread that writes to the database panicked: {0}")]
pub struct WriterPanicked(String);

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
    /// Whether the thread is to end once it has done what waits.
    closes: AtomicBool,
}

/// The way to the writer's thread, which runs until every handle is dropped or one of them closes it.
#[derive(Clone)]
pub(super) struct WriterThread {
    writes: mpsc::Sender<Write>,
    progress: Arc<Progress>,
    flushing: Arc<Mutex<()>>,
    /// How the thread ended; `None` while it runs.
    end: watch::Receiver<Option<Result<(), WriterPanicked>>>,
}

impl WriterThread {
    /// Starts it on this connection, whose log is watched. The metrics are told how long commits take.
    ///
    /// # Errors
    /// If there is no further thread.
    pub(super) fn start(
        connection: Connection,
        log_pages: Arc<AtomicI32>,
        metrics: Option<Arc<dyn Metrics>>,
    ) -> std::io::Result<Self> {
        let (writes, waiting) = mpsc::channel(WAITING_WRITES);
        let progress = Arc::new(Progress {
            begun: AtomicU64::new(0),
            flushed: watch::channel(0).0,
            flushed_pages: AtomicI32::new(0),
            closes: AtomicBool::new(false),
        });
        let log = Log::new(connection, progress.clone(), log_pages, metrics);
        let (ended, end) = watch::channel(None);
        let run = move || {
            // What a panic leaves behind is dropped with the thread: the connection, and the writes that wait.
            let done = catch_unwind(AssertUnwindSafe(|| log.run(waiting)));
            ended.send_replace(Some(done.map_err(|panic| WriterPanicked(panics::message(&*panic).to_owned()))));
        };
        std::thread::Builder::new().name("sqlite-writer".to_owned()).spawn(run)?;
        Ok(Self { writes, progress, flushing: Arc::default(), end })
    }

    /// Waits until the thread has panicked: for ever if it does not.
    pub(super) async fn panicked(&self) -> WriterPanicked {
        let mut end = self.end.clone();
        if let Ok(ended) = end.wait_for(|end| matches!(end, Some(Err(_)))).await
            && let Some(Err(panicked)) = &*ended
        {
            return panicked.clone();
        }
        std::future::pending().await
    }

    /// Ends the thread once it has done what was asked for before, and moved the log to the database. Later writes fail.
    ///
    /// # Errors
    /// If the thread panics, or has panicked.
    pub(super) async fn close(&self) -> Result<(), WriterPanicked> {
        self.progress.closes.store(true, Ordering::SeqCst);
        // Wakes the thread. It fails if the thread has ended.
        let _ = self.write(Terms::DERIVED, |_| Ok(()), |()| ()).await;
        let mut end = self.end.clone();
        // The thread says how it ends, whatever happens.
        end.wait_for(Option::is_some).await.map_or(Ok(()), |end| end.clone().unwrap_or(Ok(())))
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
        self.touch().await
    }

    /// Writes and flushes something.
    pub(super) async fn touch(&self) -> Result<(), StoreError> {
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

/// Whether a write failed since the disk is full.
pub fn is_disk_full(error: &StoreError) -> bool {
    let StoreError::Unavailable(cause) = error else { return false };
    let of_write = cause.downcast_ref::<rusqlite::Error>();
    let of_commit = || match cause.downcast_ref::<Arc<NotCommitted>>()?.as_ref() {
        NotCommitted::Sqlite(error) => Some(error),
        NotCommitted::Undone => None,
    };
    of_write.or_else(of_commit).and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::DiskFull)
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
