//! What a client is told when it cannot have what it asks for.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use reachability_domain::channel::data::InvalidCustom;
use reachability_domain::channel::key::InvalidChannel;
use reachability_domain::directory::access_token::TokenError;
use reachability_domain::identity::InvalidIdentity;
use reachability_domain::presence::status::{InvalidStatus, Status};
use reachability_domain::query::cursor::InvalidCursor;
use reachability_domain::query::filter::InvalidFilter;
use reachability_domain::query::sort::InvalidSort;
use serde::{Serialize, Serializer};

use crate::json::answer::CommandError;
use crate::session::Refusal;
use crate::session::timing::RETRY_AFTER;

/// Why a request failed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// A field is missing, or not what it should be.
    InvalidMessage,
    /// There is no such type of message.
    UnknownType,
    /// The session is not open yet.
    NotConnected,
    /// The session is open already, or about to be.
    AlreadyConnected,
    /// The token is refused.
    InvalidToken,
    /// There is as much of something as there may be.
    LimitReached,
    /// The server cannot do it now.
    Unavailable,
    /// The client asks for too much at once.
    TooManyRequests,
    /// The user is not a member of the channel.
    Forbidden,
    /// There is no such channel.
    NotFound,
    /// The status is too long.
    InvalidStatus,
    /// The filter is none.
    InvalidFilter,
    /// The sort is none.
    InvalidSort,
    /// The cursor is none, or one of another query.
    InvalidCursor,
    /// No index can answer the query.
    QueryTooBroad,
    /// More users than may be watched.
    TooManyUsers,
    /// More members than there may be.
    TooManyMembers,
    /// The channel cannot be one.
    InvalidChannel,
    /// An identity cannot be one.
    InvalidIdentity,
    /// This deployment cannot do it.
    NotSupported,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::InvalidMessage,
        Self::UnknownType,
        Self::NotConnected,
        Self::AlreadyConnected,
        Self::InvalidToken,
        Self::LimitReached,
        Self::Unavailable,
        Self::TooManyRequests,
        Self::Forbidden,
        Self::NotFound,
        Self::InvalidStatus,
        Self::InvalidFilter,
        Self::InvalidSort,
        Self::InvalidCursor,
        Self::QueryTooBroad,
        Self::TooManyUsers,
        Self::TooManyMembers,
        Self::InvalidChannel,
        Self::InvalidIdentity,
        Self::NotSupported,
    ];

    /// The text in `code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid_message",
            Self::UnknownType => "unknown_type",
            Self::NotConnected => "not_connected",
            Self::AlreadyConnected => "already_connected",
            Self::InvalidToken => "invalid_token",
            Self::LimitReached => "limit_reached",
            Self::Unavailable => "unavailable",
            Self::TooManyRequests => "too_many_requests",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::InvalidStatus => "invalid_status",
            Self::InvalidFilter => "invalid_filter",
            Self::InvalidSort => "invalid_sort",
            Self::InvalidCursor => "invalid_cursor",
            Self::QueryTooBroad => "query_too_broad",
            Self::TooManyUsers => "too_many_users",
            Self::TooManyMembers => "too_many_members",
            Self::InvalidChannel => "invalid_channel",
            Self::InvalidIdentity => "invalid_identity",
            Self::NotSupported => "not_supported",
        }
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An error, as a client is told it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    code: Word,
    message: Cow<'static, str>,
    /// The limit that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// When to try again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The number of the error in the vendor's catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    twilio_code: Option<u32>,
}

impl Failure {
    pub(crate) fn new(code: Word, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), limit: None, retry_after: None, twilio_code: None }
    }

    /// A field is missing, or not what it should be.
    pub(crate) fn field(name: &str, what: impl fmt::Display) -> Self {
        Self::new(Word::InvalidMessage, format!("`{name}` {what}"))
    }

    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let message = "Too many requests. Please try again later";
        Self::new(Word::TooManyRequests, message).after(wait)
    }

    pub(crate) fn too_many_users(limit: u64) -> Self {
        CommandError::TooManyUsers { limit }.into()
    }

    /// The new token is of somebody else.
    pub(crate) fn other_user() -> Self {
        let message = "The new token is of another identity or service";
        Self { twilio_code: Some(51232), ..Self::new(Word::InvalidToken, message) }
    }

    pub(crate) fn with_limit(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Tells a client to wait, in whole seconds.
    fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..self }
    }
}

impl From<InvalidStatus> for Failure {
    fn from(why: InvalidStatus) -> Self {
        let limit = u64::try_from(Status::MAX_BYTES).unwrap_or(u64::MAX);
        Self::new(Word::InvalidStatus, why.to_string()).with_limit(limit)
    }
}

/// What the domain does not take, and the word for it.
macro_rules! invalid {
    ($($why:ty => $word:ident;)*) => {$(
        impl From<$why> for Failure {
            fn from(why: $why) -> Self {
                Self::new(Word::$word, why.to_string())
            }
        }
    )*};
}

invalid! {
    InvalidChannel => InvalidChannel;
    InvalidCursor => InvalidCursor;
    InvalidCustom => InvalidChannel;
    InvalidFilter => InvalidFilter;
    InvalidIdentity => InvalidIdentity;
    InvalidSort => InvalidSort;
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self { twilio_code: Some(error.code()), ..Self::new(Word::InvalidToken, error.to_string()) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Token(error) => error.into(),
            Refusal::Limit => Self::new(Word::LimitReached, "There are too many sockets").after(RETRY_AFTER),
            Refusal::WrongTokens => {
                let text = "Too many tokens from this address are wrong";
                Self::new(Word::LimitReached, text).after(RETRY_AFTER)
            }
            Refusal::Unavailable => CommandError::Unavailable.into(),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let new = |code| Self::new(code, error.to_string());
        match error {
            CommandError::Forbidden => new(Word::Forbidden),
            CommandError::NotFound => new(Word::NotFound),
            CommandError::InvalidCursor(_) => new(Word::InvalidCursor),
            CommandError::QueryTooBroad => new(Word::QueryTooBroad),
            CommandError::TooManyUsers { limit } => new(Word::TooManyUsers).with_limit(limit),
            CommandError::TooManyMembers { limit } => new(Word::TooManyMembers).with_limit(limit),
            CommandError::LimitReached { limit, .. } => new(Word::LimitReached).with_limit(limit),
            CommandError::NotSupported => new(Word::NotSupported),
            CommandError::TooManyRequests { retry_after } => new(Word::TooManyRequests).after(retry_after),
            CommandError::Unavailable => new(Word::Unavailable),
        }
    }
}
