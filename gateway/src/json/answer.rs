//! What came of a client's request.

use std::time::Duration;

use reachability_domain::channel::Channel;
use reachability_domain::channel::key::{ChannelId, ChannelType, Cid};
use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::query::cursor::InvalidCursor;
use reachability_domain::time::{Timestamp, rfc3339};
use serde::{Serialize, Serializer};
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
        /// The members of each channel.
        channels: Vec<(&'a Cid, &'a [Identity])>,
        /// The channels that are not there any more, or not for this user.
        gone: Vec<&'a Cid>,
    },
}

/// A channel, as its members see it.
#[derive(Debug, Clone, Copy)]
pub struct PublicChannel<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// Its members; `None` where they are not told.
    pub members: Option<&'a [Identity]>,
}

impl Serialize for PublicChannel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            r#type: &'a ChannelType,
            id: &'a ChannelId,
            cid: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            members: Option<&'a [Identity]>,
            member_count: usize,
            custom: &'a Map<String, Value>,
            created_by: Option<&'a Identity>,
            #[serde(with = "rfc3339")]
            created_at: Timestamp,
            #[serde(with = "rfc3339")]
            updated_at: Timestamp,
            #[serde(with = "rfc3339::option")]
            last_message_at: Option<Timestamp>,
        }

        let Channel { key, custom, created_by, created_at, updated_at, last_message_at, member_count, .. } =
            self.channel;
        let written = Written {
            r#type: &key.cid.kind,
            id: &key.cid.id,
            cid: key.cid.to_string(),
            members: self.members,
            member_count: *member_count,
            custom,
            created_by: created_by.as_ref(),
            created_at: *created_at,
            updated_at: *updated_at,
            last_message_at: *last_message_at,
        };
        written.serialize(serializer)
    }
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
    /// The cursor is one of another query.
    #[error(transparent)]
    InvalidCursor(#[from] InvalidCursor),
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
