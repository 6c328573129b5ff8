//! SQLite: the store and the queue of a single process, in one file.
//!
//! A write that was answered survives a crash of the process or a power failure: the journal is flushed before the
//! answer. Since the flush dominates the cost, all writes go through one thread, which commits all waiting writes
//! together. Readers have their own connections and never wait for writers. A short read runs where it is asked for.
//!
//! The modules `database` and `readers` run writes and reads, `rows` reads and writes rows, and `records` has the writes
//! that several ports share. Every other module implements ports and depends on none of its siblings.

mod bindings;
mod credentials;
mod database;
mod directory;
mod events;
mod feed;
mod garbage;
mod notifications;
mod presence;
mod queue;
mod readers;
mod records;
mod rows;
mod states;
mod store;
mod users;
mod waiting;
mod writer;

pub use database::{Database, OpenError};
pub use events::EventQueue;
pub use feed::{FeedRow, Retention, SqliteFeed};
pub use queue::{DeadLetter, Delivered, Outcome, PushQueue};
pub use store::SqliteStore;
pub use waiting::{Receipt, Taken, WaitingLimits};
