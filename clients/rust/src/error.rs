//! What can go wrong, and how connections end.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tokio_tungstenite::tungstenite;

use crate::disconnect::{CloseCode, Disconnect};

/// Why a request, or a connection, did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error.
    #[error("the server refused: {0}")]
    Refused(#[from] Refusal),
    /// No answer came within the time of [`Options::request_timeout`](crate::Options::request_timeout). The request may have been
    /// carried out, or the client is not connected.
    #[error("no answer in time")]
    Timeout,
    /// The connection was lost before the answer. The request may have been carried out.
    #[error("the connection was lost before the answer")]
    ConnectionLost,
    /// The client has ended, and does not come back.
    #[error("the client has ended: {0}")]
    Closed(Disconnect),
    /// The server ended the connection instead of answering `connect`.
    #[error("the server ended the connection: {0}")]
    Ended(Disconnect),
    /// A message to the server would be too large.
    #[error("the message is too large: {size} bytes, and {limit} are allowed")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The most that the server takes, in bytes.
        limit: usize,
    },
    /// The address is not one of a WebSocket.
    #[error("not an address of a socket: {0}")]
    Url(String),
    /// There was no connection to the server.
    #[error("no connection to the server")]
    Io(#[from] io::Error),
    /// The server does not speak WebSocket there.
    #[error("no WebSocket there")]
    WebSocket(#[source] Box<tungstenite::Error>),
    /// The application's token provider failed.
    #[error("no access token")]
    Token(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token is of another user than [`ConnectUser::id`](crate::ConnectUser::id).
    #[error("the token is of user {0}")]
    OtherUser(Arc<str>),
    /// A message of the server was not understood.
    #[error("a message of the server was not understood")]
    Protocol(#[from] serde_json::Error),
}

impl Error {
    /// The server's word for it, if the server refused.
    pub fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(&refusal.code),
            _ => None,
        }
    }

    /// An answer lacks a field.
    pub(crate) fn missing(field: &'static str) -> Self {
        Self::Protocol(serde::de::Error::missing_field(field))
    }

    /// Whether the server refused the token.
    pub(crate) fn is_of_token(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code == ErrorCode::InvalidToken,
            Self::Ended(end) => end.code == Some(CloseCode::TokenRefused),
            _ => false,
        }
    }

    /// Whether trying again would lead to the same.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Url(_) | Self::OtherUser(_) => true,
            Self::Ended(end) if end.code.is_some_and(CloseCode::is_final) => true,
            // Another was fetched already, if there can be another.
            _ => self.is_of_token(),
        }
    }

    /// After how long the server wants to be asked again, at the earliest.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(refusal) => refusal.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// How the end of a connection is told of that came to this.
    pub(crate) fn to_disconnect(&self) -> Disconnect {
        match self {
            Self::Ended(end) | Self::Closed(end) => end.clone(),
            _ => Disconnect::told(chain(self)),
        }
    }
}

/// An error with what led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        // Some errors repeat their source's text.
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}

/// An error of the server.
#[derive(Debug, Clone, PartialEq, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The word for it.
    pub code: ErrorCode,
    /// What it says to people.
    #[serde(default)]
    pub message: String,
    /// The limit that was exceeded.
    #[serde(default)]
    pub limit: Option<u64>,
    /// After how long it may be tried again.
    #[serde(default, deserialize_with = "seconds")]
    pub retry_after: Option<Duration>,
    /// Twilio's code, where it is about the token.
    #[serde(default)]
    pub twilio_code: Option<u32>,
}

impl Refusal {
    /// One by the client itself, in the server's place.
    pub(crate) fn told(code: ErrorCode, message: String) -> Self {
        Self { code, message, limit: None, retry_after: None, twilio_code: None }
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = Option::<f64>::deserialize(deserializer)?;
    Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

/// Makes an enum of words, with one for all others.
macro_rules! words {
    ($($(#[$doc:meta])+ $name:ident = $word:literal,)+) => {
        /// The server's word for an error.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
            /// A word that this client does not know.
            Other(String),
        }

        impl ErrorCode {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for ErrorCode {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$name,)+
                    _ => Self::Other(word),
                }
            }
        }
    };
}

words! {
    /// A field is missing, or of the wrong type.
    InvalidMessage = "invalid_message",
    /// There is no such request.
    UnknownType = "unknown_type",
    /// Something else was asked before `connect`.
    NotConnected = "not_connected",
    /// `connect` came twice.
    AlreadyConnected = "already_connected",
    /// The token is not valid, or expired; see [`Refusal::twilio_code`].
    InvalidToken = "invalid_token",
    /// There are too many sockets.
    LimitReached = "limit_reached",
    /// The server cannot do it now.
    Unavailable = "unavailable",
    /// Too much was asked; see [`Refusal::retry_after`].
    TooManyRequests = "too_many_requests",
    /// The user is not a member of the channel.
    Forbidden = "forbidden",
    /// It is not there.
    NotFound = "not_found",
    /// The status is longer than 256 bytes.
    InvalidStatus = "invalid_status",
    /// The filter is not one.
    InvalidFilter = "invalid_filter",
    /// The sort is not one.
    InvalidSort = "invalid_sort",
    /// The cursor is not one of this server, or of another query.
    InvalidCursor = "invalid_cursor",
    /// No index answers the query, and there are too many users to look at all.
    QueryTooBroad = "query_too_broad",
    /// There are more users than may be watched; see [`Refusal::limit`].
    TooManyUsers = "too_many_users",
    /// The channel would have too many members; see [`Refusal::limit`].
    TooManyMembers = "too_many_members",
    /// The channel's type, id or data cannot be.
    InvalidChannel = "invalid_channel",
    /// An identity cannot be.
    InvalidIdentity = "invalid_identity",
    /// This deployment has no channels.
    NotSupported = "not_supported",
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Display for ErrorCode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
