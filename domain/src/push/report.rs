//! Reports to the owner: a delivery has failed for good, or a registration cannot be reached any more.

use serde::{Deserialize, Serialize};

use crate::identity::UserKey;
use crate::push::binding::{Binding, Death};
use crate::push::channel::Channel;
use crate::push::notification::{Delivery, DeliveryStatus};
use crate::push::reason::Reason;
use crate::sid::{BindingSid, CredentialSid, NotificationSid};
use crate::time::Timestamp;

/// What is reported of a user's device. Like every webhook it never has the device's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The user who owned the device.
    #[serde(flatten)]
    pub user: UserKey,
    /// What is reported.
    #[serde(flatten)]
    pub push: PushReport,
}

/// What is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum PushReport {
    /// The delivery of a notification to a device was given up.
    DeliveryFailed {
        /// The notification.
        notification_sid: NotificationSid,
        /// The device.
        binding_sid: BindingSid,
        /// The push channel.
        binding_type: Channel,
        /// The provider's reason, or this project's own.
        reason: Reason,
        /// How often it was attempted.
        attempts: u32,
        /// When it was given up.
        at: Timestamp,
    },
    /// A registration has died, or is undeliverable.
    BindingDied {
        /// The registration.
        binding_sid: BindingSid,
        /// The push channel.
        binding_type: Channel,
        /// The credential for its provider.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credential_sid: Option<CredentialSid>,
        /// Why.
        death: Death,
    },
}

impl Report {
    /// What a write of a binding is reported as (`None`: there was or is none); `None` if as nothing. Once it is reported as
    /// dead or undeliverable, it is reported again only after it was alive, or as the other of the two.
    pub fn of_binding(before: Option<&Binding>, after: Option<&Binding>) -> Option<Self> {
        let after = after?;
        let death = after.death.as_ref()?;
        let before = before.filter(|before| before.sid == after.sid)?;
        if before.death.as_ref().is_some_and(|known| known.is_mismatch == death.is_mismatch) {
            return None;
        }
        Some(Self {
            user: after.user(),
            push: PushReport::BindingDied {
                binding_sid: after.sid,
                binding_type: after.channel,
                credential_sid: after.credential_sid,
                death: death.clone(),
            },
        })
    }

    /// What a write of a delivery is reported as (`None`: it was not there before); `None` if as nothing. Deliveries of earlier
    /// versions do not know their service, unless they were attempted since.
    pub fn of_delivery(before: Option<&Delivery>, after: &Delivery) -> Option<Self> {
        let DeliveryStatus::Failed { reason } = &after.status else { return None };
        if before.is_some_and(|before| matches!(before.status, DeliveryStatus::Failed { .. })) {
            return None;
        }
        Some(Self {
            user: UserKey { service: after.service_sid?, identity: after.identity.clone() },
            push: PushReport::DeliveryFailed {
                notification_sid: after.notification_sid,
                binding_sid: after.binding_sid,
                binding_type: after.channel,
                reason: reason.clone(),
                attempts: after.attempts,
                at: after.date_updated,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::device::{Address, Device};
    use crate::push::lifetime::Lifetime;
    use crate::sid::Sid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn binding(identity: &str, death: Option<Death>) -> Binding {
        let (service_sid, address) = (Sid::from_bits(1), Address::new(Channel::Apn, "00ff").unwrap());
        let identity = identity.parse().unwrap();
        Binding {
            sid: Device::new(service_sid, Channel::Apn, &address).binding_sid(&identity),
            service_sid,
            identity,
            channel: Channel::Apn,
            address,
            credential_sid: Some(Sid::from_bits(2)),
            endpoint: None,
            tags: vec![],
            date_created: NOW,
            date_updated: NOW,
            registered_at: NOW,
            lifetime: Lifetime::YEAR,
            confirmed_at: None,
            asked_at: None,
            learnt_with: NOW,
            environment: None,
            death,
            version: 0,
        }
    }

    fn death(reason: &str, is_mismatch: bool) -> Death {
        Death { reason: Reason::new(reason), at: NOW, is_mismatch }
    }

    #[test]
    fn a_registration_is_reported_when_it_ceases_to_be_reachable() {
        let alive = binding("alice", None);
        let dead = binding("alice", Some(death("Unregistered", false)));
        let later = binding("alice", Some(death("ExpiredToken", false)));
        let unfit = binding("alice", Some(death("BadDeviceToken", true)));
        let of_bob = binding("bob", None);
        for (before, after, is_reported) in [
            (None, Some(&alive), false),
            (Some(&alive), Some(&alive), false),
            (Some(&alive), Some(&dead), true),
            (Some(&alive), Some(&unfit), true),
            (Some(&dead), Some(&dead), false),
            (Some(&dead), Some(&later), false),
            (Some(&unfit), Some(&dead), true),
            (Some(&dead), Some(&alive), false),
            (Some(&dead), None, false),
            (Some(&alive), None, false),
            (Some(&of_bob), Some(&dead), false),
        ] {
            let report = Report::of_binding(before, after);
            assert_eq!(report.is_some(), is_reported, "{before:?} {after:?}");
            let Some(report) = report else { continue };
            assert_eq!(report.user, alive.user());
            let json = serde_json::to_string(&report).unwrap();
            assert!(!json.contains("00ff"), "the token is secret: {json}");
            assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        }
    }

    #[test]
    fn a_delivery_is_reported_when_it_is_given_up() {
        let delivery = |status| Delivery {
            service_sid: Some(Sid::from_bits(1)),
            notification_sid: Sid::from_bits(3),
            binding_sid: Sid::from_bits(4),
            identity: "alice".parse().unwrap(),
            channel: Channel::Fcm,
            status,
            attempts: 2,
            next_attempt_at: None,
            decided_at: None,
            date_updated: NOW,
        };
        let queued = delivery(DeliveryStatus::NEW);
        let accepted = delivery(DeliveryStatus::Accepted { id: None });
        let failed = delivery(DeliveryStatus::Failed { reason: Reason::new("UNREGISTERED") });
        for (before, after, is_reported) in [
            (None, &queued, false),
            (Some(&queued), &accepted, false),
            (Some(&queued), &failed, true),
            (None, &failed, true),
            (Some(&failed), &failed, false),
            (Some(&failed), &accepted, false),
        ] {
            let report = Report::of_delivery(before, after);
            assert_eq!(report.is_some(), is_reported, "{before:?} {after:?}");
            let Some(report) = report else { continue };
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        }
        let of_nobody = Delivery { service_sid: None, ..failed };
        assert_eq!(Report::of_delivery(Some(&queued), &of_nobody), None);
    }
}
