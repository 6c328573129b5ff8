//! The queue port: what waits to be handled.

use std::error::Error;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::event::{Event, InvalidEvent};
use crate::identity::{ConnectionId, Identity, UserKey};
use crate::sid::ServiceSid;
use crate::time::Timestamp;

/// A timer, as a delayed message: look at this connection then. The end of a grace period or of a lease has no event of
/// its own, and somebody has to tell the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whose connection.
    pub user: UserKey,
    /// Which one.
    pub connection: ConnectionId,
    /// When: a quarter of an hour ahead at most, since queues do not hold messages for much longer.
    pub due_at: Timestamp,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Something happened outside. The message's body is the event itself.
    Event(Event),
    /// A timer.
    Check(Check),
}

#[derive(Serialize, Deserialize)]
struct WrittenCheck {
    #[serde(rename = "type")]
    kind: CheckKind,
    service_sid: ServiceSid,
    identity: Identity,
    connection_id: ConnectionId,
    /// Milliseconds since the epoch.
    due_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CheckKind {
    Check,
}

impl Message {
    /// Reads a message's body.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, InvalidEvent> {
        match Event::parse(body) {
            Err(InvalidEvent::Type) => match serde_json::from_slice::<WrittenCheck>(body) {
                Ok(check) => Ok(Self::Check(Check {
                    user: UserKey { service: check.service_sid, identity: check.identity },
                    connection: check.connection_id,
                    due_at: check.due_at,
                })),
                Err(_) => Err(InvalidEvent::Type),
            },
            event => event.map(Self::Event),
        }
    }

    /// Writes the body as [`Message::parse`] reads it.
    pub fn to_json(&self) -> String {
        match self {
            Self::Event(event) => event.to_json(),
            Self::Check(check) => serde_json::to_string(&WrittenCheck {
                kind: CheckKind::Check,
                service_sid: check.user.service,
                identity: check.user.identity.clone(),
                connection_id: check.connection.clone(),
                due_at: check.due_at,
            })
            // Strings and numbers: there is nothing in it that JSON cannot hold.
            .unwrap_or_default(),
        }
    }

    /// When to deliver it: `None` for at once.
    pub fn deliver_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(_) => None,
            Self::Check(check) => Some(check.due_at),
        }
    }
}

/// The queue could not be reached or did not take the messages. Some may have been taken; sending all again is harmless.
#[derive(Debug, thiserror::Error)]
#[error("the queue is not available")]
pub struct QueueError(#[source] pub Box<dyn Error + Send + Sync>);

/// Takes messages and delivers each at least once, in any order.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends messages. Once it returns they are not lost.
    ///
    /// # Errors
    /// If any of them was not taken.
    async fn send(&self, messages: &[Message]) -> Result<(), QueueError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_read_as_it_was_written() {
        let check = Message::Check(Check {
            user: UserKey {
                service: "IS00000000000000000000000000000001".parse().unwrap(),
                identity: "bob@x.com".parse().unwrap(),
            },
            connection: "c-1".parse().unwrap(),
            due_at: Timestamp::from_millis(1_795_171_200_123),
        });
        assert_eq!(Message::parse(check.to_json().as_bytes()).unwrap(), check);
        assert_eq!(check.deliver_at(), Some(Timestamp::from_millis(1_795_171_200_123)));
        // The door takes events only.
        assert!(matches!(Event::parse(check.to_json().as_bytes()), Err(InvalidEvent::Type)));
    }
}
