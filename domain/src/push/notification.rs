//! Notifications: sent by the owner to all devices of some users, with a delivery status per device.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::push::channel::Channel;
use crate::push::idempotency::KeyedRequest;
use crate::push::payload::Content;
use crate::push::reason::Reason;
use crate::push::recipient::{Accepted, OnlineUser, Recipient, RecipientStatus, When};
use crate::push::tag::Tag;
use crate::sid::{BindingSid, NotificationSid, ServiceSid, Sid};
use crate::time::Timestamp;

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The notification's sid; immutable.
    pub sid: NotificationSid,
    /// The service.
    pub service_sid: ServiceSid,
    /// The recipients.
    pub identities: Vec<Identity>,
    /// Only devices whose bindings have all of these tags get it; empty for all devices of the recipients. Earlier
    /// versions stored none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Which of the recipients it is for.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
    /// Those of the recipients who were online when it was accepted, if it is for those who are offline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub online: Vec<OnlineUser>,
    /// Title, text and data.
    pub content: Content,
    /// How long providers keep it for an unreachable device, in seconds. Zero: deliver now or never. `None`: the
    /// provider's maximum.
    pub ttl_seconds: Option<u32>,
    /// Creation time.
    pub date_created: Timestamp,
    /// The request that made it, if that had a key. Earlier versions stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyed_request: Option<KeyedRequest>,
}

impl Notification {
    /// How long a notification and its deliveries are kept, in seconds.
    pub const KEPT_SECONDS: u64 = 7 * 86_400;

    /// How long its deliveries are retried at most, in seconds. A day later nothing would be known of them.
    const RETRIED_SECONDS: u64 = 6 * 86_400;

    /// When it expires; `None` if it has no TTL. With a TTL of zero this is in the past, which providers read as "now
    /// or never".
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.ttl_seconds.map(|ttl| match ttl {
            0 => Timestamp::default(),
            ttl => self.date_created.plus(Duration::from_secs(ttl.into())),
        })
    }

    /// Until when a failed delivery is retried: until it expires, at most for six days.
    pub fn retried_until(&self) -> Timestamp {
        let longest = self.date_created.plus(Duration::from_secs(Self::RETRIED_SECONDS));
        self.expires_at().map_or(longest, |at| at.min(longest))
    }

    /// What was decided about a user when it was accepted.
    pub fn accepted(&self, identity: &Identity) -> Accepted {
        let is_of_user = |user: &&OnlineUser| self.identities.get(user.index) == Some(identity);
        self.online.iter().find(is_of_user).map_or(Accepted::Queued, Accepted::from)
    }

    /// What is known of a user for whom no final decision is stored.
    pub fn undecided(&self, identity: &Identity) -> Recipient {
        let status = match self.accepted(identity) {
            Accepted::Queued => RecipientStatus::Queued,
            Accepted::Held(hold) => RecipientStatus::Held { until: hold.until.min(self.retried_until()) },
            Accepted::Skipped => RecipientStatus::Skipped,
        };
        let (identity, date_updated) = (identity.clone(), self.date_created);
        Recipient { notification_sid: self.sid, identity, status, date_updated }
    }

    /// The id of its push to a device. A retry has the same id.
    pub fn push_id(&self, binding: BindingSid) -> u128 {
        // Both sids are mostly random.
        self.sid.bits().rotate_left(64) ^ binding.bits()
    }
}

/// The delivery of a notification to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The service. Earlier versions did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_sid: Option<ServiceSid>,
    /// The notification.
    pub notification_sid: NotificationSid,
    /// The device.
    pub binding_sid: BindingSid,
    /// The user who owned the device.
    pub identity: Identity,
    /// The push channel.
    pub channel: Channel,
    /// The current status.
    pub status: DeliveryStatus,
    /// How often it was attempted, including attempts that were held back since the provider was known to fail. Earlier
    /// versions did not store it.
    #[serde(default)]
    pub attempts: u32,
    /// When the next attempt is due; `None` if there is none, or if it is due at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was decided that it is sent, before the first attempt; `None` if it was not, or if the notification is for
    /// everybody. From then on it is sent even if the user is online by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// When the status was set, or the last attempt failed.
    pub date_updated: Timestamp,
}

/// The status of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waiting for the next attempt.
    Queued {
        /// Why the last attempt failed; `None` before the first. [`Reason::ONLINE`]: there was none, since the user may be
        /// online.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// The provider accepted it.
    Accepted {
        /// The provider's id for it; `None` if not given.
        id: Option<String>,
    },
    /// It was given up.
    Failed {
        /// The provider's reason, or this project's own.
        reason: Reason,
    },
    /// It was not sent, since the user was online.
    Skipped,
}

impl DeliveryStatus {
    /// Queued, and not attempted yet.
    pub const NEW: Self = Self::Queued { reason: None };

    /// Whether the status can still change.
    pub fn is_queued(&self) -> bool {
        matches!(self, Self::Queued { .. })
    }

    /// The name in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Accepted { .. } => "accepted",
            Self::Failed { .. } => "failed",
            Self::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A delivery that was stored before queued deliveries had a reason.
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
