//! The queue port. Each queue has its own message type.

pub mod backoff;

use std::error::Error;

use async_trait::async_trait;

use crate::presence::event::InvalidEvent;
use crate::sid::ServiceSid;
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

    /// The service that it is about, which a queue is to be fair to; `None` if it is about all.
    fn service(&self) -> Option<ServiceSid>;
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

/// Why a queue takes no more messages for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many of this service wait as may wait of one.
    #[error("too many events of this service wait: at most {0}")]
    Service(usize),
    /// As many wait as may wait of all services together.
    #[error("too many events wait: at most {0}")]
    All(usize),
}

/// Why messages were not sent.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no room for them. None was accepted.
    #[error(transparent)]
    Full(#[from] Full),
    /// The queue is unreachable or rejected messages. Some may have been accepted; sending all of them again is harmless.
    #[error("the queue is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Delivers each message at least once, in any order.
#[async_trait]
pub trait Queue<M>: Send + Sync {
    /// Sends messages. When it returns, they are stored durably.
    ///
    /// # Errors
    /// If any message was not accepted.
    async fn send(&self, messages: &[M]) -> Result<(), QueueError>;

    /// Whether there is room for another event of this service, so that nobody reads events that would be refused. A queue
    /// without limits always has room.
    ///
    /// # Errors
    /// If there is none.
    fn room(&self, _service: ServiceSid) -> Result<(), Full> {
        Ok(())
    }
}
