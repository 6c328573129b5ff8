//! Channels, as much as presence needs: groups of users who are watched together.

pub mod data;
pub mod fields;
pub mod key;
pub mod ports;
pub mod public_channel;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::channel::key::ChannelKey;
use crate::identity::Identity;
use crate::time::Timestamp;

/// How many members a channel may have.
pub const MAX_MEMBERS: usize = 10_000;

/// How many channels that exist a user may have created. What the owner creates is not limited.
pub const MAX_CREATED: usize = 1_000;

/// A channel. Its members are stored apart from it: identities, for which there need not be a user yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// What names it; immutable.
    #[serde(flatten)]
    pub key: ChannelKey,
    /// The app's own fields ([`data::custom`]).
    pub custom: Map<String, Value>,
    /// The user who created it; `None` if the owner did.
    pub created_by: Option<Identity>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its fields were last set. Changes of members do not count.
    pub updated_at: Timestamp,
    /// When the last message was sent, as the app says; `None` if it did not say.
    pub last_message_at: Option<Timestamp>,
    /// How many members it has. The store counts them: what a caller gives is ignored.
    #[serde(skip)]
    pub member_count: usize,
    /// Incremented by every replacement.
    #[serde(skip)]
    pub version: u64,
}
