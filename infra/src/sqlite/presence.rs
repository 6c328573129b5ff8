//! The column with what is known about a user's connections: binary, since every event reads and writes it.

use std::collections::{BTreeMap, HashMap};

use reachability_domain::directory::configuration::Generation;
use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::connection::Connection;
use reachability_domain::presence::connections::Presence;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use rusqlite::types::ValueRef;
use serde::Deserialize;

use super::rows::read_document;
use crate::older_ending::OlderEnding;

/// What a value in today's form begins with.
const VERSION: u8 = 3;

/// What it began with before it was stored how connections began, as the last field.
const WITHOUT_OPENINGS: u8 = 2;

/// What it began with before the time of the latest connect was stored, as the field before.
const WITHOUT_CONNECT: u8 = 1;

/// Serializes the column.
pub(super) fn write(presence: &Presence) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(presence, vec![VERSION]).map_err(|error| StoreError::Corrupt(error.into()))
}

/// Parses the column. Earlier versions wrote JSON, as a text.
pub(super) fn read(value: ValueRef<'_>) -> Result<Presence, StoreError> {
    let parse = |presence: &[u8]| postcard::from_bytes(presence).map_err(|error| StoreError::Corrupt(error.into()));
    match value {
        ValueRef::Blob([VERSION, presence @ ..]) => parse(presence),
        // Zero is a time that is missing, and a map that is empty.
        ValueRef::Blob([WITHOUT_OPENINGS, presence @ ..]) => parse(&[presence, &[0]].concat()),
        ValueRef::Blob([WITHOUT_CONNECT, presence @ ..]) => parse(&[presence, &[0, 0]].concat()),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|error| StoreError::Corrupt(error.into()))?;
            read_document::<Older>(text).map(Presence::from)
        }
        _ => Err(StoreError::Corrupt("the connections of a user are in an unknown form".into())),
    }
}

/// What earlier versions stored.
#[derive(Deserialize)]
struct Older {
    #[serde(rename = "c", default)]
    connections: HashMap<ConnectionId, OlderConnection>,
    #[serde(rename = "g", default)]
    online_generation: Generation,
    #[serde(rename = "t", default)]
    last_active: Option<Timestamp>,
}

#[derive(Deserialize)]
struct OlderConnection {
    #[serde(rename = "o")]
    lease: Option<OlderLease>,
    #[serde(rename = "e")]
    ended: Option<OlderEnding>,
}

#[derive(Deserialize)]
struct OlderLease {
    #[serde(rename = "l")]
    until: Timestamp,
}

impl From<Older> for Presence {
    fn from(older: Older) -> Self {
        let connections = older.connections.iter().map(|(id, older)| {
            let leased_until = older.lease.as_ref().map(|lease| lease.until);
            let mut connection = Connection::default();
            connection.join(&Connection { leased_until, ended: older.ended.map(Into::into) });
            (id.key(), connection)
        });
        Self {
            connections: connections.collect(),
            online_generation: older.online_generation,
            last_active: older.last_active,
            floor: None,
            connected_at: None,
            openings: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::presence::connection::Ending;
    use reachability_domain::presence::event::EndReason;
    use reachability_domain::presence::opening::Opening;

    use super::*;

    fn id(n: usize) -> ConnectionId {
        format!("7f2c1a9e-0000-4000-8000-{n:012}").parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let at = Timestamp::from_millis(1_795_132_800_000);
        let mut presence = Presence { online_generation: Generation(3), last_active: Some(at), ..Presence::default() };
        assert_eq!(read(ValueRef::Blob(&write(&presence).unwrap())).unwrap(), presence);
        presence.floor = Some(at);
        presence.connected_at = Some(at);
        for n in 0..121 {
            let ended = (n > 99).then_some(Ending { at, reason: EndReason::ServerClosed, occurred_at: at });
            presence.connections.insert(id(n).key(), Connection { leased_until: Some(at), ended });
            if ended.is_none() {
                presence.openings.insert(id(n).key(), Opening::new(at, Some("Chrome on Android")));
            }
        }
        let written = write(&presence).unwrap();
        assert_eq!(read(ValueRef::Blob(&written)).unwrap(), presence);
        assert!(written.len() < 6_100, "{} bytes of a full record", written.len());
        for broken in [&written[..1], &written[..100], b"", &[4, 0, 0, 0, 0, 0, 0]] {
            assert!(read(ValueRef::Blob(broken)).is_err());
        }
    }

    #[test]
    fn what_was_written_without_the_last_fields_is_read() {
        let presence = Presence { floor: Some(Timestamp::from_millis(7)), ..Presence::default() };
        let mut written = write(&presence).unwrap();
        for version in [WITHOUT_OPENINGS, WITHOUT_CONNECT] {
            assert_eq!(written.pop(), Some(0));
            written[0] = version;
            assert_eq!(read(ValueRef::Blob(&written)).unwrap(), presence);
        }
    }

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let older = r#"{"c":{"c-1":{"o":{"a":1000,"l":121000}},"c-2":{"o":{"a":1000,"l":121000},"e":{"a":5000,"r":6000,"w":"c"}},
            "c-3":{"e":{"a":7000,"r":6000}}},"g":2,"t":1000}"#;
        let presence = read(ValueRef::Text(older.as_bytes())).unwrap();
        let at = Timestamp::from_millis;
        let connection = |id: &str| presence.connection(id.parse::<ConnectionId>().unwrap().key());
        assert_eq!(connection("c-1"), Connection { leased_until: Some(at(121_000)), ended: None });
        assert_eq!(connection("c-2").live_until(), at(5_000));
        assert_eq!(connection("c-2").end_reason(), Some(EndReason::ClientClosed));
        assert_eq!(connection("c-3").end_reason(), Some(EndReason::ConnectionLost));
        assert_eq!((presence.online_generation, presence.last_active), (Generation(2), Some(at(1_000))));
    }
}
