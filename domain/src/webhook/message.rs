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
pub(super) mod tests;
