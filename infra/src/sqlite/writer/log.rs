//! The writer's thread: batches of writes, their commits, and the checkpoints.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use reachability_domain::metrics::{Metrics, Timing};
use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use tokio::sync::mpsc;

use super::{BUSY_TIMEOUT, NotCommitted, Progress, Write};

/// Maximum number of writes per commit, so that the first one does not wait too long.
const WRITES_PER_COMMIT: usize = 1_024;

/// At about how many bytes a commit ends.
const BYTES_PER_COMMIT: usize = 4 << 20;

/// The size of the log, in pages, from which on it is moved to the database: 64 MiB, since a page that was written many
/// times in between is moved only once.
const CHECKPOINT_PAGES: i32 = 16_384;

/// The size of the log, in pages, from which on writes wait until readers let go of it: 128 MiB.
pub(super) const MAX_LOG_PAGES: i32 = 2 * CHECKPOINT_PAGES;

/// By how much the log grows before a checkpoint is tried again that readers prevented, in pages.
const CHECKPOINT_AGAIN_PAGES: i32 = 4_096;

/// For how long a checkpoint that writes or the end of the process wait for may wait for readers.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(500);

/// Instead of the log's size: nothing was written to it.
const NOTHING: i32 = -1;

/// Returns what will have the size of the log after a commit, in pages. A commit of nothing does not set it. From then on
/// SQLite makes no checkpoints by itself.
pub(in crate::sqlite) fn watch_log(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicI32>> {
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
pub(super) struct Log {
    connection: Connection,
    progress: Arc<Progress>,
    /// The size of the log after the last commit, in pages.
    pages: Arc<AtomicI32>,
    /// Whether commits are flushed; `None` before the first.
    flushes: Option<bool>,
    /// At which size of the log the next checkpoint is tried, in pages.
    checkpoint_at: i32,
    metrics: Option<Arc<dyn Metrics>>,
}

impl Log {
    pub(super) fn new(
        connection: Connection,
        progress: Arc<Progress>,
        pages: Arc<AtomicI32>,
        metrics: Option<Arc<dyn Metrics>>,
    ) -> Self {
        Self { connection, progress, pages, flushes: None, checkpoint_at: CHECKPOINT_PAGES, metrics }
    }

    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Write>) {
        // What the last transaction did not take.
        let mut batch = VecDeque::new();
        loop {
            if batch.is_empty() {
                let first = if self.progress.closes.load(Ordering::SeqCst) {
                    waiting.close();
                    // It does not wait for those who were about to queue a write.
                    waiting.try_recv().ok()
                } else {
                    waiting.blocking_recv()
                };
                let Some(first) = first else { break };
                batch.push_back(first);
            }
            while batch.len() < WRITES_PER_COMMIT
                && let Ok(next) = waiting.try_recv()
            {
                batch.push_back(next);
            }
            self.commit(&mut batch, &mut waiting);
            self.checkpoint();
        }
        // Beside a server that runs, the log is the server's.
        if self.progress.closes.load(Ordering::SeqCst)
            && let Err(error) = self.empty()
        {
            tracing::warn!(%error, "the log of the database could not be moved to it, and has some of the data");
        }
    }

    /// Runs writes in one transaction: those of the batch and those that come meanwhile, as many as fit, up to one with which
    /// SQLite leaves the transaction, or which owes a flush where none is planned.
    fn commit(&mut self, batch: &mut VecDeque<Write>, waiting: &mut mpsc::Receiver<Write>) {
        let owes_flush = batch.iter().any(|write| write.terms.owes_flush);
        let begun = self.begin(owes_flush);
        let connection = begun.is_ok().then_some(&self.connection);
        let mut answers = Vec::with_capacity(batch.len());
        let (mut bytes, mut is_intact) = (0, true);
        while is_intact
            && answers.len() < WRITES_PER_COMMIT
            && bytes < BYTES_PER_COMMIT
            && let Some(write) = batch.pop_front().or_else(|| connection.and_then(|_| waiting.try_recv().ok()))
        {
            if write.terms.owes_flush && !owes_flush {
                batch.push_front(write);
                break;
            }
            bytes += write.terms.bytes;
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
        let started = Instant::now();
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        let is_empty = self.pages.load(Ordering::SeqCst) == NOTHING;
        if is_empty {
            self.pages.store(before, Ordering::SeqCst);
        }
        committed?;
        if let Some(metrics) = &self.metrics
            && !is_empty
        {
            metrics.measure(if owes_flush { Timing::StoreFlush } else { Timing::StoreCommit }, started.elapsed());
        }
        // A commit of nothing flushes nothing, and is flushed if all before it are.
        if (owes_flush && !is_empty) || (is_empty && *self.progress.flushed.borrow() + 1 == number) {
            self.progress.flushed_pages.store(self.pages.load(Ordering::SeqCst), Ordering::SeqCst);
            self.progress.flushed.send_replace(number);
        }
        Ok(())
    }

    /// Moves a log that has become long to the database. The next commit starts it from its beginning, if no reader needs it
    /// then.
    fn checkpoint(&mut self) {
        let pages = self.pages.load(Ordering::SeqCst);
        if pages < CHECKPOINT_PAGES {
            self.checkpoint_at = CHECKPOINT_PAGES;
        }
        if pages < self.checkpoint_at {
            return;
        }
        self.checkpoint_at = pages + CHECKPOINT_AGAIN_PAGES;
        let done = if pages < MAX_LOG_PAGES {
            self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE).map(drop)
        } else {
            // There was always a reader that needed the log. New ones do not once all of it is moved.
            self.empty()
        };
        if let Err(error) = done {
            tracing::warn!(%error, pages, "the log of the database could not be shortened");
        }
    }

    /// Moves the log to the database, and cuts it, if readers let go of it in time. The log is flushed before anything of it
    /// is moved, and the database before the log is cut: a power cut takes back no more than before.
    fn empty(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(CHECKPOINT_WAIT)?;
        let done = self.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE);
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        done.map(drop)
    }
}
