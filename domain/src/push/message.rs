//! The messages of the push queue: all work that needs a push provider. Providers may be slow, so this work has its own
//! queue.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::identity::{Identity, UserKey};
use crate::queue::{InvalidMessage, Message};
use crate::sid::{BindingSid, NotificationSid, ServiceSid, UserSid};
use crate::time::Timestamp;

/// A message of the push queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PushMessage {
    /// Check a registration.
    Probe(Probe),
    /// Send a notification.
    Deliver(Deliver),
    /// Decide whether a notification is for a user without a device.
    Decide(Decide),
    /// Scan the registrations of all services.
    #[serde(rename = "sweep")]
    ScanServices(ScanServices),
    /// Scan the registrations of one service.
    #[serde(rename = "sweep_bindings")]
    ScanBindings(ScanBindings),
    /// Announce registrations after reachability was switched on.
    Announce(Announce),
    /// A user's registrations must be published.
    AnnounceUser(AnnounceUser),
    /// A push provider reports something about a device.
    Feedback(Feedback),
}

/// Check a registration: ask its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// The registration.
    #[serde(rename = "binding_sid")]
    pub binding: BindingSid,
    /// When the check was requested. An answer to any later request also satisfies it.
    pub asked_at: Timestamp,
    /// Number of attempts so far.
    #[serde(default)]
    pub attempts: u32,
    /// When to ask; `None` for immediately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// What led to it.
    #[serde(default, skip_serializing_if = "ProbeCause::is_default")]
    pub cause: ProbeCause,
}

/// What leads to the check of a registration. Not every kind of check is made at every occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeCause {
    /// The app has registered the device. Earlier versions named no cause: their messages count as this one.
    #[default]
    Registered,
    /// The user has gone offline.
    Offline,
    /// The daily scan has found it.
    Scan,
    /// The provider has reported something.
    Feedback,
}

impl ProbeCause {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Send a notification to all devices of its users, or to one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// The notification.
    #[serde(rename = "notification_sid")]
    pub notification: NotificationSid,
    /// The device; `None` for all, or for those in `bindings`. Each device that gets another attempt has its own message.
    #[serde(rename = "binding_sid", default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingSid>,
    /// The devices of a page: a message for all devices produces one message for each page. Empty if there is `binding`, and
    /// for all. Earlier versions know no pages, and take one as a message for all.
    #[serde(rename = "binding_sids", default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<BindingSid>,
    /// For all devices: of how many of the notification's users the devices have a message already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub users_done: u32,
    /// Number of attempts so far.
    #[serde(default)]
    pub attempts: u32,
    /// How many of them were sent without an answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unanswered: u32,
    /// When to send it; `None` for immediately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

impl Deliver {
    /// To all devices, now.
    pub fn to_all(service: ServiceSid, notification: NotificationSid) -> Self {
        let (binding, bindings, users_done) = (None, vec![], 0);
        Self { service, notification, binding, bindings, users_done, attempts: 0, unanswered: 0, due_at: None }
    }

    /// The devices that it names; empty for all.
    pub fn devices(&self) -> &[BindingSid] {
        self.binding.as_ref().map_or(&self.bindings, std::slice::from_ref)
    }

    /// The same to one device.
    #[must_use]
    pub fn to_one(&self, binding: BindingSid) -> Self {
        Self { binding: Some(binding), ..self.to_page(vec![]) }
    }

    /// The same to a page of devices.
    #[must_use]
    pub fn to_page(&self, bindings: Vec<BindingSid>) -> Self {
        Self { binding: None, bindings, users_done: 0, due_at: None, ..self.clone() }
    }
}

/// Decide whether a notification for those who are offline is for a user who was online when it was accepted. Only of those
/// who have no device for it: of others, it is decided with the first message to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decide {
    /// The service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// The notification.
    #[serde(rename = "notification_sid")]
    pub notification: NotificationSid,
    /// The user.
    pub identity: Identity,
    /// When to look at the user.
    pub due_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Scan for registrations that have expired or will soon: in all services. It produces one message per service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScanServices {
    /// Start after this service; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ServiceSid>,
}

/// Scan for registrations that have expired or will soon: in one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanBindings {
    /// The service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// The bindings to scan.
    #[serde(flatten)]
    pub span: Span,
}

/// A range of a service's bindings, ordered by sid. The default is all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Exclusive lower bound; `None` for the first binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BindingSid>,
    /// Inclusive upper bound; `None` for the last binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<BindingSid>,
}

/// A service's reachability was switched on: publish what is known about its users' registrations, one page of users
/// after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// The generation when the message was sent. If the service has another by now, the message is obsolete.
    pub generation: Generation,
    /// The last user that was done; `None`: begin with the first. So does a message of an earlier version, which went by
    /// bindings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_user: Option<UserSid>,
}

/// A registration was stored in an earlier generation than that of its service, and the announcement may have passed by
/// then: publish it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceUser {
    /// The user.
    #[serde(flatten)]
    pub user: UserKey,
    /// The generation when the message was sent. If the service has another by now, the message is obsolete.
    pub generation: Generation,
}

/// A push provider reports something about a device. The worker then asks the provider for the details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The provider's name for the device: the ARN of an SNS endpoint.
    #[serde(rename = "endpoint")]
    pub endpoint_arn: String,
}

impl Message for PushMessage {
    fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        serde_json::from_slice(body).map_err(|error| InvalidMessage::Json(error.to_string()))
    }

    fn to_json(&self) -> String {
        // Only strings and numbers: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Probe(probe) => probe.due_at,
            Self::Deliver(deliver) => deliver.due_at,
            Self::Decide(decide) => Some(decide.due_at),
            Self::ScanServices(_)
            | Self::ScanBindings(_)
            | Self::Announce(_)
            | Self::AnnounceUser(_)
            | Self::Feedback(_) => None,
        }
    }

    fn service(&self) -> Option<ServiceSid> {
        match self {
            Self::Probe(probe) => Some(probe.service),
            Self::Deliver(deliver) => Some(deliver.service),
            Self::Decide(decide) => Some(decide.service),
            Self::ScanBindings(scan) => Some(scan.service),
            Self::Announce(announce) => Some(announce.service),
            Self::AnnounceUser(announce) => Some(announce.user.service),
            Self::ScanServices(_) | Self::Feedback(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serialized_message_parses_to_the_same_message() {
        let (service, binding) = ("IS00000000000000000000000000000001", "BS00000000000000000000000000000002");
        let (service, binding) = (service.parse().unwrap(), binding.parse().unwrap());
        let at = Timestamp::from_millis(1_795_171_200_123);
        let notification = "NT00000000000000000000000000000003".parse().unwrap();
        let span = Span { after: Some(binding), until: Some("BS00000000000000000000000000000003".parse().unwrap()) };
        let user: UserSid = "US00000000000000000000000000000004".parse().unwrap();
        let alice = UserKey { service, identity: "alice".parse().unwrap() };
        let (is, bs, nt) = (
            r#""service_sid":"IS00000000000000000000000000000001""#,
            r#""binding_sid":"BS00000000000000000000000000000002""#,
            r#""notification_sid":"NT00000000000000000000000000000003""#,
        );
        let to = r#""after":"BS00000000000000000000000000000002","until":"BS00000000000000000000000000000003""#;
        let (asked, due) = (r#""asked_at":1795171200123"#, r#""due_at":1795171200123"#);
        for (message, json) in [
            (
                PushMessage::Probe(Probe {
                    service,
                    binding,
                    asked_at: at,
                    attempts: 0,
                    due_at: None,
                    cause: ProbeCause::Registered,
                }),
                format!(r#"{{"type":"probe",{is},{bs},{asked},"attempts":0}}"#),
            ),
            (
                PushMessage::Probe(Probe {
                    service,
                    binding,
                    asked_at: at,
                    attempts: 2,
                    due_at: Some(at),
                    cause: ProbeCause::Scan,
                }),
                format!(r#"{{"type":"probe",{is},{bs},{asked},"attempts":2,{due},"cause":"scan"}}"#),
            ),
            (
                PushMessage::Deliver(Deliver::to_all(service, notification)),
                format!(r#"{{"type":"deliver",{is},{nt},"attempts":0}}"#),
            ),
            (
                PushMessage::Deliver(Deliver {
                    service,
                    notification,
                    binding: Some(binding),
                    users_done: 0,
                    bindings: vec![],
                    attempts: 1,
                    unanswered: 0,
                    due_at: Some(at),
                }),
                format!(r#"{{"type":"deliver",{is},{nt},{bs},"attempts":1,{due}}}"#),
            ),
            (
                PushMessage::Deliver(Deliver { users_done: 100, ..Deliver::to_all(service, notification) }),
                format!(r#"{{"type":"deliver",{is},{nt},"users_done":100,"attempts":0}}"#),
            ),
            (
                PushMessage::Deliver(Deliver::to_all(service, notification).to_page(vec![binding, binding])),
                format!(r#"{{"type":"deliver",{is},{nt},"binding_sids":["{binding}","{binding}"],"attempts":0}}"#),
            ),
            (
                PushMessage::Deliver(Deliver { attempts: 2, unanswered: 1, ..Deliver::to_all(service, notification) }),
                format!(r#"{{"type":"deliver",{is},{nt},"attempts":2,"unanswered":1}}"#),
            ),
            (
                PushMessage::Decide(Decide { service, notification, identity: alice.identity.clone(), due_at: at }),
                format!(r#"{{"type":"decide",{is},{nt},"identity":"alice",{due}}}"#),
            ),
            // The message that a schedule sends every day.
            (PushMessage::ScanServices(ScanServices { after: None }), r#"{"type":"sweep"}"#.to_owned()),
            (
                PushMessage::ScanServices(ScanServices { after: Some(service) }),
                r#"{"type":"sweep","after":"IS00000000000000000000000000000001"}"#.to_owned(),
            ),
            (
                PushMessage::ScanBindings(ScanBindings { service, span: Span::default() }),
                format!(r#"{{"type":"sweep_bindings",{is}}}"#),
            ),
            (
                PushMessage::ScanBindings(ScanBindings { service, span }),
                format!(r#"{{"type":"sweep_bindings",{is},{to}}}"#),
            ),
            (
                PushMessage::Announce(Announce { service, generation: Generation(3), after_user: None }),
                format!(r#"{{"type":"announce",{is},"generation":3}}"#),
            ),
            (
                PushMessage::Announce(Announce { service, generation: Generation(3), after_user: Some(user) }),
                format!(r#"{{"type":"announce",{is},"generation":3,"after_user":"{user}"}}"#),
            ),
            (
                PushMessage::AnnounceUser(AnnounceUser { user: alice, generation: Generation(3) }),
                format!(r#"{{"type":"announce_user",{is},"identity":"alice","generation":3}}"#),
            ),
            (
                PushMessage::Feedback(Feedback { endpoint_arn: "arn:aws:sns:…".to_owned() }),
                r#"{"type":"feedback","endpoint":"arn:aws:sns:…"}"#.to_owned(),
            ),
        ] {
            assert_eq!(message.to_json(), json, "the form that earlier versions wrote");
            assert_eq!(PushMessage::parse(json.as_bytes()).unwrap(), message);
        }
        // Of an earlier version, which went by bindings.
        let earlier = format!(r#"{{"type":"announce",{is},"generation":3,{to}}}"#);
        let from_the_start = Announce { service, generation: Generation(3), after_user: None };
        assert_eq!(PushMessage::parse(earlier.as_bytes()).unwrap(), PushMessage::Announce(from_the_start));
        assert!(PushMessage::parse(br#"{"type":"check"}"#).is_err());
    }
}
