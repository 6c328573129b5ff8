//! What the server sends.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use crate::channel::Channel;
use crate::error::Refusal;
use crate::user::User;

/// A message of the server.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connected(Box<Connected>),
    Done {
        id: u64,
        done: Box<Done>,
    },
    Refused {
        id: Option<u64>,
        refusal: Refusal,
    },
    Part(Part),
    Pong {
        id: u64,
    },
    Ping,
    PresenceChanged(Changed),
    UserUpdated(Changed),
    UserDeleted(Deleted),
    MemberAdded {
        cid: Arc<str>,
        user: User,
    },
    MemberRemoved {
        cid: Arc<str>,
        id: Arc<str>,
    },
    ChannelDeleted {
        cid: Arc<str>,
    },
    TokenExpiring,
    /// Something that a later server says.
    Unknown,
}

/// The answer to `connect`.
#[derive(Debug, Deserialize)]
pub(crate) struct Connected {
    pub(crate) connection_id: Arc<str>,
    #[serde(default)]
    pub(crate) continuation_token: Option<String>,
    pub(crate) user: User,
    pub(crate) ping_seconds: f64,
    pub(crate) answer_seconds: f64,
}

/// What the answers have in them, together.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Done {
    pub(crate) user: Option<User>,
    pub(crate) channel: Option<Channel>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) created: bool,
    pub(crate) cursor: Option<String>,
    pub(crate) index: Option<String>,
    pub(crate) gone: Vec<Arc<str>>,
}

/// A part of a long answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) users: Vec<User>,
    #[serde(default)]
    pub(crate) channel: Option<Arc<str>>,
    #[serde(default)]
    pub(crate) members: Vec<Arc<str>>,
}

/// A user that changed.
#[derive(Debug, Deserialize)]
pub(crate) struct Changed {
    pub(crate) user: User,
    #[serde(default)]
    pub(crate) at: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    id: Option<u64>,
    #[serde(flatten)]
    refusal: Refusal,
}

/// A user that was deleted.
#[derive(Debug, Deserialize)]
pub(crate) struct Deleted {
    pub(crate) id: Arc<str>,
    /// What has a higher one is a new user.
    #[serde(default)]
    pub(crate) revision: Option<u64>,
    #[serde(default)]
    pub(crate) at: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct Added {
    cid: Arc<str>,
    user: User,
}

#[derive(Deserialize)]
struct Removed {
    cid: Arc<str>,
    id: Arc<str>,
}

#[derive(Deserialize)]
struct Cid {
    cid: Arc<str>,
}

impl Incoming {
    /// Reads a message: first its type, then what a message of the type has.
    pub(crate) fn parse(text: &str) -> serde_json::Result<Self> {
        use serde_json::from_str;
        let head: Head<'_> = from_str(text)?;
        Ok(match &*head.kind {
            "connected" => Self::Connected(from_str(text)?),
            "ok" => Self::Done { id: from_str::<Id>(text)?.id, done: from_str(text)? },
            "error" => {
                let Refused { id, refusal } = from_str(text)?;
                Self::Refused { id, refusal }
            }
            "part" => Self::Part(from_str(text)?),
            "pong" => Self::Pong { id: from_str::<Id>(text)?.id },
            "ping" => Self::Ping,
            "user.presence.changed" => Self::PresenceChanged(from_str(text)?),
            "user.updated" => Self::UserUpdated(from_str(text)?),
            "user.deleted" => Self::UserDeleted(from_str(text)?),
            "member.added" => {
                let Added { cid, user } = from_str(text)?;
                Self::MemberAdded { cid, user }
            }
            "member.removed" => {
                let Removed { cid, id } = from_str(text)?;
                Self::MemberRemoved { cid, id }
            }
            "channel.deleted" => Self::ChannelDeleted { cid: from_str::<Cid>(text)?.cid },
            "token.expiring" => Self::TokenExpiring,
            _ => Self::Unknown,
        })
    }
}
