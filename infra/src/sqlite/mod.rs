//! SQLite: the store and the queue of one process, in one file.
//!
//! What was answered as written survives the end of the process at any moment, and of the machine's power: the journal
//! is flushed before an answer. Since a flush is what costs, all writes go through one thread that commits whatever has
//! come in together. Readers have connections of their own and never wait for it.
//!
//! Of the modules, `database` runs reads and writes, `rows` says once how rows are read and written, and `records` has
//! what several ports write. Each of the others implements a port or a few, and knows none of its neighbours.

mod bindings;
mod credentials;
mod database;
mod directory;
mod garbage;
mod notifications;
mod queue;
mod records;
mod rows;
mod states;
mod store;
mod users;

pub use database::{Database, OpenError};
pub use queue::{DeadLetter, Delivered, SqliteQueue};
pub use store::SqliteStore;
