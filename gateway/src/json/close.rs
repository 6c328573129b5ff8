//! Why a socket is closed.

/// Why a socket is closed: the code and the reason of the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The client said goodbye.
    Goodbye,
    /// The server stops. The client comes back at once.
    ServerStops,
    /// The client sends too many messages.
    TooManyMessages,
    /// The message is binary, or not UTF-8.
    NotText,
    /// The message is not a JSON object.
    NotJson,
    /// The message has no type.
    NoType,
    /// The message is larger than one of its type may be.
    TooLarge,
    /// The token was refused.
    InvalidToken,
    /// The token has expired.
    TokenExpired,
    /// The API key that signed the token was deleted.
    KeyDeleted,
    /// The service was deleted.
    ServiceDeleted,
    /// The user was deleted.
    UserDeleted,
    /// The client did not say in time who it is.
    NoConnect,
    /// The client did not answer a ping. Its connection is lost.
    NoAnswer,
    /// The client is there on a newer socket.
    Superseded,
    /// There are too many sockets.
    LimitReached,
    /// The server cannot do it now, or does not know whether the client may go on. The client comes back later.
    Unavailable,
}

impl Closing {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Goodbye,
        Self::ServerStops,
        Self::TooManyMessages,
        Self::NotText,
        Self::NotJson,
        Self::NoType,
        Self::TooLarge,
        Self::InvalidToken,
        Self::TokenExpired,
        Self::KeyDeleted,
        Self::ServiceDeleted,
        Self::UserDeleted,
        Self::NoConnect,
        Self::NoAnswer,
        Self::Superseded,
        Self::LimitReached,
        Self::Unavailable,
    ];

    /// The code of the close frame.
    pub fn code(self) -> u16 {
        match self {
            Self::Goodbye => 1000,
            Self::ServerStops => 1001,
            Self::TooManyMessages => 1008,
            Self::NotText | Self::NotJson | Self::NoType | Self::TooLarge => 4400,
            Self::InvalidToken | Self::TokenExpired => 4401,
            Self::KeyDeleted | Self::ServiceDeleted | Self::UserDeleted => 4403,
            Self::NoConnect | Self::NoAnswer => 4408,
            Self::Superseded => 4409,
            Self::LimitReached => 4429,
            Self::Unavailable => 4503,
        }
    }

    /// The reason in the close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Goodbye => "goodbye",
            Self::ServerStops => "server_stops",
            Self::TooManyMessages => "too_many_messages",
            Self::NotText => "not_text",
            Self::NotJson => "not_json",
            Self::NoType => "no_type",
            Self::TooLarge => "too_large",
            Self::InvalidToken => "invalid_token",
            Self::TokenExpired => "token_expired",
            Self::KeyDeleted => "key_deleted",
            Self::ServiceDeleted => "service_deleted",
            Self::UserDeleted => "user_deleted",
            Self::NoConnect => "no_connect",
            Self::NoAnswer => "no_answer",
            Self::Superseded => "superseded",
            Self::LimitReached => "limit_reached",
            Self::Unavailable => "unavailable",
        }
    }
}
