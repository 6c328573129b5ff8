//! What came of commands, from which answers are made.

use reachability_domain::channel::Channel;
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

/// A channel with its name and its members.
pub(in crate::sockets) struct Watchable {
    pub(super) channel: Channel,
    pub(super) cid: String,
    pub(super) members: Option<Vec<Identity>>,
}

impl Watchable {
    pub(super) fn new(channel: Channel, members: Option<Vec<Identity>>) -> Self {
        Self { cid: channel.key.cid.to_string(), channel, members }
    }

    fn public(&self) -> PublicChannel<'_> {
        let Self { channel, cid, members } = self;
        PublicChannel {
            kind: channel.key.cid.kind.as_str(),
            id: channel.key.cid.id.as_str(),
            cid,
            members: members.as_deref(),
            // Whoever is told the members counts them.
            member_count: members.as_ref().map_or(channel.member_count, Vec::len) as u64,
            custom: &channel.custom,
            created_by: channel.created_by.as_ref(),
            created_at: channel.created_at,
            updated_at: channel.updated_at,
            last_message_at: channel.last_message_at,
        }
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
    Restored { users: Vec<Shown>, channels: Vec<(String, Vec<Identity>)>, gone: Vec<String> },
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
                channels: channels.iter().map(|(cid, members)| (cid.as_str(), members.as_slice())).collect(),
                gone: gone.iter().map(String::as_str).collect(),
            },
        }
    }
}

fn public(users: &[Shown]) -> Vec<PublicUser<'_>> {
    users.iter().map(Shown::public).collect()
}
