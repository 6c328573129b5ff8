//! Twilsock: the protocol of the vendor's clients. One WebSocket message is one packet.
//!
//! * [`settings`]: settings and limits
//! * [`input`], [`action`]: what a shell tells a session, and what a session tells its shell to do
//! * [`session`]: the steps
//! * [`codec`]: packets as bytes; `packet` has those that a server sends

pub mod action;
pub mod codec;
pub mod input;
mod open;
pub(crate) mod packet;
pub mod session;
pub mod settings;
mod subscriptions;
mod upstream;

pub use action::{Action, Asked, UpstreamRequest};
pub use input::{Input, RequestNumber, Response};
pub use session::Session;
pub use settings::{Expiry, Settings};

pub use crate::session::{Cause, Opened, Refusal};
