//! The messages of the event queue.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::directory::configuration::Generation;
use crate::identity::UserKey;
use crate::presence::acceptance::Acceptance;
use crate::presence::disclosure::Disclose;
use crate::presence::event::{Event, InvalidEvent};
use crate::queue::{InvalidMessage, Message};
use crate::sid::ServiceSid;
use crate::time::Timestamp;

/// A message of the event queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceMessage {
    /// An event from the gateway. The message's body is the event itself, or wraps it with what it was accepted in.
    Event(Accepted),
    /// A timer is due.
    Check(Check),
    /// Records of a deleted service must be removed.
    Purge(Purge),
}

/// An event, as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The event.
    pub event: Event,
    /// What the service's reachability was then; `None` if it came straight to the queue.
    pub acceptance: Option<Acceptance>,
    /// What its user wants to show from then on. Only a socket of our own says so, with its connect, and what that says is in
    /// no queue: no message has it.
    pub wish: Disclose,
}

/// An [`Accepted`] event with its stamp, as JSON.
#[derive(Deserialize)]
struct Stamped<'a> {
    /// `None`: reachability was off.
    generation: Option<Generation>,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// How a [`Stamped`] message begins, which no event does.
const STAMPED: &[u8] = br#"{"generation":"#;

impl Accepted {
    /// An event that says nothing of what its user wants to show.
    pub fn new(event: Event, acceptance: Option<Acceptance>) -> Self {
        Self { event, acceptance, wish: Disclose::default() }
    }

    /// The event as it counts when it is handled. Whoever accepted it has refused one from the future, so if it is one now, the
    /// clock was set back since: it has happened by now, and counts as if it did just now. One that a gateway put into a queue
    /// itself, which says when (`sent_at`), was checked by nobody before.
    ///
    /// # Errors
    /// [`InvalidEvent::Future`] for such an event. The limit is doubled: clocks of several processes differ.
    pub fn at(mut self, now: Timestamp, sent_at: Option<Timestamp>) -> Result<Self, InvalidEvent> {
        if self.acceptance.is_none() && sent_at.is_some() {
            self.event.check_clock(now.plus(Event::MAX_AHEAD))?;
        } else if self.event.check_clock(now).is_err() {
            self.event.occurred_at = now;
        }
        Ok(self)
    }

    fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        if !body.starts_with(STAMPED) {
            return Ok(Self::new(Event::parse(body)?, None));
        }
        let stamped: Stamped<'_> =
            serde_json::from_slice(body).map_err(|error| InvalidMessage::Json(error.to_string()))?;
        let acceptance = stamped.generation.map_or(Acceptance::Off, Acceptance::In);
        Ok(Self::new(Event::parse(stamped.event.get().as_bytes())?, Some(acceptance)))
    }

    fn to_json(&self) -> String {
        let event = self.event.to_json();
        match self.acceptance {
            None => event,
            Some(Acceptance::Off) => format!(r#"{{"generation":null,"event":{event}}}"#),
            Some(Acceptance::In(Generation(generation))) => {
                format!(r#"{{"generation":{generation},"event":{event}}}"#)
            }
        }
    }
}

/// A timer, as a delayed message: look at this user at `due_at` ([`crate::presence::timer`]). Earlier versions had one for
/// each connection, whose id is ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Check {
    /// The user.
    #[serde(flatten)]
    pub user: UserKey,
    /// When the timer is due: at most 15 minutes ahead, since SQS delays messages no longer than that.
    pub due_at: Timestamp,
}

/// Garbage collection: remove the records that a deleted service left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// The deleted service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// When to remove them: after every cached copy of the service has expired.
    pub due_at: Timestamp,
    /// The part of the records to remove; `None` for all of them, each part by a message of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u8>,
}

/// The JSON form of the messages that are not events.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Own {
    Check(Check),
    Purge(Purge),
}

impl Message for PresenceMessage {
    fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        match Accepted::parse(body) {
            Err(InvalidMessage::Event(InvalidEvent::Type)) => match serde_json::from_slice(body) {
                Ok(Own::Check(check)) => Ok(Self::Check(check)),
                Ok(Own::Purge(purge)) => Ok(Self::Purge(purge)),
                Err(_) => Err(InvalidEvent::Type.into()),
            },
            accepted => Ok(Self::Event(accepted?)),
        }
    }

    fn to_json(&self) -> String {
        let own = match self {
            Self::Event(event) => return event.to_json(),
            Self::Check(check) => Own::Check(check.clone()),
            Self::Purge(purge) => Own::Purge(*purge),
        };
        // Only strings and numbers: serialization cannot fail.
        serde_json::to_string(&own).unwrap_or_default()
    }

    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(_) => None,
            Self::Check(check) => Some(check.due_at),
            Self::Purge(purge) => Some(purge.due_at),
        }
    }

    fn service(&self) -> Option<ServiceSid> {
        Some(match self {
            Self::Event(accepted) => accepted.event.user.service,
            Self::Check(check) => check.user.service,
            Self::Purge(purge) => purge.service,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_stamp() {
        let json = r#"{"type":"renew","service_sid":"IS00000000000000000000000000000001","identity":"alice","connection_id":"c-1","occurred_at":"2026-11-20T10:01:00.000Z"}"#;
        let event = Event::parse(json.as_bytes()).unwrap();
        for (acceptance, expected) in [
            (None, json.to_owned()),
            (Some(Acceptance::Off), format!(r#"{{"generation":null,"event":{json}}}"#)),
            (Some(Acceptance::In(Generation(3))), format!(r#"{{"generation":3,"event":{json}}}"#)),
        ] {
            let message = PresenceMessage::Event(Accepted::new(event.clone(), acceptance));
            assert_eq!(message.to_json(), expected);
            assert_eq!(PresenceMessage::parse(expected.as_bytes()).unwrap(), message);
        }
        for bad in [r#"{"generation":3}"#, r#"{"generation":"x","event":{}}"#, r#"{"generation":3,"event":{}}"#] {
            assert!(PresenceMessage::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_that_was_accepted_is_never_from_the_future() {
        let json = br#"{"type":"renew","service_sid":"IS00000000000000000000000000000001","identity":"alice","connection_id":"c-1","occurred_at":"2026-11-20T10:00:00.000Z"}"#;
        let event = Event::parse(json).unwrap();
        let at = |seconds: i64| Timestamp::from_millis(event.occurred_at.as_millis() + seconds * 1_000);
        let counts_at = |acceptance, now: i64, sent_at: Option<i64>| {
            let found = Accepted::new(event.clone(), acceptance).at(at(now), sent_at.map(at));
            found.ok().map(|accepted| accepted.event.occurred_at)
        };
        let month = 30 * 86_400;
        for acceptance in [Some(Acceptance::Off), Some(Acceptance::In(Generation(1)))] {
            assert_eq!(
                counts_at(acceptance, -month, Some(-month)),
                Some(at(-month)),
                "it was checked as it was accepted"
            );
        }
        for (now, counts) in [(60, 0), (0, 0), (-300, 0), (-301, -301), (-month, -month)] {
            assert_eq!(counts_at(None, now, None), Some(at(counts)), "of a socket of our own, at {now}");
        }
        for (now, counts) in [(60, Some(0)), (-600, Some(0)), (-601, None), (-month, None)] {
            assert_eq!(counts_at(None, now, Some(now)), counts.map(at), "straight to the queue, at {now}");
        }
    }

    #[test]
    fn a_serialized_message_parses_to_the_same_message() {
        let at = Timestamp::from_millis(1_795_171_200_123);
        let service = "IS00000000000000000000000000000001".parse().unwrap();
        let user = UserKey { service, identity: "bob@x.com".parse().unwrap() };
        let check = PresenceMessage::Check(Check { user, due_at: at });
        let check_json = r#"{"type":"check","service_sid":"IS00000000000000000000000000000001","identity":"bob@x.com","due_at":1795171200123}"#;
        let of_connection = check_json.replace(r#","due_at""#, r#","connection_id":"c-1","ended":true,"due_at""#);
        assert_eq!(PresenceMessage::parse(of_connection.as_bytes()).unwrap(), check, "as earlier versions sent it");
        let purge_json =
            r#"{"type":"purge","service_sid":"IS00000000000000000000000000000001","due_at":1795171200123}"#;
        for (message, json) in [
            (check, check_json.to_owned()),
            (PresenceMessage::Purge(Purge { service, due_at: at, part: None }), purge_json.to_owned()),
            (
                PresenceMessage::Purge(Purge { service, due_at: at, part: Some(7) }),
                purge_json.replace('}', r#","part":7}"#),
            ),
        ] {
            assert_eq!(message.to_json(), json);
            assert_eq!(PresenceMessage::parse(json.as_bytes()).unwrap(), message);
            assert_eq!(message.due_at(), Some(at));
            // The HTTP endpoint accepts events only.
            assert!(matches!(Event::parse(json.as_bytes()), Err(InvalidEvent::Type)));
        }
        assert!(PresenceMessage::parse(br#"{"type":"probe"}"#).is_err());
    }
}
