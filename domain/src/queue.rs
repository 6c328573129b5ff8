//! The queue port: what waits to be handled. Each queue has messages of a type of its own.

use std::error::Error;

use async_trait::async_trait;

use crate::presence::event::InvalidEvent;
use crate::time::Timestamp;

/// What a queue holds.
pub trait Message: Sized + Send + Sync + 'static {
    /// Reads a message's body.
    ///
    /// # Errors
    /// If it is no message of this queue.
    fn parse(body: &[u8]) -> Result<Self, InvalidMessage>;

    /// Writes the body as [`Message::parse`] reads it.
    fn to_json(&self) -> String;

    /// When to deliver it: `None` for at once.
    fn due_at(&self) -> Option<Timestamp>;
}

/// Why a body is no message of its queue.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// It should be an event, and is none.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// It is not JSON, or not of this form.
    #[error("malformed JSON: {0}")]
    Json(String),
}

/// The queue could not be reached or did not take the messages. Some may have been taken; sending all again is harmless.
#[derive(Debug, thiserror::Error)]
#[error("the queue is not available")]
pub struct QueueError(#[source] pub Box<dyn Error + Send + Sync>);

/// Takes messages and delivers each at least once, in any order.
#[async_trait]
pub trait Queue<M>: Send + Sync {
    /// Sends messages. Once it returns they are not lost.
    ///
    /// # Errors
    /// If any of them was not taken.
    async fn send(&self, messages: &[M]) -> Result<(), QueueError>;
}
