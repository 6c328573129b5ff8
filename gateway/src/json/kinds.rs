//! The types of messages.

use serde::{Serialize, Serializer};

/// The type of a message from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Says who the client is. The first request.
    Connect,
    /// Sets the user's status, and whether it is invisible.
    SetUser,
    /// Asks for users, and can watch them.
    QueryUsers,
    /// Asks for channels, and can watch their members.
    QueryChannels,
    /// Asks for one channel, creates it if it is not there, and can watch its members.
    WatchChannel,
    /// Adds members to a channel.
    AddMembers,
    /// Removes members from a channel.
    RemoveMembers,
    /// Ends a watch.
    Unwatch,
    /// Begins again the watches that the client had on an earlier socket.
    Restore,
    /// Brings a new token.
    Token,
    /// Asks the server for a sign of life.
    Ping,
    /// Answers the server's ping. Not a request.
    Pong,
    /// Says goodbye. Not a request.
    Close,
}

impl ClientKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::SetUser,
        Self::QueryUsers,
        Self::QueryChannels,
        Self::WatchChannel,
        Self::AddMembers,
        Self::RemoveMembers,
        Self::Unwatch,
        Self::Restore,
        Self::Token,
        Self::Ping,
        Self::Pong,
        Self::Close,
    ];

    /// The text in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::SetUser => "set_user",
            Self::QueryUsers => "query_users",
            Self::QueryChannels => "query_channels",
            Self::WatchChannel => "watch_channel",
            Self::AddMembers => "add_members",
            Self::RemoveMembers => "remove_members",
            Self::Unwatch => "unwatch",
            Self::Restore => "restore",
            Self::Token => "token",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Close => "close",
        }
    }

    pub(crate) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The type of a message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// Answers `connect`: the session is open.
    Connected,
    /// Answers a request.
    Ok,
    /// A part of an answer, before its `ok`.
    Part,
    /// Answers a request that failed.
    Error,
    /// Answers a client's ping.
    Pong,
    /// Asks the client for a sign of life.
    Ping,
    /// What is seen of a user changed.
    PresenceChanged,
    /// A user's profile changed.
    UserUpdated,
    /// A user was deleted.
    UserDeleted,
    /// A channel has a new member.
    MemberAdded,
    /// A channel lost a member.
    MemberRemoved,
    /// A channel is there no more, or not for this client.
    ChannelDeleted,
    /// The client's token expires soon.
    TokenExpiring,
}

impl ServerKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Connected,
        Self::Ok,
        Self::Part,
        Self::Error,
        Self::Pong,
        Self::Ping,
        Self::PresenceChanged,
        Self::UserUpdated,
        Self::UserDeleted,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ChannelDeleted,
        Self::TokenExpiring,
    ];

    /// The text in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Ok => "ok",
            Self::Part => "part",
            Self::Error => "error",
            Self::Pong => "pong",
            Self::Ping => "ping",
            Self::PresenceChanged => "user.presence.changed",
            Self::UserUpdated => "user.updated",
            Self::UserDeleted => "user.deleted",
            Self::MemberAdded => "member.added",
            Self::MemberRemoved => "member.removed",
            Self::ChannelDeleted => "channel.deleted",
            Self::TokenExpiring => "token.expiring",
        }
    }
}

impl Serialize for ServerKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
