//! Consumes the queues and the feed: [`Worker`] turns events into presence, and keeps the timers; [`Pusher`] asks push
//! providers; [`Fanout`] tells of changes.
//!
//! The first two take messages as their queue delivers them ([`Envelope`]), and return those that they did not handle. Where the
//! messages come from, and what becomes of the others, is the caller's business.

mod directory;
mod envelope;
mod failure;
mod feed;
mod presence;
mod push;

pub use crate::envelope::Envelope;
pub use crate::failure::Failure;
pub use crate::feed::{Fanout, StoredWrite};
pub use crate::presence::{Worker, WorkerPorts};
pub use crate::push::{Pusher, PusherPorts};
