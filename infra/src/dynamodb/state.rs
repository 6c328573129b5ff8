//! A user's state as an item. Attribute names are short, since every event writes the whole item.
//!
//! | attribute | |
//! |---|---|
//! | `sid` | the user's sid; missing if the user does not exist (any more) |
//! | `by`, `del` | [`UserState::created_by`], [`UserState::deleted_at`] |
//! | `hook` | [`UserState::webhook_enabled`]; missing if it is false |
//! | `rev`, `as_of` | [`UserState::revision`], [`UserState::as_of`] |
//! | `gen`, `active`, `seen` | the latest generation online, the latest event's time, that of the latest connect |
//! | `said`, `inv`, `hid` | [`UserState::disclosure`]: the status, whether the user is invisible, what others see instead |
//! | `c` and a hash of an id | a live connection: the end of its lease |
//! | `o` and a hash of an id | how a live connection began: the time of its connect, and the device |
//! | `x` and a hash of an id | a connection with an end: its time, its reason and the disconnect, in binary |
//! | `floor` | the latest disconnect of a connection that is forgotten |
//! | `b#` and the digits of a binding's sid | a registration: `{a, c, d, w}`, when it was registered and confirmed,
//! whether it is dead, and why |
//! | `reg` | the generation in which the registrations were last announced; missing if there never was one |
//! | `t` | [`UserState::next_timer`] |
//! | `ttl` | when DynamoDB removes the state of a user that does not exist, in seconds |
//!
//! Each connection has its own attribute, so one update writes a connection without reading the others. Earlier versions
//! named connections by their ids: `c#` and the id for the lease (`{a, l}`), `x#` and the id for the end (`{a, r, w}`).

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::identity::ConnectionKey;
use reachability_domain::presence::connection::Connection;
use reachability_domain::presence::connections::{KEEP_DELETION, Presence};
use reachability_domain::presence::opening::Opening;
use reachability_domain::presence::state::UserState;
use reachability_domain::push::registration::{Registration, Registrations};
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_dynamo::AttributeValue;

use super::{connection, older_connection};

/// An attribute of a stored state cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("the attribute {name} of a state cannot be read")]
pub(super) struct StateError {
    name: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl StateError {
    pub(super) fn new(name: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { name: name.to_owned(), source: source.into() }
    }
}

/// A stored state, with the attributes that the domain does not use.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct StoredState {
    /// The state.
    pub(super) state: UserState,
    /// Whether it has attributes of connections that an earlier version wrote.
    pub(super) is_older: bool,
    /// Attributes that this version does not know. They are preserved.
    others: HashMap<String, AttributeValue>,
}

/// Name of the attribute for a registration.
fn device(sid: BindingSid) -> String {
    format!("b#{:032x}", sid.bits())
}

fn read_digits(digits: &str) -> Option<BindingSid> {
    u128::from_str_radix(digits, 16).ok().map(BindingSid::from_bits)
}

pub(super) fn read<T: DeserializeOwned>(name: &str, value: AttributeValue) -> Result<T, StateError> {
    serde_dynamo::from_attribute_value(value).map_err(|source| StateError::new(name, source))
}

pub(super) fn write<T: Serialize>(value: &T) -> AttributeValue {
    // Only numbers and texts: serialization cannot fail.
    serde_dynamo::to_attribute_value(value).unwrap_or(AttributeValue::Null(true))
}

impl StoredState {
    /// Parses an item of the table or of its stream.
    ///
    /// # Errors
    /// If an attribute cannot be parsed.
    pub(super) fn read(item: impl IntoIterator<Item = (String, AttributeValue)>) -> Result<Self, StateError> {
        let mut stored = Self::default();
        let mut connections: BTreeMap<ConnectionKey, Connection> = BTreeMap::new();
        let mut openings: BTreeMap<ConnectionKey, Opening> = BTreeMap::new();
        let mut online_generation = Generation::default();
        let (mut last_active, mut connected_at, mut floor) = (None, None, None);
        let mut marks_of_deletion = Vec::new();
        let mut announced_in = None;
        let mut devices: BTreeMap<BindingSid, Registration> = BTreeMap::new();
        for (name, value) in item {
            match name.as_str() {
                "pk" | "sk" | "ttl" => {}
                "sid" => stored.state.sid = Some(read(&name, value)?),
                "hook" => stored.state.webhook_enabled = read(&name, value)?,
                "by" => stored.state.created_by = Some(read(&name, value)?),
                "del" => stored.state.deleted_at = Some(read(&name, value)?),
                "t" => stored.state.next_timer = Some(read(&name, value)?),
                "rev" => stored.state.revision = read(&name, value)?,
                "as_of" => stored.state.as_of = read(&name, value)?,
                "gen" => online_generation = read(&name, value)?,
                "active" => last_active = Some(read(&name, value)?),
                "seen" => connected_at = Some(read(&name, value)?),
                "said" => stored.state.disclosure.status = Some(read(&name, value)?),
                "inv" => stored.state.disclosure.invisible = read(&name, value)?,
                "hid" => stored.state.disclosure.hidden = Some(read(&name, value)?),
                "floor" => floor = Some(read(&name, value)?),
                "reg" => announced_in = Some(read(&name, value)?),
                _ => {
                    let after = |kind| name.strip_prefix(kind);
                    if let Some(sid) = after("b#").and_then(read_digits) {
                        devices.insert(sid, read(&name, value)?);
                    } else if let Some((key, connection)) = connection::read(&name, &value)? {
                        connections.entry(key).or_default().join(&connection);
                    } else if let Some((key, opening)) = connection::read_opening(&name, &value)? {
                        openings.insert(key, opening);
                    } else if let Some(older) = older_connection::read(&name, &value)? {
                        stored.is_older = true;
                        marks_of_deletion.extend(older.marks_deletion.then_some(older.key));
                        connections.entry(older.key).or_default().join(&older.connection);
                    } else {
                        stored.others.insert(name, value);
                    }
                }
            }
        }
        // Earlier versions marked the connections of a deleted user instead.
        if stored.state.sid.is_none() {
            let ends = marks_of_deletion.iter().filter_map(|key| connections.get(key)?.ended);
            stored.state.deleted_at = stored.state.deleted_at.or(ends.map(|ending| ending.at).max());
        }
        // An earlier version that runs beside this one leaves them there when a connection ends.
        openings.retain(|key, _| connections.get(key).is_some_and(|connection| connection.ended.is_none()));
        stored.state.presence = Presence { connections, online_generation, last_active, connected_at, floor, openings };
        stored.state.registrations = Registrations::from_parts(announced_in, devices);
        Ok(stored)
    }

    /// All attributes except the key.
    pub(super) fn write(&self) -> HashMap<String, AttributeValue> {
        let UserState {
            sid,
            created_by,
            webhook_enabled,
            presence,
            disclosure,
            registrations,
            deleted_at,
            next_timer,
            revision,
            as_of,
        } = &self.state;
        let mut item = self.others.clone();
        let mut put = |name: String, value| item.insert(name, value);
        if *revision > 0 {
            put("rev".to_owned(), write(revision));
            put("as_of".to_owned(), write(as_of));
        }
        match sid {
            Some(sid) => put("sid".to_owned(), write(sid)),
            None => put("ttl".to_owned(), write(&expires_at(*as_of))),
        };
        if let Some(created_by) = created_by {
            put("by".to_owned(), write(created_by));
        }
        if *webhook_enabled {
            put("hook".to_owned(), write(webhook_enabled));
        }
        if let Some(deleted_at) = deleted_at {
            put("del".to_owned(), write(deleted_at));
        }
        if let Some(next_timer) = next_timer {
            put("t".to_owned(), write(next_timer));
        }
        if presence.online_generation > Generation::default() {
            put("gen".to_owned(), write(&presence.online_generation));
        }
        if let Some(last_active) = presence.last_active {
            put("active".to_owned(), write(&last_active));
        }
        if let Some(connected_at) = presence.connected_at {
            put("seen".to_owned(), write(&connected_at));
        }
        if let Some(status) = &disclosure.status {
            put("said".to_owned(), write(status));
        }
        if disclosure.invisible {
            put("inv".to_owned(), write(&true));
        }
        if let Some(hidden) = &disclosure.hidden {
            put("hid".to_owned(), write(hidden));
        }
        if let Some(floor) = presence.floor {
            put("floor".to_owned(), write(&floor));
        }
        for (key, connection) in &presence.connections {
            if let Some((name, value)) = connection::write(*key, connection) {
                put(name, value);
            }
        }
        for (key, opening) in &presence.openings {
            put(connection::opened(*key), connection::write_opening(opening));
        }
        if let Some(announced_in) = registrations.announced_in() {
            put("reg".to_owned(), write(&announced_in));
        }
        for (sid, registration) in registrations.devices() {
            put(device(sid), write(registration));
        }
        item
    }
}

/// When the state of a user that does not exist can be removed, in seconds since the epoch.
pub(super) fn expires_at(as_of: Timestamp) -> i64 {
    as_of.plus(KEEP_DELETION).as_millis() / 1_000
}

#[cfg(test)]
mod tests {
    use reachability_domain::identity::ConnectionId;
    use reachability_domain::presence::change_reason::ChangeReason;
    use reachability_domain::presence::connection::Ending;
    use reachability_domain::presence::connections::Limits;
    use reachability_domain::presence::event::EndReason;
    use reachability_domain::push::channel::Channel;
    use reachability_domain::push::lifetime::Lifetime;
    use serde_json::json;

    use super::*;

    /// What DynamoDB charges for: a number takes a byte for two digits and one more, a map three and one for each member.
    fn size(name: &str, value: &AttributeValue) -> usize {
        name.len()
            + match value {
                AttributeValue::S(text) => text.len(),
                AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
                AttributeValue::B(bytes) => bytes.len(),
                AttributeValue::M(map) => 3 + map.iter().map(|(name, value)| 1 + size(name, value)).sum::<usize>(),
                AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
                other => panic!("{other:?}"),
            }
    }

    /// A record of up to a kilobyte is written for one unit: that of a user with all the marks of connections that were lost.
    #[test]
    fn the_usual_record_is_under_a_kilobyte() {
        let now = Timestamp::from_millis(1_795_132_800_123);
        let key = |n: usize| format!("c-{n}").parse::<ConnectionId>().unwrap().key();
        let registration = Registration {
            registered_at: now,
            lifetime: Lifetime::longest(Channel::Fcm),
            confirmed_at: Some(now),
            asked_at: None,
            is_dead: false,
            death_reason: None,
        };
        for (live, devices) in [(5, 0), (2, 2)] {
            let mut stored = StoredState::default();
            let state = &mut stored.state;
            (state.sid, state.created_by) = (Some(Sid::from_bits(1)), Some(ChangeReason::Connect));
            (state.revision, state.as_of, state.next_timer) = (1_795_132_800_123, now, Some(now));
            let presence = &mut state.presence;
            presence.online_generation = Generation(3);
            (presence.last_active, presence.connected_at, presence.floor) = (Some(now), Some(now), Some(now));
            for n in 0..live {
                presence.connections.insert(key(n), Connection { leased_until: Some(now), ended: None });
                presence.openings.insert(key(n), Opening::new(now, Some("Android 15")));
            }
            let ending = Ending {
                at: Timestamp::from_millis(now.as_millis() + 10_000),
                reason: EndReason::ConnectionLost,
                occurred_at: now,
            };
            for n in live..live + Limits::DEFAULT.ended + Limits::SPARE {
                presence.connections.insert(key(n), Connection { leased_until: Some(ending.at), ended: Some(ending) });
            }
            for n in 0..devices {
                let gone = state.registrations.insert(Sid::from_bits(n), registration.clone(), Some(Generation(3)));
                assert_eq!(gone, None);
            }
            let item = stored.write();
            // The key, of a service's sid and an identity of 36 bytes.
            let key = "pkstate##skstate".len() + 34 + 36;
            let bytes = key + item.iter().map(|(name, value)| size(name, value)).sum::<usize>();
            assert!(bytes <= 1_024, "{bytes} bytes with {live} connections and {devices} devices");
        }
    }

    #[test]
    fn the_deletion_of_an_earlier_version_is_read() {
        let item = json!({
            "rev": 7, "as_of": 1_000, "ttl": 2,
            "c#c-1": { "a": i64::MAX, "l": i64::MAX }, "x#c-1": { "a": 1_000, "r": 1_000 },
        });
        let item: serde_dynamo::Item = serde_dynamo::to_item(item).unwrap();
        let stored = StoredState::read(item.into_inner()).unwrap();
        assert_eq!(stored.state.deleted_at, Some(Timestamp::from_millis(1_000)));
        assert_eq!(StoredState::read(stored.write()).unwrap().state.deleted_at, stored.state.deleted_at);
    }
}
