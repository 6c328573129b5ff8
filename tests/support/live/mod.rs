//! The vendor's own live clients, unmodified, in Node and in a browser, which a test tells what to do.

mod client;
mod place;
mod program;
mod said;

pub use client::Live;
pub use place::{Key, Place};
pub use program::{Library, Program};
pub use said::Said;
