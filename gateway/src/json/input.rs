//! What a shell tells a session.

use reachability_domain::directory::access_token::Grant;
use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::public_user::PublicUser;
use serde::{Deserialize, Serialize};

use crate::json::answer::{Answer, CommandError};
use crate::session::{Cause, Opened, Refusal};

/// The `id` of a request. No other request of the same client has it, so it names the watch that the request begins as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestNumber(pub u64);

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// The client sent a WebSocket message of type text.
    Text(&'a [u8]),
    /// The client sent a WebSocket message of type binary.
    Binary,
    /// The client began a WebSocket message that is larger than [`Session::max_message`](super::Session::max_message).
    TooLarge,
    /// The client sent a WebSocket frame that says nothing here: a ping, a pong, or a part of a message. It counts all the
    /// same.
    NoMessage,
    /// What came of [`Action::Open`](super::Action::Open).
    Opened(Result<Connected<'a>, Refusal>),
    /// What came of [`Action::Verify`](super::Action::Verify).
    Verified(Result<Grant, Refusal>),
    /// What came of [`Action::Do`](super::Action::Do).
    Done {
        /// The request.
        request: RequestNumber,
        /// The answer to it. The shell has sent its [`parts`](super::parts) already.
        result: Result<Answer<'a>, CommandError>,
        /// How many users, channels and members were looked at for it.
        looked_at: usize,
    },
    /// The time of [`Session::due_at`](super::Session::due_at) has come. Messages that arrived before are given first.
    Tick,
    /// The server wants the session to end.
    End(Cause),
}

/// A session whose connection is open.
#[derive(Debug, Clone)]
pub struct Connected<'a> {
    /// What the token grants, and what the client sends when it comes back.
    pub opened: Opened,
    /// The connection.
    pub connection: ConnectionId,
    /// The user, as it sees itself.
    pub user: PublicUser<'a>,
}
