//! A channel as our own interfaces show it: the JSON socket, and the channels over REST.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::channel::Channel;
use crate::channel::key::{ChannelId, ChannelType};
use crate::identity::Identity;
use crate::time::{Timestamp, rfc3339};

/// A channel.
#[derive(Debug, Clone, Serialize)]
pub struct PublicChannel<'a> {
    /// The first part of its name.
    #[serde(rename = "type")]
    pub kind: &'a ChannelType,
    /// The second part of its name.
    pub id: &'a ChannelId,
    /// Both, as `type:id`.
    pub cid: String,
    /// Its members; missing where they are not told with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<&'a [Identity]>,
    /// How many members it has.
    pub member_count: usize,
    /// The app's own fields.
    pub custom: &'a Map<String, Value>,
    /// The user who created it; `null` if the owner did.
    pub created_by: Option<&'a Identity>,
    /// When it was created.
    #[serde(with = "rfc3339")]
    pub created_at: Timestamp,
    /// When its fields were last set.
    #[serde(with = "rfc3339")]
    pub updated_at: Timestamp,
    /// When the last message was sent, as the app says; `null` if it did not say.
    #[serde(with = "rfc3339::option")]
    pub last_message_at: Option<Timestamp>,
}

impl<'a> PublicChannel<'a> {
    /// A channel, and these members if they are to be told with it.
    pub fn of(channel: &'a Channel, members: Option<&'a [Identity]>) -> Self {
        let Channel { key, custom, created_by, created_at, updated_at, last_message_at, member_count, .. } = channel;
        Self {
            kind: &key.cid.kind,
            id: &key.cid.id,
            cid: key.cid.to_string(),
            members,
            member_count: *member_count,
            custom,
            created_by: created_by.as_ref(),
            created_at: *created_at,
            updated_at: *updated_at,
            last_message_at: *last_message_at,
        }
    }
}
