//! What waits in one process, and how much it stores.

use std::time::Duration;

/// What waits, and how much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Events that are not handled yet.
    pub events: Queued,
    /// Timers, and events that are tried again later. The oldest is the one that is overdue for longest.
    pub timers: Queued,
    /// Work for push providers. The oldest is the one that is overdue for longest.
    pub pushes: Queued,
    /// Webhooks that are not delivered yet.
    pub webhooks: Queued,
    /// Dead letters.
    pub dead_letters: DeadLetters,
    /// The size of the database's file.
    pub database_bytes: u64,
    /// The size of its log, the file beside it.
    pub log_bytes: u64,
}

/// What is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queued {
    /// How many messages.
    pub messages: u64,
    /// For how long the oldest one waits; zero if none does.
    pub oldest: Duration,
}

/// How many dead letters there are of each queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeadLetters {
    /// Events and timers.
    pub events: u64,
    /// Work for push providers.
    pub pushes: u64,
    /// Webhooks.
    pub webhooks: u64,
}
