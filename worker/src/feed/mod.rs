//! From what was stored to those who are told of changes.

mod fanout;

pub use self::fanout::{Fanout, StoredWrite};
