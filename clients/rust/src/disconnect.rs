//! How connections end.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// What the server says with a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// 1000: the client said goodbye.
    Goodbye,
    /// 1001: the server stops, and another is there.
    ServerStops,
    /// 1008: too many messages.
    TooManyMessages,
    /// 4400: a message was not understood.
    NotUnderstood,
    /// 4401: the token was refused, or expired.
    TokenRefused,
    /// 4403: the API key, the service or the user was deleted.
    Revoked,
    /// 4408: no `connect` in time, or no answer to a ping.
    Silent,
    /// 4409: a newer socket of the same client took over.
    Superseded,
    /// 4429: there are too many sockets.
    TooManySockets,
    /// 4503: the server cannot take it now.
    Unavailable,
    /// Another.
    Other(u16),
}

impl CloseCode {
    /// Whether coming back would lead to the same end.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Revoked | Self::Superseded)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => Self::Goodbye,
            1001 => Self::ServerStops,
            1008 => Self::TooManyMessages,
            4400 => Self::NotUnderstood,
            4401 => Self::TokenRefused,
            4403 => Self::Revoked,
            4408 => Self::Silent,
            4409 => Self::Superseded,
            4429 => Self::TooManySockets,
            4503 => Self::Unavailable,
            code => Self::Other(code),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// What the server said; `None` if it said nothing: the connection broke, did not come about, or the client ended it.
    pub code: Option<CloseCode>,
    /// More, for people.
    pub reason: Arc<str>,
}

impl Disconnect {
    /// One without a close frame.
    pub(crate) fn told(reason: impl Into<Arc<str>>) -> Self {
        Self { code: None, reason: reason.into() }
    }
}

impl Display for Disconnect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) if self.reason.is_empty() => write!(f, "{code:?}"),
            Some(code) => write!(f, "{code:?} ({})", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}
