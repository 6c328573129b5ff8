//! The change feed: publishes changes of stored records.

mod fanout;

pub use self::fanout::{Fanout, StoredWrite};
