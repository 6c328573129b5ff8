//! Events from the gateway: a connection began, is still alive, or ended.
//!
//! Events may arrive repeatedly, late and in any order. Each is one JSON object: a line in a file, a message in the
//! queue, a line or an array element over HTTP. Unknown fields are ignored; a malformed event is rejected completely.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{ConnectionId, Identity, InvalidConnectionId, InvalidIdentity, UserKey};
use crate::sid::{InvalidSid, ServiceSid};
use crate::time::{InvalidTime, Timestamp};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The client closed it. Takes effect at once.
    ClientClosed,
    /// The connection broke without a close. Takes effect after the grace period, so that a quick reconnect is not
    /// visible.
    ConnectionLost,
    /// The gateway closed it, for example for a deployment or a time limit. Takes effect after the grace period.
    ServerClosed,
}

/// What happened to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It began.
    Connect {
        /// How long it counts as live without a renewal; `None` for the deployment's setting.
        lease: Option<Duration>,
        /// What the client or the gateway calls the device.
        device: Option<Box<str>>,
    },
    /// It is still alive.
    Renew {
        /// How long it counts as live without a further renewal; `None` for the deployment's setting.
        lease: Option<Duration>,
    },
    /// It ended.
    Disconnect {
        /// The reason.
        reason: EndReason,
    },
}

/// An event on one connection of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The user.
    pub user: UserKey,
    /// The user's connection.
    pub connection: ConnectionId,
    /// When it occurred, by the gateway's clock.
    pub occurred_at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// Why an event was rejected.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEvent {
    /// Not JSON, not an object, or a field of the wrong type.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// A required field is missing.
    #[error("missing field: {0}")]
    Missing(&'static str),
    /// `type` is not one of the known values.
    #[error("unknown type: expected connect, renew or disconnect")]
    Type,
    /// `service_sid` is not the sid of a service.
    #[error("service_sid is {0}")]
    Service(#[from] InvalidSid),
    /// `identity` is not valid.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
    /// `connection_id` is not valid.
    #[error(transparent)]
    Connection(#[from] InvalidConnectionId),
    /// `occurred_at` is not a valid time.
    #[error("occurred_at is {0}")]
    Time(#[from] InvalidTime),
    /// `occurred_at` is too far ahead of this server's clock.
    #[error("occurred_at is more than {} seconds in the future", Event::MAX_AHEAD.as_secs())]
    Future,
    /// `reason` is not one of the known values.
    #[error("unknown reason: expected client_closed, connection_lost or server_closed")]
    Reason,
    /// `lease_seconds` is not a whole number of seconds from 1 to 4294967295.
    #[error("lease_seconds is out of range: expected 1 to {}", u32::MAX)]
    Lease,
    /// `device` is too long.
    #[error("device is longer than {} bytes", Event::MAX_DEVICE_BYTES)]
    Device,
}

/// A text that is borrowed from the JSON input if it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The event's fields before validation.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    service_sid: Option<Text<'a>>,
    #[serde(borrow)]
    identity: Option<Text<'a>>,
    #[serde(borrow)]
    connection_id: Option<Text<'a>>,
    #[serde(borrow)]
    occurred_at: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    lease_seconds: Option<serde_json::Number>,
    #[serde(borrow)]
    device: Option<Text<'a>>,
}

fn required<'f>(field: Option<&'f Text<'_>>, name: &'static str) -> Result<&'f str, InvalidEvent> {
    field.map(|text| text.0.as_ref()).ok_or(InvalidEvent::Missing(name))
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    service_sid: ServiceSid,
    identity: &'a Identity,
    connection_id: &'a ConnectionId,
    occurred_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
}

impl Event {
    /// How far a gateway's clock may be ahead of this server's. A larger difference is a wrong date or unit, and would
    /// keep a user online for that long.
    pub const MAX_AHEAD: Duration = Duration::from_secs(300);

    /// This project's limit: enough for a word or a user agent.
    pub const MAX_DEVICE_BYTES: usize = 256;

    /// Parses one event.
    ///
    /// # Errors
    /// The first error found. A malformed event is rejected completely.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidEvent> {
        let raw: Raw<'_> = serde_json::from_slice(json).map_err(|error| InvalidEvent::Json(error.to_string()))?;

        let lease = || match &raw.lease_seconds {
            None => Ok(None),
            Some(number) => match number.as_u64() {
                Some(seconds @ 1..=0xFFFF_FFFF) => Ok(Some(Duration::from_secs(seconds))),
                _ => Err(InvalidEvent::Lease),
            },
        };
        let kind = match required(raw.kind.as_ref(), "type")? {
            "connect" => EventKind::Connect {
                lease: lease()?,
                device: match &raw.device {
                    Some(Text(device)) if device.len() > Self::MAX_DEVICE_BYTES => return Err(InvalidEvent::Device),
                    device => device.as_ref().map(|Text(device)| device.as_ref().into()),
                },
            },
            "renew" => EventKind::Renew { lease: lease()? },
            "disconnect" => EventKind::Disconnect {
                reason: match required(raw.reason.as_ref(), "reason")? {
                    "client_closed" => EndReason::ClientClosed,
                    "connection_lost" => EndReason::ConnectionLost,
                    "server_closed" => EndReason::ServerClosed,
                    _ => return Err(InvalidEvent::Reason),
                },
            },
            _ => return Err(InvalidEvent::Type),
        };
        Ok(Self {
            user: UserKey {
                service: required(raw.service_sid.as_ref(), "service_sid")?.parse()?,
                identity: required(raw.identity.as_ref(), "identity")?.parse()?,
            },
            connection: required(raw.connection_id.as_ref(), "connection_id")?.parse()?,
            occurred_at: required(raw.occurred_at.as_ref(), "occurred_at")?.parse()?,
            kind,
        })
    }

    /// Rejects an event whose time is too far in the future.
    ///
    /// # Errors
    /// [`InvalidEvent::Future`].
    pub fn check_clock(&self, now: Timestamp) -> Result<(), InvalidEvent> {
        if self.occurred_at > now.plus(Self::MAX_AHEAD) { Err(InvalidEvent::Future) } else { Ok(()) }
    }

    /// Whether it is a connect or a renewal.
    pub fn renews_lease(&self) -> bool {
        !matches!(self.kind, EventKind::Disconnect { .. })
    }

    /// Serializes the event in the form that [`Event::parse`] reads.
    pub fn to_json(&self) -> String {
        let (kind, reason, lease, device) = match &self.kind {
            EventKind::Connect { lease, device } => ("connect", None, *lease, device.as_deref()),
            EventKind::Renew { lease } => ("renew", None, *lease, None),
            EventKind::Disconnect { reason } => ("disconnect", Some(*reason), None, None),
        };
        let written = Written {
            kind,
            service_sid: self.user.service,
            identity: &self.user.identity,
            connection_id: &self.connection,
            occurred_at: self.occurred_at.to_string(),
            reason,
            lease_seconds: lease.map(|lease| lease.as_secs()),
            device,
        };
        // Only strings and numbers: serialization cannot fail.
        serde_json::to_string(&written).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: &str = r#"{"type":"connect","service_sid":"IS00000000000000000000000000000001","identity":"alice","connection_id":"c-1","occurred_at":"2026-11-20T10:00:00.000Z","lease_seconds":60,"device":"ios"}"#;
    const RENEW: &str = r#"{"type":"renew","service_sid":"IS00000000000000000000000000000001","identity":"alice","connection_id":"c-1","occurred_at":"2026-11-20T10:01:00.000Z"}"#;
    const DISCONNECT: &str = r#"{"type":"disconnect","service_sid":"IS00000000000000000000000000000001","identity":"alice","connection_id":"c-1","occurred_at":"2026-11-20T10:02:00.000Z","reason":"client_closed"}"#;

    #[test]
    fn a_serialized_event_parses_to_the_same_event() {
        for json in [CONNECT, RENEW, DISCONNECT] {
            let event = Event::parse(json.as_bytes()).unwrap();
            let written = event.to_json();
            assert_eq!(Event::parse(written.as_bytes()).unwrap(), event);
            let mut expected: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), expected);
            // Unknown fields are ignored, and so are fields of other event types.
            expected["zone"] = serde_json::json!({"a": [1, 2]});
            assert_eq!(Event::parse(expected.to_string().as_bytes()).unwrap(), event);
        }
    }

    #[test]
    fn each_required_field_is_required() {
        for json in [CONNECT, RENEW, DISCONNECT] {
            let whole: serde_json::Value = serde_json::from_str(json).unwrap();
            for field in ["type", "service_sid", "identity", "connection_id", "occurred_at", "reason"] {
                if whole.get(field).is_none() {
                    continue;
                }
                for value in
                    [None, Some(serde_json::Value::Null), Some("".into()), Some(7.into()), Some("*".repeat(300).into())]
                {
                    let mut broken = whole.clone();
                    match &value {
                        None => drop(broken.as_object_mut().unwrap().remove(field)),
                        Some(value) => broken[field] = value.clone(),
                    }
                    let error = Event::parse(broken.to_string().as_bytes()).expect_err(field).to_string();
                    if value.is_none() {
                        assert_eq!(error, format!("missing field: {field}"));
                    }
                }
            }
        }
    }

    #[test]
    fn optional_fields_have_limits() {
        for (field, value) in [
            ("lease_seconds", "0"),
            ("lease_seconds", "-1"),
            ("lease_seconds", "1.5"),
            ("lease_seconds", "4294967296"),
            ("lease_seconds", "\"60\""),
            ("device", "7"),
        ] {
            let broken = CONNECT
                .replace("\"lease_seconds\":60", &format!("\"{field}\":{value}"))
                .replace(",\"device\":\"ios\"", "");
            assert!(Event::parse(broken.as_bytes()).is_err(), "{broken}");
        }
        let long = CONNECT.replace("\"ios\"", &format!("{:?}", "x".repeat(257)));
        assert!(matches!(Event::parse(long.as_bytes()), Err(InvalidEvent::Device)));
    }

    #[test]
    fn malformed_json_is_refused() {
        for broken in ["", "null", "7", "[]", "{", "{}", &CONNECT[..CONNECT.len() - 1], &format!("{CONNECT}{CONNECT}")]
        {
            assert!(Event::parse(broken.as_bytes()).is_err(), "{broken}");
        }
        let mut bytes = CONNECT.replace("alice", "al~ce").into_bytes();
        let tilde = bytes.iter().position(|byte| *byte == b'~').unwrap();
        bytes[tilde] = 0xFF;
        assert!(Event::parse(&bytes).is_err());
        // A repeated field is ambiguous.
        assert!(Event::parse(CONNECT.replace("{", "{\"identity\":\"bob\",").as_bytes()).is_err());
    }

    #[test]
    fn a_gateway_clock_may_be_slightly_ahead() {
        let event = Event::parse(CONNECT.as_bytes()).unwrap();
        assert!(event.check_clock(event.occurred_at).is_ok());
        assert!(event.check_clock(Timestamp::from_millis(event.occurred_at.as_millis() - 300_000)).is_ok());
        assert!(event.check_clock(Timestamp::from_millis(event.occurred_at.as_millis() - 300_001)).is_err());
        assert!(event.check_clock(Timestamp::MAX).is_ok());
    }
}
