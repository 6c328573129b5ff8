//! What a shell tells every session.

use reachability_domain::directory::access_token::{Grant, TokenError};

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
    /// The token is no good, and neither were too many others from the client's address. The client tries again later.
    WrongTokens,
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
