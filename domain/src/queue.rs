//! The queue port. Each queue has its own message type.

use std::error::Error;

use async_trait::async_trait;

use crate::presence::event::InvalidEvent;
use crate::time::Timestamp;

/// A message of a queue.
pub trait Message: Sized + Send + Sync + 'static {
    /// Parses a message's body.
    ///
    /// # Errors
    /// If it is not a message of this queue.
    fn parse(body: &[u8]) -> Result<Self, InvalidMessage>;

    /// Serializes the message in the form that [`Message::parse`] reads.
    fn to_json(&self) -> String;

    /// When to deliver it; `None` for immediately.
    fn due_at(&self) -> Option<Timestamp>;
}

/// Why a body is not a message of its queue.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// An invalid event.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// Not JSON, or not in the form of any message.
    #[error("malformed JSON: {0}")]
    Json(String),
}

/// The queue is unreachable or rejected messages. Some may have been accepted; sending all of them again is harmless.
#[derive(Debug, thiserror::Error)]
#[error("the queue is not available")]
pub struct QueueError(#[source] pub Box<dyn Error + Send + Sync>);

/// Delivers each message at least once, in any order.
#[async_trait]
pub trait Queue<M>: Send + Sync {
    /// Sends messages. When it returns, they are stored durably.
    ///
    /// # Errors
    /// If any message was not accepted.
    async fn send(&self, messages: &[M]) -> Result<(), QueueError>;
}
