//! Consumes the queues and the feed: [`Worker`] computes presence from events and sets timers; [`Pusher`] sends
//! requests to push providers; [`Fanout`] publishes changes; [`Webhooks`] tells them to owners' servers.
//!
//! `Worker`, `Pusher` and `Webhooks` take messages as their queue delivers them ([`Envelope`]), and return what came of them.
//! The caller fetches and acknowledges the messages.

mod directory;
mod envelope;
mod failure;
mod feed;
mod presence;
mod push;
mod webhook;

pub use crate::envelope::{Envelope, Received};
pub use crate::failure::Failure;
pub use crate::feed::{Fanout, StoredWrite};
pub use crate::presence::{Worker, WorkerPorts};
pub use crate::push::{Pusher, PusherPorts};
pub use crate::webhook::{WebhookOutbox, WebhookOutcome, WebhookPorts, Webhooks};
