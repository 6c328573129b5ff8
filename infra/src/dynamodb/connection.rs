//! A connection as attributes of its user's state: of some 21 bytes while it is live, and 26 and the name of its device for how it
//! began; one of at most 32 after its end.

use std::num::ParseIntError;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reachability_domain::identity::ConnectionKey;
use reachability_domain::presence::connection::{Connection, Ending};
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::opening::Opening;
use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_dynamo::AttributeValue;

use super::state::{self, StateError};

/// What is stored of a connection with an end. Differences of times are shorter than times.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// When it stops counting as live, in milliseconds.
    at: i64,
    /// By how much that is after the latest disconnect, in milliseconds: the grace period, usually.
    after_disconnect: i64,
    reason: EndReason,
    /// By how much its lease ended before that, in milliseconds; `None` if no connect or renewal is known.
    after_lease: Option<i64>,
}

/// The name of a connection's attribute while it is live.
pub(super) fn live(key: ConnectionKey) -> String {
    named('c', key)
}

/// The name of the attribute for how a connection began.
pub(super) fn opened(key: ConnectionKey) -> String {
    named('o', key)
}

fn named(kind: char, key: ConnectionKey) -> String {
    format!("{kind}{}", BASE64_URL_SAFE_NO_PAD.encode(key.0))
}

fn key_in(name: &str, kind: char) -> Option<ConnectionKey> {
    let key = name.strip_prefix(kind).and_then(|digits| BASE64_URL_SAFE_NO_PAD.decode(digits).ok())?;
    key.try_into().ok().map(ConnectionKey)
}

/// The name of a connection's attribute once its end is known.
pub(super) fn ended(key: ConnectionKey) -> String {
    named('x', key)
}

/// The attribute of a connection; `None` if nothing is known.
pub(super) fn write(key: ConnectionKey, connection: &Connection) -> Option<(String, AttributeValue)> {
    let Some(ending) = connection.ended else {
        return connection.leased_until.map(|until| (live(key), state::write(&until)));
    };
    let at = ending.at.as_millis();
    let mark = Mark {
        at,
        after_disconnect: at.saturating_sub(ending.occurred_at.as_millis()),
        reason: ending.reason,
        after_lease: connection.leased_until.map(|until| at.saturating_sub(until.as_millis())),
    };
    // Into memory, and only numbers: serialization cannot fail.
    postcard::to_stdvec(&mark).ok().map(|mark| (ended(key), AttributeValue::B(mark)))
}

/// Parses an attribute; `None` if it is not a connection.
///
/// # Errors
/// If the name is that of a connection, and the value is not.
pub(super) fn read(name: &str, value: &AttributeValue) -> Result<Option<(ConnectionKey, Connection)>, StateError> {
    if let Some(key) = key_in(name, 'c') {
        let until = state::read(name, value.clone())?;
        return Ok(Some((key, Connection { leased_until: Some(until), ended: None })));
    }
    let Some(key) = key_in(name, 'x') else { return Ok(None) };
    let AttributeValue::B(mark) = value else { return Err(StateError::new(name, "it is not binary")) };
    let mark: Mark = postcard::from_bytes(mark).map_err(|error| StateError::new(name, error))?;
    let before_end = |millis| Timestamp::from_millis(mark.at.saturating_sub(millis));
    let ending = Ending { at: before_end(0), reason: mark.reason, occurred_at: before_end(mark.after_disconnect) };
    Ok(Some((key, Connection { leased_until: mark.after_lease.map(before_end), ended: Some(ending) })))
}

/// The value of the attribute for how a connection began: the time in milliseconds, and, after a space, the device. A text, since
/// tools that copy tables do not all copy what is binary as it is.
pub(super) fn write_opening(Opening { at, device }: &Opening) -> AttributeValue {
    let at = at.as_millis();
    AttributeValue::S(device.as_ref().map_or_else(|| at.to_string(), |device| format!("{at} {device}")))
}

/// Parses an attribute for how a connection began; `None` if it is none.
///
/// # Errors
/// If the name is that of such an attribute, and the value is not.
pub(super) fn read_opening(name: &str, value: &AttributeValue) -> Result<Option<(ConnectionKey, Opening)>, StateError> {
    let Some(key) = key_in(name, 'o') else { return Ok(None) };
    let AttributeValue::S(opening) = value else { return Err(StateError::new(name, "it is not a text")) };
    let (at, device) = opening.split_once(' ').map_or((opening.as_str(), None), |(at, device)| (at, Some(device)));
    let at = at.parse().map_err(|error: ParseIntError| StateError::new(name, error))?;
    Ok(Some((key, Opening::new(Timestamp::from_millis(at), device))))
}

#[cfg(test)]
mod tests {
    use reachability_domain::identity::ConnectionId;

    use super::*;

    const NOW: i64 = 1_795_132_800_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(NOW + millis)
    }

    #[test]
    fn a_connection_is_small_and_reads_as_written() {
        let key = "x".repeat(128).parse::<ConnectionId>().unwrap().key();
        let ended = |grace: i64, until: Option<i64>| Connection {
            leased_until: until.map(at),
            ended: Some(Ending { at: at(grace), reason: EndReason::ServerClosed, occurred_at: at(0) }),
        };
        for (connection, most) in [
            (Connection { leased_until: Some(at(0)), ended: None }, 21),
            (ended(0, Some(0)), 23),
            (ended(10_000, Some(10_000)), 25),
            (ended(10_000, None), 24),
            // The lease ended a year before, and the gateway's clock is ahead by an hour.
            (ended(-3_600_000, Some(-31_536_000_000)), 32),
        ] {
            let (name, value) = write(key, &connection).unwrap();
            let size = name.len()
                + match &value {
                    AttributeValue::B(bytes) => bytes.len(),
                    // Two digits a byte, and one more.
                    AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
                    other => panic!("{other:?}"),
                };
            assert!(size <= most, "{size} bytes of {connection:?}");
            assert_eq!(read(&name, &value).unwrap(), Some((key, connection)));
        }
        assert_eq!(write(key, &Connection::default()), None);
    }

    #[test]
    fn how_a_connection_began_is_small_and_reads_as_written() {
        let key = "c-1".parse::<ConnectionId>().unwrap().key();
        for (device, size) in [(None, 26), (Some("phone"), 32), (Some("my old phone"), 39)] {
            let opening = Opening::new(at(0), device);
            let (name, value) = (opened(key), write_opening(&opening));
            let AttributeValue::S(text) = &value else { panic!("{value:?}") };
            assert_eq!(name.len() + text.len(), size, "{device:?}");
            assert_eq!(read_opening(&name, &value).unwrap(), Some((key, opening)));
            assert_eq!(read(&name, &value).unwrap(), None);
        }
        for name in ["o", "other", "cAAAAAAAAAAAA"] {
            assert_eq!(read_opening(name, &AttributeValue::Null(true)).unwrap(), None, "{name}");
        }
        for value in [AttributeValue::B(vec![]), AttributeValue::S("x".to_owned())] {
            assert!(read_opening("oAAAAAAAAAAAA", &value).is_err());
        }
    }

    #[test]
    fn what_is_no_connection_is_left_alone() {
        let number = AttributeValue::N("5".to_owned());
        for name in ["", "c", "x", "created", "x#AAAAAAAAAAA", "cAAAAAAAAAAAAA", "xAAAAAAAAAAAA="] {
            assert_eq!(read(name, &number).unwrap(), None, "{name}");
        }
        assert!(read("xAAAAAAAAAAAA", &number).is_err());
        assert!(read("xAAAAAAAAAAAA", &AttributeValue::B(vec![1])).is_err());
        assert!(read("cAAAAAAAAAAAA", &AttributeValue::S("5".to_owned())).is_err());
    }
}
