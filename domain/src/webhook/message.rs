//! The message of the webhook queue.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::directory::service::WebhookEvent;
use crate::directory::user::User;
use crate::identity::UserKey;
use crate::presence::change::{Notice, Profile};
use crate::presence::change_reason::ChangeReason;
use crate::presence::reachability::Reachability;
use crate::queue::{InvalidMessage, Message};
use crate::sid::{ServiceSid, Sid, UserSid};
use crate::time::Timestamp;

/// A webhook to send. It has everything that the receiver is told, so each attempt tells the same. Only the URL, the
/// method and the number of retries are read from the configuration, at each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookMessage {
    /// The user. The webhooks of a user are sent one after the other, in the order of their revisions.
    #[serde(flatten)]
    pub user: UserKey,
    /// The user's sid.
    pub user_sid: UserSid,
    /// What happened.
    pub event: WebhookEvent,
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
    /// When it was queued.
    pub queued_at: Timestamp,
    /// The position of the change in the feed, by which a queue knows what it has taken before; `None` for a feed without
    /// positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
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
        Some(match notice {
            Notice::User(change) => {
                let reasons = &change.reasons;
                let existence = reasons.exists.as_ref().filter(|_| event == WebhookEvent::UserAdded);
                let reason = existence.or(reasons.is_online.as_ref()).or(reasons.is_notifiable.as_ref());
                let reason = reason.or(reasons.status.as_ref())?.clone();
                Self {
                    user: change.user.clone(),
                    user_sid: change.user_sid?,
                    event,
                    profile,
                    reachability: change.after.reachability,
                    reason,
                    revision: change.revision,
                    queued_at: now,
                    position: None,
                }
            }
            Notice::Profile(change) => Self {
                user: change.user.clone(),
                user_sid: change.user_sid,
                event,
                profile: profile.map(|profile| WebhookProfile {
                    profile: change.profile.clone(),
                    date_updated: change.at,
                    ..profile
                }),
                reachability: stored.map_or(Reachability::UNKNOWN, |(_, reachability)| reachability),
                reason: change.reason.clone(),
                revision: change.revision,
                queued_at: now,
                position: None,
            },
            Notice::Service(_) => return None,
        })
    }

    /// The same for the same change, however often it is told, and for no other: by this the receiver knows a repetition. In
    /// the form of a UUID.
    pub fn token(&self) -> String {
        let UserKey { service, identity } = &self.user;
        let revision = self.revision.to_be_bytes();
        let (service, event) = (service.bits().to_be_bytes(), self.event.name().as_bytes());
        // A write of a profile may also tell that a lease has ended: both have the same revision.
        let reason = self.reason.to_string();
        let bits = digest::hash(&[&service, identity.as_str().as_bytes(), event, &revision, reason.as_bytes()]);
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
            user_sid: Sid::from_bits(7),
            event: WebhookEvent::UserUpdated,
            profile: Some(WebhookProfile {
                profile,
                date_created: NOW,
                date_updated: Timestamp::from_millis(NOW.as_millis() + 1),
            }),
            reachability: Reachability { online: Some(true), notifiable: None },
            reason: ChangeReason::Connect,
            revision: 1_795_132_800_123,
            queued_at: NOW,
            position: Some(5),
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for message in [message(), WebhookMessage { profile: None, position: None, ..message() }] {
            assert_eq!(WebhookMessage::parse(message.to_json().as_bytes()).unwrap(), message);
        }
        assert!(WebhookMessage::parse(b"{}").is_err());
    }

    #[test]
    fn a_token_names_a_change_and_nothing_else_does() {
        let token = message().token();
        assert_eq!(token, "46c0ba50-ed1e-8c75-864a-de1440fbca64");
        let later = Timestamp::from_millis(NOW.as_millis() + 1_000);
        let again = WebhookMessage { queued_at: later, profile: None, position: None, ..message() };
        assert_eq!(again.token(), token, "the change is the same");
        let user =
            |service, identity: &str| UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
        for other in [
            WebhookMessage { revision: 1_795_132_800_124, ..message() },
            WebhookMessage { event: WebhookEvent::UserAdded, ..message() },
            WebhookMessage { reason: ChangeReason::Profile, ..message() },
            WebhookMessage { user: user(2, "alice & bob"), ..message() },
            WebhookMessage { user: user(1, "alice"), ..message() },
        ] {
            assert_ne!(other.token(), token);
        }
    }

    #[test]
    fn the_messages_of_a_user_are_one_group() {
        let group = message().group();
        assert_eq!(group, "IS00000000000000000000000000000001-877ffa800295c5cd1615676469d903c1");
        assert_eq!(WebhookMessage { revision: 1, event: WebhookEvent::UserAdded, ..message() }.group(), group);
        for (service, identity) in [(2, "alice & bob"), (1, "alice")] {
            let user = UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
            assert_ne!(WebhookMessage { user, ..message() }.group(), group);
        }
    }

    #[test]
    fn a_change_of_the_profile_tells_the_profile_of_then() {
        let then = message().profile.unwrap().profile;
        let change = ProfileChange {
            user: message().user,
            user_sid: message().user_sid,
            before: Profile { friendly_name: None, ..then.clone() },
            profile: then.clone(),
            reason: ChangeReason::Profile,
            at: NOW,
            revision: 5,
            generation: Default::default(),
        };
        let mut now = User::new(message().user_sid, message().user, None, NOW);
        (now.friendly_name, now.date_updated) = (Some("Carol".to_owned()), Timestamp::MAX);
        let reachability = Reachability { online: Some(false), notifiable: Some(true) };
        let notice = Notice::Profile(change);
        let told = |stored| WebhookMessage::of(&notice, WebhookEvent::UserUpdated, stored, NOW).unwrap();
        let message = told(Some((&now, reachability)));
        assert_eq!(message.profile, Some(WebhookProfile { profile: then, date_created: NOW, date_updated: NOW }));
        assert_eq!(message.reachability, reachability);
        assert_eq!(told(None).profile, None);
    }
}
