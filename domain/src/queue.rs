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

/// What is left of a service that was deleted is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// Which service it was.
    pub service: ServiceSid,
    /// When: once nobody takes it for one that exists.
    pub due_at: Timestamp,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Something happened outside. The message's body is the event itself.
    Event(Event),
    /// A timer.
    Check(Check),
    /// A clean-up.
    Purge(Purge),
}

/// The messages that are ours, as they are written. Times are milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written {
    Check { service_sid: ServiceSid, identity: Identity, connection_id: ConnectionId, due_at: Timestamp },
    Purge { service_sid: ServiceSid, due_at: Timestamp },
}

impl Message {
    /// Reads a message's body.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, InvalidEvent> {
        match Event::parse(body) {
            Err(InvalidEvent::Type) => match serde_json::from_slice(body) {
                Ok(Written::Check { service_sid, identity, connection_id, due_at }) => Ok(Self::Check(Check {
                    user: UserKey { service: service_sid, identity },
                    connection: connection_id,
                    due_at,
                })),
                Ok(Written::Purge { service_sid, due_at }) => Ok(Self::Purge(Purge { service: service_sid, due_at })),
                Err(_) => Err(InvalidEvent::Type),
            },
            event => event.map(Self::Event),
        }
    }

    /// Writes the body as [`Message::parse`] reads it.
    pub fn to_json(&self) -> String {
        let written = match self {
            Self::Event(event) => return event.to_json(),
            Self::Check(check) => Written::Check {
                service_sid: check.user.service,
                identity: check.user.identity.clone(),
                connection_id: check.connection.clone(),
                due_at: check.due_at,
            },
            Self::Purge(purge) => Written::Purge { service_sid: purge.service, due_at: purge.due_at },
        };
        // Strings and numbers: there is nothing in it that JSON cannot hold.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// When to deliver it: `None` for at once.
    pub fn deliver_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(_) => None,
            Self::Check(check) => Some(check.due_at),
            Self::Purge(purge) => Some(purge.due_at),
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
    fn what_is_ours_is_read_as_it_was_written() {
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
        let purge = Message::Purge(Purge {
            service: "IS00000000000000000000000000000001".parse().unwrap(),
            due_at: Timestamp::from_millis(1_795_171_200_123),
        });
        assert_eq!(Message::parse(purge.to_json().as_bytes()).unwrap(), purge);
        // The door takes events only.
        assert!(matches!(Event::parse(check.to_json().as_bytes()), Err(InvalidEvent::Type)));
    }
}
