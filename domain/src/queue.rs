//! The queue port: what waits to be handled.

use std::error::Error;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::identity::{ConnectionId, Identity, UserKey};
use crate::presence::event::{Event, InvalidEvent};
use crate::sid::{BindingSid, NotificationSid, ServiceSid};
use crate::time::Timestamp;

/// A timer, as a delayed message: look at this connection then. The end of a grace period or of a lease has no event of
/// its own, and somebody has to tell the outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// Whose connection.
    pub user: UserKey,
    /// Which one.
    pub connection: ConnectionId,
    /// When: a quarter of an hour ahead at most, since queues do not hold messages for much longer.
    pub due_at: Timestamp,
    /// Whether the connection had ended when this timer was set, so that it waits for the end to take effect. A timer of
    /// the time before that has nothing left to wait for.
    pub ended: bool,
}

/// What is left of a service that was deleted is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// Which service it was.
    pub service: ServiceSid,
    /// When: once nobody takes it for one that exists.
    pub due_at: Timestamp,
}

/// A registration is to be checked: its provider is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Of which service.
    pub service: ServiceSid,
    /// Which registration.
    pub binding: BindingSid,
    /// Since when an answer is wanted. One to a later request will do.
    pub asked_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When to ask; `None` for at once.
    pub due_at: Option<Timestamp>,
}

/// A notification is to be sent: to all devices of its users, or to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// Of which service.
    pub service: ServiceSid,
    /// Which notification.
    pub notification: NotificationSid,
    /// To which device; `None`: to all, for each of which there will be a message.
    pub binding: Option<BindingSid>,
    /// How often it was tried.
    pub attempts: u32,
    /// When to send it; `None` for at once.
    pub due_at: Option<Timestamp>,
}

/// Registrations are to be looked through for those whose time is over, or will be soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Those of all services, for each of which there will be a message.
    Services {
        /// Behind which service to begin; `None` for the first.
        after: Option<ServiceSid>,
    },
    /// Those of a service.
    Bindings {
        /// Of which service.
        service: ServiceSid,
        /// Which of them.
        span: Span,
    },
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Which service.
    pub service: ServiceSid,
    /// How often it was switched on, this time included. If that is not how it is any more there is nothing to do.
    pub generation: Generation,
    /// Which of them.
    pub span: Span,
}

/// A push provider has something to tell of a device, and is to be asked what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The provider's name for the device.
    pub endpoint: String,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Something happened outside. The message's body is the event itself.
    Event(Event),
    /// A timer.
    Check(Check),
    /// A clean-up.
    Purge(Purge),
    /// A registration to be checked.
    Probe(Probe),
    /// A notification to be sent.
    Deliver(Deliver),
    /// Registrations to be looked through.
    Sweep(Sweep),
    /// Registrations to be told of.
    Announce(Announce),
    /// A push provider's hint.
    Feedback(Feedback),
}

/// Which of two queues a message waits in. Push providers may be slow: whoever comes online does not wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Events, timers and clean-ups.
    Events,
    /// Everything for which push providers are asked.
    Pushes,
}

/// The messages that are ours, as they are written. Times are milliseconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written {
    Check {
        service_sid: ServiceSid,
        identity: Identity,
        connection_id: ConnectionId,
        due_at: Timestamp,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ended: bool,
    },
    Purge {
        service_sid: ServiceSid,
        due_at: Timestamp,
    },
    Probe {
        service_sid: ServiceSid,
        binding_sid: BindingSid,
        asked_at: Timestamp,
        #[serde(default)]
        attempts: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<Timestamp>,
    },
    Deliver {
        service_sid: ServiceSid,
        notification_sid: NotificationSid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binding_sid: Option<BindingSid>,
        #[serde(default)]
        attempts: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<Timestamp>,
    },
    Sweep {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<ServiceSid>,
    },
    SweepBindings {
        service_sid: ServiceSid,
        #[serde(flatten)]
        span: Span,
    },
    Announce {
        service_sid: ServiceSid,
        generation: Generation,
        #[serde(flatten)]
        span: Span,
    },
    Feedback {
        endpoint: String,
    },
}

impl Message {
    /// Reads a message's body.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, InvalidEvent> {
        match Event::parse(body) {
            Err(InvalidEvent::Type) => match serde_json::from_slice(body) {
                Ok(Written::Check { service_sid, identity, connection_id, due_at, ended }) => Ok(Self::Check(Check {
                    user: UserKey { service: service_sid, identity },
                    connection: connection_id,
                    due_at,
                    ended,
                })),
                Ok(Written::Purge { service_sid, due_at }) => Ok(Self::Purge(Purge { service: service_sid, due_at })),
                Ok(Written::Probe { service_sid, binding_sid, asked_at, attempts, due_at }) => {
                    Ok(Self::Probe(Probe { service: service_sid, binding: binding_sid, asked_at, attempts, due_at }))
                }
                Ok(Written::Deliver { service_sid, notification_sid, binding_sid, attempts, due_at }) => {
                    Ok(Self::Deliver(Deliver {
                        service: service_sid,
                        notification: notification_sid,
                        binding: binding_sid,
                        attempts,
                        due_at,
                    }))
                }
                Ok(Written::Sweep { after }) => Ok(Self::Sweep(Sweep::Services { after })),
                Ok(Written::SweepBindings { service_sid, span }) => {
                    Ok(Self::Sweep(Sweep::Bindings { service: service_sid, span }))
                }
                Ok(Written::Announce { service_sid, generation, span }) => {
                    Ok(Self::Announce(Announce { service: service_sid, generation, span }))
                }
                Ok(Written::Feedback { endpoint }) => Ok(Self::Feedback(Feedback { endpoint })),
                Err(_) => Err(InvalidEvent::Type),
            },
            event => event.map(Self::Event),
        }
    }

    /// Writes the body as [`Message::parse`] reads it.
    pub fn to_json(&self) -> String {
        let written = match self {
            Self::Event(event) => return event.to_json(),
            Self::Check(check) => Written::Check {
                service_sid: check.user.service,
                identity: check.user.identity.clone(),
                connection_id: check.connection.clone(),
                due_at: check.due_at,
                ended: check.ended,
            },
            Self::Purge(purge) => Written::Purge { service_sid: purge.service, due_at: purge.due_at },
            Self::Probe(probe) => Written::Probe {
                service_sid: probe.service,
                binding_sid: probe.binding,
                asked_at: probe.asked_at,
                attempts: probe.attempts,
                due_at: probe.due_at,
            },
            Self::Deliver(deliver) => Written::Deliver {
                service_sid: deliver.service,
                notification_sid: deliver.notification,
                binding_sid: deliver.binding,
                attempts: deliver.attempts,
                due_at: deliver.due_at,
            },
            Self::Sweep(Sweep::Services { after }) => Written::Sweep { after: *after },
            Self::Sweep(Sweep::Bindings { service, span }) => {
                Written::SweepBindings { service_sid: *service, span: *span }
            }
            Self::Announce(announce) => Written::Announce {
                service_sid: announce.service,
                generation: announce.generation,
                span: announce.span,
            },
            Self::Feedback(feedback) => Written::Feedback { endpoint: feedback.endpoint.clone() },
        };
        // Strings and numbers: there is nothing in it that JSON cannot hold.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// When to deliver it: `None` for at once.
    pub fn deliver_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(_) | Self::Sweep(_) | Self::Announce(_) | Self::Feedback(_) => None,
            Self::Check(check) => Some(check.due_at),
            Self::Purge(purge) => Some(purge.due_at),
            Self::Probe(probe) => probe.due_at,
            Self::Deliver(deliver) => deliver.due_at,
        }
    }

    /// Which queue it waits in.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Event(_) | Self::Check(_) | Self::Purge(_) => Lane::Events,
            Self::Probe(_) | Self::Deliver(_) | Self::Sweep(_) | Self::Announce(_) | Self::Feedback(_) => Lane::Pushes,
        }
    }
}

/// The queue could not be reached or did not take the messages. Some may have been taken; sending all again is harmless.
#[derive(Debug, thiserror::Error)]
#[error("the queue is not available")]
pub struct QueueError(#[source] pub Box<dyn Error + Send + Sync>);

/// Takes messages and delivers each at least once, in any order.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends messages. Once it returns they are not lost.
    ///
    /// # Errors
    /// If any of them was not taken.
    async fn send(&self, messages: &[Message]) -> Result<(), QueueError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_read_as_it_was_written() {
        let check = Message::Check(Check {
            user: UserKey {
                service: "IS00000000000000000000000000000001".parse().unwrap(),
                identity: "bob@x.com".parse().unwrap(),
            },
            connection: "c-1".parse().unwrap(),
            due_at: Timestamp::from_millis(1_795_171_200_123),
            ended: false,
        });
        assert_eq!(Message::parse(check.to_json().as_bytes()).unwrap(), check);
        assert!(!check.to_json().contains("ended"), "the form that earlier versions wrote");
        let Message::Check(of_live) = &check else { unreachable!() };
        let of_ended = Message::Check(Check { ended: true, ..of_live.clone() });
        assert_eq!(Message::parse(of_ended.to_json().as_bytes()).unwrap(), of_ended);
        assert_eq!(check.deliver_at(), Some(Timestamp::from_millis(1_795_171_200_123)));
        let purge = Message::Purge(Purge {
            service: "IS00000000000000000000000000000001".parse().unwrap(),
            due_at: Timestamp::from_millis(1_795_171_200_123),
        });
        assert_eq!(Message::parse(purge.to_json().as_bytes()).unwrap(), purge);
        let (service, binding) = ("IS00000000000000000000000000000001", "BS00000000000000000000000000000002");
        let (service, binding) = (service.parse().unwrap(), binding.parse().unwrap());
        let at = Timestamp::from_millis(1_795_171_200_123);
        let notification = "NT00000000000000000000000000000003".parse().unwrap();
        let span = Span { after: Some(binding), until: Some("BS00000000000000000000000000000003".parse().unwrap()) };
        for message in [
            Message::Probe(Probe { service, binding, asked_at: at, attempts: 0, due_at: None }),
            Message::Probe(Probe { service, binding, asked_at: at, attempts: 2, due_at: Some(at) }),
            Message::Deliver(Deliver { service, notification, binding: None, attempts: 0, due_at: None }),
            Message::Deliver(Deliver { service, notification, binding: Some(binding), attempts: 1, due_at: Some(at) }),
            Message::Sweep(Sweep::Services { after: None }),
            Message::Sweep(Sweep::Services { after: Some(service) }),
            Message::Sweep(Sweep::Bindings { service, span: Span::default() }),
            Message::Sweep(Sweep::Bindings { service, span }),
            Message::Announce(Announce { service, generation: Generation(3), span: Span::default() }),
            Message::Announce(Announce { service, generation: Generation(3), span }),
            Message::Feedback(Feedback { endpoint: "arn:aws:sns:…".to_owned() }),
        ] {
            assert_eq!(Message::parse(message.to_json().as_bytes()).unwrap(), message);
            assert_eq!(message.lane(), Lane::Pushes);
        }
        // What a clock sends every day.
        let sweep = Message::Sweep(Sweep::Services { after: None });
        assert_eq!(Message::parse(br#"{"type":"sweep"}"#).unwrap(), sweep);
        // The door takes events only.
        assert!(matches!(Event::parse(check.to_json().as_bytes()), Err(InvalidEvent::Type)));
    }
}
