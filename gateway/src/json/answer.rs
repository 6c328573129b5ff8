//! What came of a client's request.

use std::time::Duration;

use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::time::{Timestamp, rfc3339};
use serde::Serialize;
use serde_json::{Map, Value};

/// The answer to a [`Command`](super::Command). All users are as the client's user sees them.
#[derive(Debug, Clone)]
pub enum Answer<'a> {
    /// The user, as it sees itself.
    User(PublicUser<'a>),
    /// Users.
    Users {
        /// The users, in the order of the query.
        users: Vec<PublicUser<'a>>,
        /// The cursor of those after them; `None` if there are none.
        cursor: Option<String>,
        /// The index that found them; `None`: all users were looked at.
        index: Option<&'static str>,
    },
    /// Channels.
    Channels {
        /// The channels, in the order of the query, with their members.
        channels: Vec<PublicChannel<'a>>,
        /// The members, each once: all of them if they are watched.
        users: Vec<PublicUser<'a>>,
        /// The cursor of those after them; `None` if there are none.
        cursor: Option<String>,
        /// The index that found them; `None`: all channels of the user were looked at.
        index: Option<&'static str>,
    },
    /// A channel.
    Channel {
        /// The channel, with its members.
        channel: PublicChannel<'a>,
        /// The members: all of them if they are watched.
        users: Vec<PublicUser<'a>>,
        /// Whether it was not there before.
        created: bool,
    },
    /// A channel with other members than before. It is answered without them.
    Members(PublicChannel<'a>),
    /// The watch is there no more.
    Unwatched,
    /// The watches are there again.
    Restored {
        /// The users that the client does not know as they are now, each once.
        users: Vec<PublicUser<'a>>,
        /// The members of each channel, which is named `type:id`.
        channels: Vec<(&'a str, &'a [Identity])>,
        /// The channels that are not there any more, or not for this user.
        gone: Vec<&'a str>,
    },
}

/// A channel, as its members see it.
#[derive(Debug, Clone, Serialize)]
pub struct PublicChannel<'a> {
    /// The type.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The id.
    pub id: &'a str,
    /// The name: `type:id`.
    pub cid: &'a str,
    /// The members; `None` where they are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<&'a [Identity]>,
    /// How many members it has.
    pub member_count: u64,
    /// What the app keeps with it.
    pub custom: &'a Map<String, Value>,
    /// Who created it; `null`: the owner.
    pub created_by: Option<&'a Identity>,
    /// When it was created.
    #[serde(with = "rfc3339")]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(with = "rfc3339")]
    pub updated_at: Timestamp,
    /// When its last message came, which the app says; `null`: never.
    #[serde(with = "rfc3339::option")]
    pub last_message_at: Option<Timestamp>,
}

/// Why a client's request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The user is not a member of the channel.
    #[error("You are not a member of this channel")]
    Forbidden,
    /// There is no such channel.
    #[error("There is no such channel")]
    NotFound,
    /// The filter is none, or over a limit; the text says why.
    #[error("{0}")]
    InvalidFilter(String),
    /// The sort is none, or over a limit; the text says why.
    #[error("{0}")]
    InvalidSort(String),
    /// The cursor is none, or one of another query.
    #[error("The cursor is not one of this query")]
    InvalidCursor,
    /// No index can answer the query, and there are too many to look at all of them.
    #[error("The filter cannot be answered from an index, and there are too many to look at all of them")]
    QueryTooBroad,
    /// More users than may be watched: by one watch, or by the socket.
    #[error("More than {limit} users would be watched")]
    TooManyUsers {
        /// The most.
        limit: u64,
    },
    /// More members than a channel may have.
    #[error("The channel would have more than {limit} members")]
    TooManyMembers {
        /// The most.
        limit: u64,
    },
    /// More watches, or channels, than there may be.
    #[error("There are {limit} {what} already, and no more are possible")]
    LimitReached {
        /// Of what there are too many, in the plural.
        what: &'static str,
        /// The most.
        limit: u64,
    },
    /// The type or the id of the channel, or what it is to be made of, is not possible; the text says why.
    #[error("{0}")]
    InvalidChannel(String),
    /// This deployment has no channels.
    #[error("This deployment has no channels")]
    NotSupported,
    /// The user, its service or all have too much to do. The client tries again after this time.
    #[error("Too many requests. Please try again later")]
    TooManyRequests {
        /// After how long.
        retry_after: Duration,
    },
    /// The server cannot do it now. The client tries again.
    #[error("Service unavailable. Please try again")]
    Unavailable,
}
