//! What clients ask for.

use std::collections::HashMap;

use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::query::Query;
use serde_json::{Map, Value};

use crate::json::input::RequestNumber;

/// What a client asks for. `presence` means that it wants to watch, from now on, the users in the answer: watch first, then
/// read, so that no change is missed between. The watch has the number of the request.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Show something else of its user. Answered with [`Answer::User`](super::Answer::User).
    SetUser(Disclose),
    /// Users that a query finds. Answered with [`Answer::Users`](super::Answer::Users).
    QueryUsers {
        /// The query.
        query: Query,
        /// Whether they are to be watched.
        presence: bool,
    },
    /// Channels that a query finds, among those of which the user is a member. Answered with
    /// [`Answer::Channels`](super::Answer::Channels).
    QueryChannels {
        /// The query.
        query: Query,
        /// Whether their members are to be watched, now and later ones. Otherwise at most
        /// [`MAX_USERS`](super::settings::MAX_USERS) of them are told as users.
        presence: bool,
    },
    /// A channel. Answered with [`Answer::Channel`](super::Answer::Channel).
    WatchChannel {
        /// The channel.
        channel: Cid,
        /// What the channel is made of if it is not there yet; `None`: the user is its only member.
        data: Option<ChannelData>,
        /// Whether its members are to be watched, now and later ones. Otherwise at most
        /// [`MAX_USERS`](super::settings::MAX_USERS) of them are told as users.
        presence: bool,
    },
    /// New members of a channel. Answered with [`Answer::Members`](super::Answer::Members).
    AddMembers {
        /// The channel.
        channel: Cid,
        /// At most [`MAX_MEMBERS`](super::settings::MAX_MEMBERS).
        members: Vec<Identity>,
    },
    /// Members of a channel who are none any more. Answered with [`Answer::Members`](super::Answer::Members).
    RemoveMembers {
        /// The channel.
        channel: Cid,
        /// At most [`MAX_MEMBERS`](super::settings::MAX_MEMBERS).
        members: Vec<Identity>,
    },
    /// The end of a watch. Answered with [`Answer::Unwatched`](super::Answer::Unwatched), also if there is no such watch.
    Unwatch {
        /// The watch.
        watch: RequestNumber,
    },
    /// The watches of an earlier socket. Answered with [`Answer::Restored`](super::Answer::Restored).
    Restore {
        /// The watches, each once, at most [`MAX_WATCHES`](super::settings::MAX_WATCHES). What they have is added to a watch
        /// that is there already.
        watches: Vec<RestoredWatch>,
        /// The revision that the client has of each user it knows.
        known: HashMap<Identity, u64>,
    },
}

/// What a new channel is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChannelData {
    /// Its members, besides the user who creates it.
    pub members: Vec<Identity>,
    /// All other fields. They are valid ([`custom`](reachability_domain::channel::data::custom)).
    pub custom: Map<String, Value>,
}

/// A watch of an earlier socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredWatch {
    /// The request that began it.
    pub watch: RequestNumber,
    /// Whom it watched.
    pub of: Watched,
}

/// Whom a watch watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// These users.
    Users(Vec<Identity>),
    /// The members of these channels; at most [`MAX_CHANNELS`](super::settings::MAX_CHANNELS).
    Channels(Vec<Cid>),
}
