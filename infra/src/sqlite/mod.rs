//! SQLite: the store and the queue of one process, in one file.
//!
//! What was answered as written survives the end of the process at any moment, and of the machine's power: the journal
//! is flushed before an answer. Since a flush is what costs, all writes go through one thread that commits whatever has
//! come in together. Readers have connections of their own and never wait for it.

mod bindings;
mod database;
mod queue;
mod users;

pub use database::{Database, OpenError};
pub use queue::{DeadLetter, Delivered, SqliteQueue};
pub use users::SqliteStore;
