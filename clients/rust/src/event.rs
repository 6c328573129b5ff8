//! What a client tells without being asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::disconnect::Disconnect;
use crate::error::Refusal;
use crate::user::User;

/// Something that happened. `at` is when, in RFC 3339; `None` if it happened while the client was not connected, and was found
/// out afterwards.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A watched user's `online`, `notifiable`, `status` or `last_active` changed.
    PresenceChanged {
        /// The user as it is now.
        user: Arc<User>,
        /// When.
        at: Option<Arc<str>>,
    },
    /// A watched user's name or custom data changed.
    UserUpdated {
        /// The user as it is now.
        user: Arc<User>,
        /// When.
        at: Option<Arc<str>>,
    },
    /// A watched user was deleted. It stays a member of its channels.
    UserDeleted {
        /// Its identity.
        id: Arc<str>,
        /// When.
        at: Option<Arc<str>>,
    },
    /// A user joined a watched channel, and is watched from now on.
    MemberAdded {
        /// The channel, as `type:id`.
        cid: Arc<str>,
        /// The user.
        user: Arc<User>,
    },
    /// A user left a watched channel.
    MemberRemoved {
        /// The channel, as `type:id`.
        cid: Arc<str>,
        /// The user's identity.
        id: Arc<str>,
    },
    /// A watched channel was deleted, or this client's user is no longer a member.
    ChannelDeleted {
        /// The channel, as `type:id`.
        cid: Arc<str>,
    },
    /// The client came back, and the server refused to restore its watches, for good: there are none any more.
    WatchesLost {
        /// What the server said.
        refusal: Arc<Refusal>,
    },
    /// The connection was lost, came back, or has ended.
    ConnectionChanged(Connection),
    /// This reader was too slow, and misses events. [`Client::user`](crate::Client::user) has what is true now.
    Lagged {
        /// How many it misses.
        missed: u64,
    },
}

/// Whether a client is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// It is, and its watches are restored.
    Online {
        /// The server's name for the connection.
        connection_id: Arc<str>,
    },
    /// It is not, and comes back.
    Offline {
        /// How the connection ended, or why the latest attempt failed.
        why: Disconnect,
        /// After which time it tries again.
        retry_in: Duration,
    },
    /// It has ended, and does not come back.
    Closed {
        /// Why.
        why: Disconnect,
    },
}

/// A reader of a client's events, from when it was made. Each reader gets every event.
#[derive(Debug)]
pub struct Events(pub(crate) Receiver<Event>);

impl Events {
    /// The next event; `None` once the client has ended and all was read. May be cancelled without losing an event.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Lagged { missed }),
            Err(RecvError::Closed) => None,
        }
    }
}
