//! What queries are answered with.

use std::sync::Arc;

use crate::channel::Channel;
use crate::error::Error;
use crate::incoming::Done;
use crate::user::User;
use crate::watch::Watch;

/// An answer as it came, before it is shaped for who asked.
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) done: Box<Done>,
    pub(crate) users: Vec<Arc<User>>,
    pub(crate) watch: Option<Watch>,
}

/// Users that were found.
#[derive(Debug)]
pub struct UserPage {
    /// The users, in the order asked for.
    pub users: Vec<Arc<User>>,
    /// For the next page; `None` after the last.
    pub cursor: Option<String>,
    /// The index that answered; `None`: all users were looked at.
    pub index: Option<String>,
    /// Watches these users, if that was asked for.
    pub watch: Option<Watch>,
}

impl From<Reply> for UserPage {
    fn from(reply: Reply) -> Self {
        let Done { cursor, index, .. } = *reply.done;
        Self { users: reply.users, cursor, index, watch: reply.watch }
    }
}

/// Channels that were found.
#[derive(Debug)]
pub struct ChannelPage {
    /// The channels with their members, in the order asked for.
    pub channels: Vec<Channel>,
    /// The members of all of them, each once.
    pub users: Vec<Arc<User>>,
    /// For the next page; `None` after the last.
    pub cursor: Option<String>,
    /// The index that answered; `None`: all channels of the user were looked at.
    pub index: Option<String>,
    /// Watches the members of these channels, if that was asked for.
    pub watch: Option<Watch>,
}

impl From<Reply> for ChannelPage {
    fn from(reply: Reply) -> Self {
        let Done { channels, cursor, index, .. } = *reply.done;
        Self { channels, users: reply.users, cursor, index, watch: reply.watch }
    }
}

/// A channel that was fetched, or created.
#[derive(Debug)]
pub struct WatchedChannel {
    /// The channel with its members.
    pub channel: Channel,
    /// Its members.
    pub users: Vec<Arc<User>>,
    /// Whether it was created by this.
    pub created: bool,
    /// Watches its members, if that was asked for.
    pub watch: Option<Watch>,
}

impl TryFrom<Reply> for WatchedChannel {
    type Error = Error;

    fn try_from(reply: Reply) -> Result<Self, Error> {
        let Done { channel, created, .. } = *reply.done;
        let channel = channel.ok_or_else(|| Error::missing("channel"))?;
        Ok(Self { channel, users: reply.users, created, watch: reply.watch })
    }
}
