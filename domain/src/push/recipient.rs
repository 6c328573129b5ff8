//! Who of a notification's users gets it, where that depends on whether they are online.
//!
//! It is decided when the notification is accepted, and again before the first push to each device. The rules are in
//! [`crate::presence::hold`]; here is what is stored.

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::sid::{BindingSid, NotificationSid};
use crate::time::Timestamp;

/// Which of its users a notification is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All of them.
    #[default]
    Always,
    /// Those who are offline as others see it.
    Offline,
}

impl When {
    /// Whether it is the default.
    pub fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// A user who was online when a notification was accepted, and may turn out to have been lost by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// By when it is known whether the connections that the user had then were lost. Later than the end of the notification, if
    /// that is to expire before.
    pub until: Timestamp,
    /// When the latest connect occurred that was known then. A later one shows that the user is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<Timestamp>,
}

/// A user who was online when a notification was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineUser {
    /// The position among the notification's identities.
    pub index: usize,
    /// `None`: the notification is not for it, since it cannot wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// What was decided about a user when the notification was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is sent, if the user is still offline then.
    Queued,
    /// It waits.
    Held(Hold),
    /// It is not sent.
    Skipped,
}

impl From<&OnlineUser> for Accepted {
    fn from(user: &OnlineUser) -> Self {
        user.hold.map_or(Self::Skipped, Self::Held)
    }
}

/// What came of a notification for one of its users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The notification.
    pub notification_sid: NotificationSid,
    /// The user.
    pub identity: Identity,
    /// What was decided.
    pub status: RecipientStatus,
    /// When.
    pub date_updated: Timestamp,
}

/// What was decided about a user. The first of the final decisions is stored, and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RecipientStatus {
    /// The user was offline, and is looked at again before it is sent. Never stored.
    Queued,
    /// The user was online, and it waits. Never stored.
    Held {
        /// Until then at most; a little longer if the user's last connection is lost by then.
        until: Timestamp,
    },
    /// Final: the user was offline.
    Sent {
        /// The device for which that was decided first. Its delivery is not decided on again.
        binding: BindingSid,
    },
    /// Final: the user was online.
    Skipped,
    /// Final: the user was offline, and had no device for it.
    NoDevice,
}

impl RecipientStatus {
    /// The name in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held { .. } => "held",
            Self::Sent { .. } => "sent",
            Self::Skipped => "skipped",
            Self::NoDevice => "no_device",
        }
    }
}
