//! What sessions have in common, whatever protocol they speak.
//!
//! * [`input`]: what a shell tells every session
//! * [`timing`]: when a client counts as gone, and other times
//! * `life`, `token`: parts of a session's state

pub mod input;
pub(crate) mod life;
pub mod timing;
pub(crate) mod token;

pub use input::{Cause, Opened, Refusal};
pub use timing::Timing;
