//! What came of commands, from which answers are made.

use reachability_domain::channel::Channel;
use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::view::UserView;
use reachability_gateway::json::{Answer, PublicChannel};

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

/// A channel, with its members where they are told.
pub(in crate::sockets) struct Watchable {
    channel: Channel,
    pub(super) members: Option<Vec<Identity>>,
}

impl Watchable {
    pub(super) fn new(channel: Channel, members: Option<Vec<Identity>>) -> Self {
        // Whoever is told the members counts them.
        let member_count = members.as_ref().map_or(channel.member_count, Vec::len);
        Self { channel: Channel { member_count, ..channel }, members }
    }

    fn public(&self) -> PublicChannel<'_> {
        PublicChannel { channel: &self.channel, members: self.members.as_deref() }
    }
}

/// What came of a command.
pub(in crate::sockets) enum Outcome {
    User(UserView),
    Users { users: Vec<Shown>, cursor: Option<String>, index: Option<&'static str> },
    Channels { channels: Vec<Watchable>, users: Vec<Shown>, cursor: Option<String>, index: Option<&'static str> },
    Channel { channel: Watchable, users: Vec<Shown>, created: bool },
    Members(Watchable),
    Unwatched,
    Restored { users: Vec<Shown>, channels: Vec<(Cid, Vec<Identity>)>, gone: Vec<Cid> },
}

impl Outcome {
    /// The answer.
    pub(super) fn answer(&self) -> Answer<'_> {
        match self {
            Self::User(view) => Answer::User(PublicUser::of(view, Viewer::User)),
            Self::Users { users, cursor, index } => {
                Answer::Users { users: public(users), cursor: cursor.clone(), index: *index }
            }
            Self::Channels { channels, users, cursor, index } => Answer::Channels {
                channels: channels.iter().map(Watchable::public).collect(),
                users: public(users),
                cursor: cursor.clone(),
                index: *index,
            },
            Self::Channel { channel, users, created } => {
                Answer::Channel { channel: channel.public(), users: public(users), created: *created }
            }
            Self::Members(channel) => Answer::Members(channel.public()),
            Self::Unwatched => Answer::Unwatched,
            Self::Restored { users, channels, gone } => Answer::Restored {
                users: public(users),
                channels: channels.iter().map(|(cid, members)| (cid, members.as_slice())).collect(),
                gone: gone.iter().collect(),
            },
        }
    }
}

fn public(users: &[Shown]) -> Vec<PublicUser<'_>> {
    users.iter().map(Shown::public).collect()
}
