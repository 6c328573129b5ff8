//! The messages of the push queue: everything for which push providers are asked. They may be slow, so that it has a queue
//! of its own.

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::queue::{InvalidMessage, Message};
use crate::sid::{BindingSid, NotificationSid, ServiceSid};
use crate::time::Timestamp;

/// A message of the push queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PushMessage {
    /// A registration is to be checked.
    Probe(Probe),
    /// A notification is to be sent.
    Deliver(Deliver),
    /// The registrations of all services are to be looked through.
    #[serde(rename = "sweep")]
    ScanServices(ScanServices),
    /// The registrations of a service are to be looked through.
    #[serde(rename = "sweep_bindings")]
    ScanBindings(ScanBindings),
    /// Reachability was switched on.
    Announce(Announce),
    /// A push provider has something to tell.
    Feedback(Feedback),
}

/// A registration is to be checked: its provider is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Of which service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// Which registration.
    #[serde(rename = "binding_sid")]
    pub binding: BindingSid,
    /// Since when an answer is wanted. One to a later request will do.
    pub asked_at: Timestamp,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When to ask; `None` for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

/// A notification is to be sent: to all devices of its users, or to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// Of which service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// Which notification.
    #[serde(rename = "notification_sid")]
    pub notification: NotificationSid,
    /// To which device; `None`: to all, for each of which there will be a message.
    #[serde(rename = "binding_sid", default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingSid>,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When to send it; `None` for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

/// Registrations are to be looked through for those whose year is over, or will be soon: of all services, for each of which
/// there will be a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScanServices {
    /// Behind which service to begin; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ServiceSid>,
}

/// Registrations are to be looked through for those whose year is over, or will be soon: of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanBindings {
    /// Of which service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// Which of them.
    #[serde(flatten)]
    pub span: Span,
}

/// Some of the bindings of a service, in the order of their sids. The default: all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Those behind this one; `None`: from the first on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BindingSid>,
    /// Those up to this one; `None`: to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<BindingSid>,
}

/// A service's reachability was switched on: what is known of its users' registrations is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Which service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// How often it was switched on, this time included. If that is not how it is any more there is nothing to do.
    pub generation: Generation,
    /// Which of them.
    #[serde(flatten)]
    pub span: Span,
}

/// A push provider has something to tell of a device, and is to be asked what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The provider's name for the device: an endpoint's ARN of SNS.
    #[serde(rename = "endpoint")]
    pub endpoint_arn: String,
}

impl Message for PushMessage {
    fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        serde_json::from_slice(body).map_err(|error| InvalidMessage::Json(error.to_string()))
    }

    fn to_json(&self) -> String {
        // Strings and numbers: there is nothing in it that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Probe(probe) => probe.due_at,
            Self::Deliver(deliver) => deliver.due_at,
            Self::ScanServices(_) | Self::ScanBindings(_) | Self::Announce(_) | Self::Feedback(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let (service, binding) = ("IS00000000000000000000000000000001", "BS00000000000000000000000000000002");
        let (service, binding) = (service.parse().unwrap(), binding.parse().unwrap());
        let at = Timestamp::from_millis(1_795_171_200_123);
        let notification = "NT00000000000000000000000000000003".parse().unwrap();
        let span = Span { after: Some(binding), until: Some("BS00000000000000000000000000000003".parse().unwrap()) };
        let (is, bs, nt) = (
            r#""service_sid":"IS00000000000000000000000000000001""#,
            r#""binding_sid":"BS00000000000000000000000000000002""#,
            r#""notification_sid":"NT00000000000000000000000000000003""#,
        );
        let to = r#""after":"BS00000000000000000000000000000002","until":"BS00000000000000000000000000000003""#;
        let (asked, due) = (r#""asked_at":1795171200123"#, r#""due_at":1795171200123"#);
        for (message, json) in [
            (
                PushMessage::Probe(Probe { service, binding, asked_at: at, attempts: 0, due_at: None }),
                format!(r#"{{"type":"probe",{is},{bs},{asked},"attempts":0}}"#),
            ),
            (
                PushMessage::Probe(Probe { service, binding, asked_at: at, attempts: 2, due_at: Some(at) }),
                format!(r#"{{"type":"probe",{is},{bs},{asked},"attempts":2,{due}}}"#),
            ),
            (
                PushMessage::Deliver(Deliver { service, notification, binding: None, attempts: 0, due_at: None }),
                format!(r#"{{"type":"deliver",{is},{nt},"attempts":0}}"#),
            ),
            (
                PushMessage::Deliver(Deliver {
                    service,
                    notification,
                    binding: Some(binding),
                    attempts: 1,
                    due_at: Some(at),
                }),
                format!(r#"{{"type":"deliver",{is},{nt},{bs},"attempts":1,{due}}}"#),
            ),
            // What a clock sends every day.
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
                PushMessage::Announce(Announce { service, generation: Generation(3), span: Span::default() }),
                format!(r#"{{"type":"announce",{is},"generation":3}}"#),
            ),
            (
                PushMessage::Announce(Announce { service, generation: Generation(3), span }),
                format!(r#"{{"type":"announce",{is},"generation":3,{to}}}"#),
            ),
            (
                PushMessage::Feedback(Feedback { endpoint_arn: "arn:aws:sns:…".to_owned() }),
                r#"{"type":"feedback","endpoint":"arn:aws:sns:…"}"#.to_owned(),
            ),
        ] {
            assert_eq!(message.to_json(), json, "the form that earlier versions wrote");
            assert_eq!(PushMessage::parse(json.as_bytes()).unwrap(), message);
        }
        assert!(PushMessage::parse(br#"{"type":"check"}"#).is_err());
    }
}
