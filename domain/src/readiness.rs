//! The port that says whether a process can do its work now.

use std::time::Duration;

use async_trait::async_trait;

/// Checks whether this process can do its work now.
#[async_trait]
pub trait ReadinessCheck: Send + Sync {
    /// Checks it, in a few seconds at most. Anybody may ask, as often as they like: what a check costs does not grow with
    /// the number of those who ask.
    async fn check(&self) -> Readiness;
}

/// What a check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Why the process cannot do its work; `None` if it can.
    pub unready: Option<Unready>,
    /// For how long the event has waited that waits to be handled the longest; `None` if none waits.
    pub oldest_waiting_event: Option<Duration>,
}

/// Why a process cannot do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// It was told to stop. Nothing else was checked.
    Stopping,
    /// A write failed, since the disk is full.
    DiskFull,
    /// A write failed for another reason.
    WriteFailed,
    /// A write took too long.
    WriteTimedOut,
}
