//! What a shell tells a session.

use bytes::Bytes;
use reachability_domain::directory::access_token::{Grant, TokenError};
use reachability_domain::presence::map::FoundMap;
use serde::{Deserialize, Serialize};

use crate::twilsock::action::Asked;

/// Names a request of a session among those that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestNumber(pub u32);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// The client sent a WebSocket message, binary or text.
    Frame(&'a [u8]),
    /// The client sent a WebSocket frame that says nothing here: a ping, a pong, or a part of a message. It counts all the
    /// same.
    NoMessage,
    /// What came of [`Action::Open`](super::Action::Open).
    Opened(Result<Opened, Refusal>),
    /// What came of [`Action::Verify`](super::Action::Verify).
    Verified(Result<Grant, Refusal>),
    /// What came of [`Action::Request`](super::Action::Request).
    Answered {
        /// The request.
        request: RequestNumber,
        /// The response to it.
        response: Response,
    },
    /// What came of [`Action::Subscribe`](super::Action::Subscribe).
    Subscribed {
        /// The request.
        request: RequestNumber,
        /// All maps of the request, each as it is after its watch was registered.
        maps: Vec<(Asked, FoundMap)>,
    },
    /// The time of [`Session::due_at`](super::Session::due_at) has come. Frames that arrived before are given first.
    Tick,
    /// The server wants the session to end.
    End(Cause),
}

/// A session whose connection is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What the token grants.
    pub grant: Grant,
    /// What the client sends when it comes back, so that its older socket is known.
    pub continuation_token: String,
    /// Whether the continuation token is a new one.
    pub reissued: bool,
}

/// Why a token is refused, or a session not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token is no good.
    Token(TokenError),
    /// There are too many sockets. The client tries again later.
    Limit,
    /// The server cannot do it now. The client tries again.
    Unavailable,
}

/// Why the server ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The client came back on another socket.
    Superseded,
    /// The API key that signed the token was deleted.
    KeyDeleted,
    /// The service was deleted.
    ServiceDeleted,
    /// The user was deleted.
    UserDeleted,
    /// What allows it may have been deleted. The client comes back, and hears whether it may.
    Doubtful,
    /// The server stops.
    Draining,
}

/// The response to a request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The body; empty if there is none.
    pub body: Bytes,
}
