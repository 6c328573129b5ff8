//! The message of the webhook queue.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::directory::service::WebhookEvent;
use crate::directory::user::User;
use crate::identity::UserKey;
use crate::presence::change::{Notice, Profile};
use crate::presence::change_reason::ChangeReason;
use crate::presence::reachability::Reachability;
use crate::push::report::{PushReport, Report};
use crate::queue::{InvalidMessage, Message};
use crate::sid::{ServiceSid, Sid, UserSid};
use crate::time::Timestamp;

/// A webhook to send. It has everything that the receiver is told, so each attempt tells the same. Only the URL, the
/// method and the number of retries are read from the configuration, at each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookMessage {
    /// The user. The webhooks of a user are sent one after the other, those of its changes in the order of their revisions.
    #[serde(flatten)]
    pub user: UserKey,
    /// What happened.
    pub event: WebhookEvent,
    /// What is told of it.
    #[serde(flatten)]
    pub told: Told,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// The position of the change in the feed, by which a queue knows what it has taken before; `None` for a feed without
    /// positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
}

/// What a webhook tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// A report of a device of the user.
    Push(PushReport),
    /// A change of the user.
    User(UserTold),
}

/// What a webhook tells of a user who has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTold {
    /// The user's sid.
    pub user_sid: UserSid,
    /// The profile; `None` if the user was deleted before the webhook was queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<WebhookProfile>,
    /// Whether the user is online and notifiable.
    #[serde(flatten)]
    pub reachability: Reachability,
    /// Why it happened. Of several reasons that of the existence, or else of `is_online`.
    pub reason: ChangeReason,
    /// The revision of the change. Of two changes of a user, the one with the higher revision is later.
    pub revision: u64,
}

/// A user's profile, as a webhook tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookProfile {
    /// What can be changed of it.
    #[serde(flatten)]
    pub profile: Profile,
    /// [`User::date_created`].
    pub date_created: Timestamp,
    /// [`User::date_updated`].
    pub date_updated: Timestamp,
}

impl From<&User> for WebhookProfile {
    fn from(user: &User) -> Self {
        Self { profile: user.into(), date_created: user.date_created, date_updated: user.date_updated }
    }
}

impl WebhookMessage {
    /// A webhook of a change, queued at `now`, with what is stored of the user now (`None`: it was deleted), and whether it
    /// is reachable now, which a change of the profile does not tell itself. `None` if no webhook tells such a change.
    pub fn of(
        notice: &Notice,
        event: WebhookEvent,
        stored: Option<(&User, Reachability)>,
        now: Timestamp,
    ) -> Option<Self> {
        let profile = stored.map(|(user, _)| WebhookProfile::from(user));
        let (user, told) = match notice {
            Notice::User(change) => {
                let reasons = &change.reasons;
                let existence = reasons.exists.as_ref().filter(|_| event == WebhookEvent::UserAdded);
                let reason = existence.or(reasons.is_online.as_ref()).or(reasons.is_notifiable.as_ref());
                let reason = reason.or(reasons.status.as_ref())?.clone();
                let told = UserTold {
                    user_sid: change.user_sid?,
                    profile,
                    reachability: change.after.reachability,
                    reason,
                    revision: change.revision,
                };
                (&change.user, told)
            }
            Notice::Profile(change) => {
                let told = UserTold {
                    user_sid: change.user_sid,
                    profile: profile.map(|profile| WebhookProfile {
                        profile: change.profile.clone(),
                        date_updated: change.at,
                        ..profile
                    }),
                    reachability: stored.map_or(Reachability::UNKNOWN, |(_, reachability)| reachability),
                    reason: change.reason.clone(),
                    revision: change.revision,
                };
                (&change.user, told)
            }
            Notice::Service(_) => return None,
        };
        Some(Self { user: user.clone(), event, told: Told::User(told), queued_at: now, position: None })
    }

    /// A webhook of a report, queued at `now`.
    pub fn of_report(report: &Report, event: WebhookEvent, now: Timestamp) -> Self {
        let Report { user, push } = report.clone();
        Self { user, event, told: Told::Push(push), queued_at: now, position: None }
    }

    /// The user's sid, if it is told.
    pub fn user_sid(&self) -> Option<UserSid> {
        match &self.told {
            Told::User(told) => Some(told.user_sid),
            Told::Push(_) => None,
        }
    }

    /// The same for the same change, however often it is told, and for no other: by this the receiver knows a repetition. In
    /// the form of a UUID.
    pub fn token(&self) -> String {
        let UserKey { service, identity } = &self.user;
        let (service, event) = (service.bits().to_be_bytes(), self.event.name().as_bytes());
        let user = [&service, identity.as_str().as_bytes(), event];
        let bits = match &self.told {
            Told::User(told) => {
                // A write of a profile may also tell that a lease has ended: both have the same revision.
                let (revision, reason) = (told.revision.to_be_bytes(), told.reason.to_string());
                digest::hash(&[user[0], user[1], user[2], &revision, reason.as_bytes()])
            }
            // A delivery is given up once.
            Told::Push(PushReport::DeliveryFailed { notification_sid, binding_sid, .. }) => {
                let (notification, binding) = (notification_sid.bits().to_be_bytes(), binding_sid.bits().to_be_bytes());
                digest::hash(&[user[0], user[1], user[2], &notification, &binding])
            }
            Told::Push(PushReport::BindingDied { binding_sid, death, .. }) => {
                let (binding, at) = (binding_sid.bits().to_be_bytes(), death.at.as_millis().to_be_bytes());
                digest::hash(&[user[0], user[1], user[2], &binding, &at, death.status().as_bytes()])
            }
        };
        // Version 8: the form is ours.
        let bits = bits & !(0xF << 76) | 0x8 << 76;
        let bits = bits & !(0x3 << 62) | 0x2 << 62;
        let digits = format!("{bits:032x}");
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }

    /// A name of the user, for a queue that keeps the messages of one name in order: up to 128 letters, digits and hyphens.
    /// It does not show the identity.
    pub fn group(&self) -> String {
        let UserKey { service, identity } = &self.user;
        format!("{service}-{:032x}", digest::hash(&[identity.as_str().as_bytes()]))
    }
}

impl Message for WebhookMessage {
    fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        serde_json::from_slice(body).map_err(|error| InvalidMessage::Json(error.to_string()))
    }

    fn to_json(&self) -> String {
        // Strings, numbers and booleans: it can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn due_at(&self) -> Option<Timestamp> {
        None
    }

    fn service(&self) -> Option<ServiceSid> {
        Some(self.user.service)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::presence::change::ProfileChange;
    use crate::push::binding::Death;
    use crate::push::channel::Channel;
    use crate::push::reason::Reason;
    use crate::sid::RoleSid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    pub(in crate::webhook) fn message() -> WebhookMessage {
        let profile = Profile {
            friendly_name: Some("Alice".to_owned()),
            attributes: "{\"a\": 1}".to_owned(),
            role_sid: Some(RoleSid::from_bits(3)),
        };
        WebhookMessage {
            user: UserKey { service: Sid::from_bits(1), identity: "alice & bob".parse().unwrap() },
            event: WebhookEvent::UserUpdated,
            told: Told::User(UserTold {
                user_sid: Sid::from_bits(7),
                profile: Some(WebhookProfile {
                    profile,
                    date_created: NOW,
                    date_updated: Timestamp::from_millis(NOW.as_millis() + 1),
                }),
                reachability: Reachability { online: Some(true), notifiable: None },
                reason: ChangeReason::Connect,
                revision: 1_795_132_800_123,
            }),
            queued_at: NOW,
            position: Some(5),
        }
    }

    /// What the message tells of the user.
    fn user_told() -> UserTold {
        match message().told {
            Told::User(told) => told,
            Told::Push(report) => panic!("{report:?}"),
        }
    }

    /// The message with something else told of the user.
    pub(in crate::webhook) fn telling(change: impl FnOnce(&mut UserTold)) -> WebhookMessage {
        let mut told = user_told();
        change(&mut told);
        WebhookMessage { told: Told::User(told), ..message() }
    }

    pub(in crate::webhook) fn failed_delivery() -> WebhookMessage {
        let push = PushReport::DeliveryFailed {
            notification_sid: Sid::from_bits(3),
            binding_sid: Sid::from_bits(4),
            binding_type: Channel::Fcm,
            reason: Reason::new("UNREGISTERED"),
            attempts: 2,
            at: NOW,
        };
        WebhookMessage::of_report(&Report { user: message().user, push }, WebhookEvent::NotificationFailed, NOW)
    }

    pub(in crate::webhook) fn dead_binding(is_mismatch: bool) -> WebhookMessage {
        let push = PushReport::BindingDied {
            binding_sid: Sid::from_bits(4),
            binding_type: Channel::Apn,
            credential_sid: Some(Sid::from_bits(5)),
            death: Death { reason: Reason::new("BadDeviceToken"), at: NOW, is_mismatch },
        };
        WebhookMessage::of_report(&Report { user: message().user, push }, WebhookEvent::BindingDead, NOW)
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let without = WebhookMessage { position: None, ..telling(|told| told.profile = None) };
        for message in [message(), without, failed_delivery(), dead_binding(true), dead_binding(false)] {
            assert_eq!(WebhookMessage::parse(message.to_json().as_bytes()).unwrap(), message);
        }
        for invalid in ["{}", r#"{"service_sid":"IS00000000000000000000000000000001","queued_at":1}"#] {
            assert!(WebhookMessage::parse(invalid.as_bytes()).is_err());
        }
    }

    /// What waits in a queue when the server is upgraded.
    #[test]
    fn a_message_of_an_earlier_version_is_read() {
        let earlier = r#"{"service_sid":"IS00000000000000000000000000000001","identity":"alice & bob","user_sid":"US00000000000000000000000000000007","event":"onUserUpdated","profile":{"friendly_name":"Alice","attributes":"{\"a\": 1}","role_sid":"RL00000000000000000000000000000003","date_created":1795132800000,"date_updated":1795132800001},"is_online":true,"is_notifiable":null,"reason":"connect","revision":1795132800123,"queued_at":1795132800000,"position":5}"#;
        assert_eq!(WebhookMessage::parse(earlier.as_bytes()).unwrap(), message());
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(&message().to_json()), value(earlier), "and is written with the same members");
    }

    #[test]
    fn a_token_names_a_change_and_nothing_else_does() {
        let token = message().token();
        assert_eq!(token, "46c0ba50-ed1e-8c75-864a-de1440fbca64");
        let later = Timestamp::from_millis(NOW.as_millis() + 1_000);
        let again = WebhookMessage { queued_at: later, position: None, ..telling(|told| told.profile = None) };
        assert_eq!(again.token(), token, "the change is the same");
        let user =
            |service, identity: &str| UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
        for other in [
            telling(|told| told.revision = 1_795_132_800_124),
            WebhookMessage { event: WebhookEvent::UserAdded, ..message() },
            telling(|told| told.reason = ChangeReason::Profile),
            WebhookMessage { user: user(2, "alice & bob"), ..message() },
            WebhookMessage { user: user(1, "alice"), ..message() },
            failed_delivery(),
            dead_binding(false),
        ] {
            assert_ne!(other.token(), token);
        }
    }

    #[test]
    fn a_token_names_a_report_and_nothing_else_does() {
        let changed = |message: WebhookMessage, change: &dyn Fn(&mut PushReport)| {
            let Told::Push(mut report) = message.told else { panic!() };
            change(&mut report);
            WebhookMessage { told: Told::Push(report), ..message }
        };
        let known = [failed_delivery(), dead_binding(true), dead_binding(false)].map(|message| message.token());
        let later = NOW.plus(std::time::Duration::from_secs(1));
        // A second process gives it up, too.
        let again = changed(failed_delivery(), &|report| {
            if let PushReport::DeliveryFailed { reason, attempts, at, .. } = report {
                (*reason, *attempts, *at) = (Reason::new("TimedOut"), 3, later);
            }
        });
        assert_eq!(again.token(), known[0]);
        let others = [
            changed(failed_delivery(), &|report| {
                if let PushReport::DeliveryFailed { notification_sid, .. } = report {
                    *notification_sid = Sid::from_bits(8);
                }
            }),
            changed(failed_delivery(), &|report| {
                if let PushReport::DeliveryFailed { binding_sid, .. } = report {
                    *binding_sid = Sid::from_bits(8);
                }
            }),
            changed(dead_binding(false), &|report| {
                if let PushReport::BindingDied { death, .. } = report {
                    death.at = later;
                }
            }),
        ];
        let all: std::collections::BTreeSet<String> =
            known.iter().cloned().chain(others.iter().map(WebhookMessage::token)).collect();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn the_messages_of_a_user_are_one_group() {
        let group = message().group();
        assert_eq!(group, "IS00000000000000000000000000000001-877ffa800295c5cd1615676469d903c1");
        assert_eq!(
            WebhookMessage { event: WebhookEvent::UserAdded, ..telling(|told| told.revision = 1) }.group(),
            group
        );
        assert_eq!(failed_delivery().group(), group);
        for (service, identity) in [(2, "alice & bob"), (1, "alice")] {
            let user = UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
            assert_ne!(WebhookMessage { user, ..message() }.group(), group);
        }
    }

    #[test]
    fn a_change_of_the_profile_tells_the_profile_of_then() {
        let then = user_told().profile.unwrap().profile;
        let change = ProfileChange {
            user: message().user,
            user_sid: user_told().user_sid,
            before: Profile { friendly_name: None, ..then.clone() },
            profile: then.clone(),
            reason: ChangeReason::Profile,
            at: NOW,
            revision: 5,
            generation: Default::default(),
        };
        let mut now = User::new(user_told().user_sid, message().user, None, NOW);
        (now.friendly_name, now.date_updated) = (Some("Carol".to_owned()), Timestamp::MAX);
        let reachability = Reachability { online: Some(false), notifiable: Some(true) };
        let notice = Notice::Profile(change);
        let told = |stored| match WebhookMessage::of(&notice, WebhookEvent::UserUpdated, stored, NOW).unwrap().told {
            Told::User(told) => told,
            Told::Push(report) => panic!("{report:?}"),
        };
        let message = told(Some((&now, reachability)));
        assert_eq!(message.profile, Some(WebhookProfile { profile: then, date_created: NOW, date_updated: NOW }));
        assert_eq!(message.reachability, reachability);
        assert_eq!(told(None).profile, None);
    }
}
