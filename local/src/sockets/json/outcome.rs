//! What came of commands, from which answers are made.

use reachability_domain::channel::Channel;
use reachability_domain::channel::key::Cid;
use reachability_domain::channel::public_channel::PublicChannel;
use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::view::UserView;
use reachability_gateway::json::Answer;

/// A user, as the client sees it; or an identity without one.
pub(in crate::sockets) enum Shown {
    User(Box<UserView>, Viewer),
    Nobody(Identity),
}

impl Shown {
    pub(super) fn public(&self) -> PublicUser<'_> {
        match self {
            Self::User(view, viewer) => PublicUser::of(view, *viewer),
            Self::Nobody(identity) => PublicUser::nobody(identity),
        }
    }
}

/// A channel, with its members if they are told with it.
pub(in crate::sockets) struct Watchable {
    pub(super) channel: Channel,
    pub(super) members: Option<Vec<Identity>>,
}

impl Watchable {
    fn public(&self) -> PublicChannel<'_> {
        PublicChannel::of(&self.channel, self.members.as_deref())
    }
}

/// What came of a command.
pub(in crate::sockets) enum Outcome {
    User(UserView),
    Users { count: usize, cursor: Option<String>, index: Option<&'static str> },
    Channels { channels: Vec<Watchable>, cursor: Option<String>, index: Option<&'static str> },
    Channel { channel: Watchable, created: bool },
    Members(Watchable),
    Unwatched,
    Restored { gone: Vec<Cid> },
}

impl Outcome {
    /// The answer.
    pub(super) fn answer(&self) -> Answer<'_> {
        match self {
            Self::User(view) => Answer::User(PublicUser::of(view, Viewer::User)),
            Self::Users { count, cursor, index } => {
                Answer::Users { count: *count, cursor: cursor.clone(), index: *index }
            }
            Self::Channels { channels, cursor, index } => Answer::Channels {
                channels: channels.iter().map(Watchable::public).collect(),
                cursor: cursor.clone(),
                index: *index,
            },
            Self::Channel { channel, created } => Answer::Channel { channel: channel.public(), created: *created },
            Self::Members(channel) => Answer::Members(channel.public()),
            Self::Unwatched => Answer::Unwatched,
            Self::Restored { gone } => Answer::Restored { gone: gone.iter().collect() },
        }
    }
}
