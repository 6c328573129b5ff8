//! Whether the server is ready: it was not told to stop, and what it writes is stored.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::readiness::{Readiness, ReadinessCheck, Unready};
use reachability_infra::clock;
use reachability_infra::sqlite::{Database, EventQueue, is_disk_full};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// How long a write may take.
const IN_TIME: Duration = Duration::from_secs(2);

/// For how long the result of a write is reused, so that those who ask cannot make the server write more often.
const REUSED_FOR: Duration = Duration::from_secs(1);

/// Checks the server.
pub(crate) struct ServerCheck {
    /// Whether it was told to stop.
    stopping: watch::Receiver<bool>,
    events: EventQueue,
    database: Database,
    last: Mutex<Write>,
}

/// A write that somebody has asked for. There is nothing in it while it is under way.
type Write = watch::Receiver<Option<Written>>;

/// What came of a write.
#[derive(Debug, Clone, Copy)]
struct Written {
    result: Result<(), Unready>,
    at: Instant,
}

impl ServerCheck {
    pub(crate) fn new(stopping: watch::Receiver<bool>, events: EventQueue, database: Database) -> Self {
        // As if a write had ended without a result.
        let none = watch::channel(None).1;
        Self { stopping, events, database, last: Mutex::new(none) }
    }

    /// The write that is under way or was done just now, or else a new one. There is never more than one under way, even if
    /// nobody waits for it any more.
    fn write(&self) -> Write {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let written = *last.borrow();
        let is_current = match written {
            Some(written) => written.at.elapsed() < REUSED_FOR,
            None => last.has_changed().is_ok(),
        };
        if !is_current {
            let (written, write) = watch::channel(None);
            let database = self.database.clone();
            tokio::spawn(async move {
                let result = database.probe().await.map_err(|error| {
                    warn!(error = %ErrorChain(&error), "the server is not ready, since it cannot write");
                    if is_disk_full(&error) { Unready::DiskFull } else { Unready::WriteFailed }
                });
                written.send_replace(Some(Written { result, at: Instant::now() }));
            });
            *last = write;
        }
        last.clone()
    }

    async fn unready(&self) -> Option<Unready> {
        if *self.stopping.borrow() {
            return Some(Unready::Stopping);
        }
        let mut write = self.write();
        match timeout(IN_TIME, write.wait_for(Option::is_some)).await {
            Ok(Ok(written)) => written.and_then(|written| written.result.err()),
            Ok(Err(_)) => Some(Unready::WriteFailed),
            Err(_) => Some(Unready::WriteTimedOut),
        }
    }
}

#[async_trait]
impl ReadinessCheck for ServerCheck {
    async fn check(&self) -> Readiness {
        let unready = self.unready().await;
        let oldest_waiting_event = self.events.oldest_event().map(|since| clock::now().since(since));
        Readiness { unready, oldest_waiting_event }
    }
}

#[cfg(test)]
mod tests;
