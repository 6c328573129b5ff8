//! What all who watch a user or a channel are sent: the same bytes for each of them.

use bytes::Bytes;
use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::time::{Timestamp, rfc3339};
use serde::Serialize;

use crate::json::encode::event;
use crate::json::kinds::ServerKind;

#[derive(Serialize)]
struct Changed<'a> {
    user: &'a PublicUser<'a>,
    #[serde(with = "rfc3339")]
    at: Timestamp,
}

/// What is seen of a user changed: online, notifiable, status, or last active along with them.
pub fn presence_changed(user: &PublicUser<'_>, at: Timestamp) -> Bytes {
    event(ServerKind::PresenceChanged, &Changed { user, at })
}

/// A user's name or custom data changed.
pub fn user_updated(user: &PublicUser<'_>, at: Timestamp) -> Bytes {
    event(ServerKind::UserUpdated, &Changed { user, at })
}

/// A user was deleted: all of a lower revision was said of it before.
pub fn user_deleted(id: &Identity, revision: u64, at: Timestamp) -> Bytes {
    #[derive(Serialize)]
    struct Deleted<'a> {
        id: &'a Identity,
        revision: u64,
        #[serde(with = "rfc3339")]
        at: Timestamp,
    }

    event(ServerKind::UserDeleted, &Deleted { id, revision, at })
}

/// A channel has a new member, who is watched from now on.
pub fn member_added(cid: &Cid, user: &PublicUser<'_>) -> Bytes {
    #[derive(Serialize)]
    struct Added<'a> {
        cid: String,
        user: &'a PublicUser<'a>,
    }

    event(ServerKind::MemberAdded, &Added { cid: cid.to_string(), user })
}

/// A channel lost a member.
pub fn member_removed(cid: &Cid, id: &Identity) -> Bytes {
    #[derive(Serialize)]
    struct Removed<'a> {
        cid: String,
        id: &'a Identity,
    }

    event(ServerKind::MemberRemoved, &Removed { cid: cid.to_string(), id })
}

/// A channel was deleted; or it is for somebody who was removed from it.
pub fn channel_deleted(cid: &Cid) -> Bytes {
    #[derive(Serialize)]
    struct Deleted {
        cid: String,
    }

    event(ServerKind::ChannelDeleted, &Deleted { cid: cid.to_string() })
}
