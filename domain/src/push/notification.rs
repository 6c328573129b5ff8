//! Notifications: what the owner sends to all devices of some users, and what became of it on each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::push::channel::Channel;
use crate::push::payload::Content;
use crate::push::reason::Reason;
use crate::sid::{BindingSid, NotificationSid, ServiceSid, Sid};
use crate::time::Timestamp;

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The notification's sid, never changed.
    pub sid: NotificationSid,
    /// The service that it belongs to.
    pub service_sid: ServiceSid,
    /// To whom it goes.
    pub identities: Vec<Identity>,
    /// What it says.
    pub content: Content,
    /// For how long providers keep it for a device that cannot be reached, in seconds; zero for now or never, `None` for as
    /// long as they like.
    pub ttl_seconds: Option<u32>,
    /// When it was made.
    pub date_created: Timestamp,
}

impl Notification {
    /// For how long a notification and what became of it can be read, in seconds.
    pub const KEPT_SECONDS: u64 = 7 * 86_400;

    /// When it is no longer worth delivering: long ago if it is for now or never, which is how providers are told.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.ttl_seconds.map(|ttl| match ttl {
            0 => Timestamp::default(),
            ttl => self.date_created.plus(Duration::from_secs(ttl.into())),
        })
    }

    /// Names its delivery to a device: the same for the same one.
    pub fn push_id(&self, binding: BindingSid) -> u128 {
        // Both are random for the most part.
        self.sid.bits().rotate_left(64) ^ binding.bits()
    }
}

/// What became of a notification on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Of which notification.
    pub notification_sid: NotificationSid,
    /// To which device.
    pub binding_sid: BindingSid,
    /// Whose device it was.
    pub identity: Identity,
    /// Through which channel.
    pub channel: Channel,
    /// What became of it.
    pub status: DeliveryStatus,
    /// When that was.
    pub date_updated: Timestamp,
}

/// What became of a notification on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It is on its way.
    Queued {
        /// Why the last attempt failed; `None` if there was none yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// The device's provider took it.
    Accepted {
        /// The provider's own name for it, if it gave one.
        id: Option<String>,
    },
    /// It will not be delivered.
    Failed {
        /// The provider's word for why not, or ours.
        reason: Reason,
    },
}

impl DeliveryStatus {
    /// On its way, and not tried yet.
    pub const NEW: Self = Self::Queued { reason: None };

    /// Whether it can still become something else.
    pub fn is_queued(&self) -> bool {
        matches!(self, Self::Queued { .. })
    }

    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Accepted { .. } => "accepted",
            Self::Failed { .. } => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deliveries that were stored before they had a reason while they are queued.
    #[test]
    fn a_queued_delivery_without_a_reason_is_read() {
        let old = r#"{"status":"queued"}"#;
        assert_eq!(serde_json::from_str::<DeliveryStatus>(old).unwrap(), DeliveryStatus::NEW);
        assert_eq!(serde_json::to_string(&DeliveryStatus::NEW).unwrap(), old);
        let tried = DeliveryStatus::Queued { reason: Some(Reason::new("NotConnected")) };
        let stored = serde_json::to_string(&tried).unwrap();
        assert_eq!(serde_json::from_str::<DeliveryStatus>(&stored).unwrap(), tried);
    }
}
