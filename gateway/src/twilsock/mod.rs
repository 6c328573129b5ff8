//! Twilsock: the protocol of the vendor's clients. One WebSocket message is one packet.
//!
//! * [`settings`]: settings and limits
//! * [`input`], [`action`]: what a shell tells a session, and what a session tells its shell to do
//! * [`session`]: the steps

pub mod action;
pub mod input;
pub mod session;
pub mod settings;

pub use action::{Action, Asked, UpstreamRequest};
pub use input::{Cause, FoundMap, Input, Opened, Refusal, RequestNumber, Response};
pub use session::Session;
pub use settings::{Expiry, Settings};
