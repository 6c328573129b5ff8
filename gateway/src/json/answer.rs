//! What came of a client's request.

use std::time::Duration;

use reachability_domain::channel::key::Cid;
use reachability_domain::channel::public_channel::PublicChannel;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::query::cursor::InvalidCursor;

/// The answer to a [`Command`](super::Command), after its [`parts`](super::parts). All users are as the client's user sees them.
#[derive(Debug, Clone)]
pub enum Answer<'a> {
    /// The user, as it sees itself.
    User(PublicUser<'a>),
    /// Users, who were told in parts, in the order of the query.
    Users {
        /// How many they are.
        count: usize,
        /// The cursor of those after them; `None` if there are none.
        cursor: Option<String>,
        /// The index that found them; `None`: all users were looked at.
        index: Option<&'static str>,
    },
    /// Channels. Their members were told in parts as users, each once: all of them if they are watched.
    Channels {
        /// The channels, in the order of the query, each with its members if they are at most
        /// [`MEMBERS_IN_CHANNEL`](super::settings::MEMBERS_IN_CHANNEL).
        channels: Vec<PublicChannel<'a>>,
        /// The cursor of those after them; `None` if there are none.
        cursor: Option<String>,
        /// The index that found them; `None`: all channels of the user were looked at.
        index: Option<&'static str>,
    },
    /// A channel. Its members were told in parts as users: all of them if they are watched.
    Channel {
        /// The channel.
        channel: PublicChannel<'a>,
        /// Whether it was not there before.
        created: bool,
    },
    /// A channel with other members than before. It is answered without them.
    Members(PublicChannel<'a>),
    /// The watch is there no more.
    Unwatched,
    /// The watches are there again. The members of each channel were told in parts, and the users that the client does not know
    /// as they are now, each once.
    Restored {
        /// The channels that are not there any more, or not for this user.
        gone: Vec<&'a Cid>,
    },
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
