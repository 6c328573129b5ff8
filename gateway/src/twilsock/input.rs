//! What a shell tells a session.

use bytes::Bytes;
use reachability_domain::directory::access_token::Grant;
use reachability_domain::presence::map::FoundMap;
use serde::{Deserialize, Serialize};

use crate::session::{Cause, Opened, Refusal};
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
