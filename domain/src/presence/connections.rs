//! A user's connections, as a join-semilattice.
//!
//! What is stored about a connection only grows: *unseen < live < closed*, and among live connections the later lease
//! wins. Each event is converted to a small value ([`Presence::of_event`]) that is joined to the stored value
//! ([`Presence::join`]). Join is commutative, associative and idempotent. So the same events in any order, repetition
//! or grouping produce the same state, and a connect that arrives after its disconnect does not bring the connection
//! back.
//!
//! Whether a connection is live is not stored: it is computed from `now` on every read.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::identity::ConnectionId;
use crate::presence::event::{EndReason, Event, EventKind};
use crate::time::Timestamp;

/// How long a connection counts as live without a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeasePolicy {
    /// For this duration, unless the event has a lease of its own.
    For(Duration),
    /// Until a disconnect, whatever the event's lease is: for recorded logs, which seldom contain renewals.
    Unlimited,
}

/// The deployment's settings for presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From a lost connection until it counts as ended.
    pub grace: Duration,
    /// From a connect or renewal until the connection ends without a disconnect.
    pub lease: LeasePolicy,
}

/// What connects and renewals say about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When the latest of them occurred. An event that occurred at or before this time adds nothing.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// The latest end of a lease.
    #[serde(rename = "l")]
    pub until: Timestamp,
}

/// What disconnects say about a connection. The earliest reported end wins; of equal ends, the one recorded first, then
/// the first by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ending {
    /// When the connection stops counting as live, grace period included.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// When it was recorded. How long the tombstone is kept depends on it.
    #[serde(rename = "r")]
    pub recorded_at: Timestamp,
    /// Why it ended.
    #[serde(rename = "w", default = "reason_of_older_versions", with = "short_reason")]
    pub reason: EndReason,
}

/// Earlier versions stored no reason. Of their endings only those in their grace period can still become visible.
fn reason_of_older_versions() -> EndReason {
    EndReason::ConnectionLost
}

/// One letter: a state is stored with every event.
mod short_reason {
    use serde::de::{Deserialize, Deserializer, Error, Unexpected};
    use serde::ser::Serializer;

    use crate::presence::event::EndReason;

    pub(super) fn serialize<S: Serializer>(reason: &EndReason, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_char(match reason {
            EndReason::ClientClosed => 'c',
            EndReason::ConnectionLost => 'l',
            EndReason::ServerClosed => 's',
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EndReason, D::Error> {
        match char::deserialize(deserializer)? {
            'c' => Ok(EndReason::ClientClosed),
            'l' => Ok(EndReason::ConnectionLost),
            's' => Ok(EndReason::ServerClosed),
            other => Err(D::Error::invalid_value(Unexpected::Char(other), &"c, l or s")),
        }
    }
}

/// What is known about one connection. Both fields `None`: *unseen*. `ended` set, with or without a lease: *closed*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connection {
    /// From connects and renewals; `None` before the first.
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// From disconnects; `None` before the first.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
}

impl Connection {
    /// Merges other knowledge about the same connection.
    fn join(&mut self, other: &Self) {
        self.lease = match (self.lease, other.lease) {
            (Some(one), Some(two)) => Some(Lease { at: one.at.max(two.at), until: one.until.max(two.until) }),
            (one, two) => one.or(two),
        };
        self.ended = match (self.ended, other.ended) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }

    /// When it stops counting as live. [`Timestamp::MIN`] if no connect or renewal is known.
    pub fn live_until(&self) -> Timestamp {
        let lease = self.lease.map_or(Timestamp::MIN, |opening| opening.until);
        self.ended.map_or(lease, |ending| lease.min(ending.at))
    }

    /// Why it stopped counting as live; `None` if its lease ran out.
    pub fn end_reason(&self) -> Option<EndReason> {
        let lease_end = self.lease.map_or(Timestamp::MAX, |lease| lease.until);
        self.ended.filter(|ending| ending.at <= lease_end).map(|ending| ending.reason)
    }

    /// Whether the connection can be dropped: no event that may still arrive could make it live again.
    ///
    /// An expired lease needs no tombstone. A disconnect needs none once every lease that an earlier event could have
    /// given has expired. A disconnect without a known connect keeps its tombstone for as long as a queue keeps a
    /// message.
    fn is_prunable(&self, now: Timestamp) -> bool {
        if now < self.live_until() {
            return false;
        }
        let Some(ending) = self.ended else {
            return self.lease.is_none_or(|opening| opening.until.plus(KEEP_AT_LEAST) <= now);
        };
        let leases_are_over = self.lease.is_some_and(|opening| {
            let last_lease = ending.at.plus(opening.until.since(opening.at)).max(opening.until);
            last_lease.max(ending.recorded_at).plus(KEEP_AT_LEAST) <= now
        });
        leases_are_over || ending.recorded_at.plus(KEEP_ENDED_AT_MOST) <= now
    }
}

/// How long a connection is kept at least after its end. Repeated or reordered messages seldom arrive later than this;
/// until then a repetition is recognised.
const KEEP_AT_LEAST: Duration = Duration::from_secs(15 * 60);

/// How long the tombstone of an ended connection is kept at most: one day longer than a queue keeps a message.
pub const KEEP_ENDED_AT_MOST: Duration = Duration::from_secs(15 * 86_400);

/// How many ended connections per user are kept for longer than [`KEEP_AT_LEAST`].
const KEEP_ENDED: usize = 50;

/// What is known about a user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Presence {
    /// Live connections, and tombstones of recently ended ones.
    #[serde(rename = "c", default)]
    connections: BTreeMap<ConnectionId, Connection>,
    /// The generation of the latest connect or renewal.
    #[serde(rename = "g", default)]
    online_generation: Generation,
    /// When the user's latest event occurred; `None` before the first.
    #[serde(rename = "t", default)]
    last_active: Option<Timestamp>,
}

impl Presence {
    /// Converts one event that was accepted in this generation and is handled at `now`.
    pub fn of_event(event: &Event, rules: &Rules, generation: Generation, now: Timestamp) -> Self {
        // A gateway's clock may be ahead of this server's. "At once" means by this server's clock.
        let ended_at = event.occurred_at.min(now);
        let connection = match event.kind {
            EventKind::Connect { lease, .. } | EventKind::Renew { lease } => Connection {
                lease: Some(Lease {
                    at: event.occurred_at,
                    until: match rules.lease {
                        LeasePolicy::Unlimited => Timestamp::MAX,
                        LeasePolicy::For(setting) => event.occurred_at.plus(lease.unwrap_or(setting)),
                    },
                }),
                ended: None,
            },
            EventKind::Disconnect { reason } => Connection {
                lease: None,
                ended: Some(Ending {
                    at: match reason {
                        EndReason::ClientClosed => ended_at,
                        EndReason::ConnectionLost | EndReason::ServerClosed => ended_at.plus(rules.grace),
                    },
                    recorded_at: now,
                    reason,
                }),
            },
        };
        Self {
            online_generation: if connection.lease.is_some() { generation } else { Generation::default() },
            connections: BTreeMap::from([(event.connection.clone(), connection)]),
            last_active: Some(event.occurred_at),
        }
    }

    /// Rebuilds a value that a store keeps as separate columns or attributes.
    pub fn from_parts(
        connections: BTreeMap<ConnectionId, Connection>,
        online_generation: Generation,
        last_active: Option<Timestamp>,
    ) -> Self {
        Self { connections, online_generation, last_active }
    }

    /// Merges other knowledge about the same user. Returns whether anything changed.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (id, theirs) in &other.connections {
            let ours = self.connections.entry(id.clone()).or_default();
            let before = *ours;
            ours.join(theirs);
            changed |= before != *ours;
        }
        if self.online_generation < other.online_generation {
            self.online_generation = other.online_generation;
            changed = true;
        }
        if self.last_active < other.last_active {
            self.last_active = other.last_active;
            changed = true;
        }
        changed
    }

    /// When the user goes offline if no further event arrives. [`Timestamp::MIN`] if there was never a connect.
    pub fn live_until(&self) -> Timestamp {
        self.connections.values().map(Connection::live_until).max().unwrap_or(Timestamp::MIN)
    }

    /// The generation of the latest connect or renewal.
    pub fn online_generation(&self) -> Generation {
        self.online_generation
    }

    /// When the user's latest event occurred; `None` before the first.
    pub fn last_active(&self) -> Option<Timestamp> {
        self.last_active
    }

    /// What is known about one connection; the default value if nothing is.
    pub fn connection(&self, id: &ConnectionId) -> Connection {
        self.connections.get(id).copied().unwrap_or_default()
    }

    /// The connection that keeps the user online longest, or did so: its end is the user's end. `None` if there was never
    /// a connect.
    pub fn last(&self) -> Option<(&ConnectionId, &Connection)> {
        let opened = self.connections.iter().filter(|(_, connection)| connection.lease.is_some());
        opened.max_by_key(|(id, connection)| (connection.live_until(), *id))
    }

    /// All known connections, live and ended.
    pub fn connections(&self) -> impl ExactSizeIterator<Item = (&ConnectionId, &Connection)> {
        self.connections.iter()
    }

    /// Drops the connections that no longer matter, to keep the record small. If too many have ended some time ago,
    /// drops the oldest of them too; later events on those count as new. The last one stays ([`Presence::last`]): it
    /// says why the user is offline.
    pub fn prune(&mut self, now: Timestamp) {
        let last = self.last().map(|(id, _)| id.clone());
        self.connections.retain(|id, connection| !connection.is_prunable(now) || Some(id) == last.as_ref());
        self.drop_ended(KEEP_ENDED, |ending| ending.recorded_at.plus(KEEP_AT_LEAST) <= now);
    }

    /// Drops all but the last `keep` ended connections, for a store whose records are limited in size. A late event on
    /// a dropped connection can bring that connection back.
    pub fn prune_ended(&mut self, keep: usize, now: Timestamp) {
        self.drop_ended(keep, |ending| ending.at <= now);
    }

    fn drop_ended(&mut self, keep: usize, may_go: impl Fn(&Ending) -> bool) {
        if self.connections.len() <= keep {
            return;
        }
        let ended = self.connections.iter().filter_map(|(id, connection)| Some((connection.ended?, id.clone())));
        let mut ended: Vec<(Ending, ConnectionId)> = ended.collect();
        ended.sort_unstable_by_key(|(ending, _)| Reverse(ending.recorded_at));
        for (_, id) in ended.iter().skip(keep).filter(|(ending, _)| may_go(ending)) {
            self.connections.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user whose connections have leases of a year and end once a minute.
    fn a_user_who_reconnects_every_minute(connections: i64) -> Presence {
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let connections = (0..connections).map(|n| {
            let lease = Some(Lease { at: at(n), until: at(n).plus(Duration::from_secs(365 * 86_400)) });
            let ended = Some(Ending { at: at(n + 1), recorded_at: at(n + 1), reason: EndReason::ClientClosed });
            (format!("c-{n:05}").parse().unwrap(), Connection { lease, ended })
        });
        Presence::from_parts(connections.collect(), Generation(1), None)
    }

    #[test]
    fn the_size_of_a_record_is_limited() {
        let mut presence = a_user_who_reconnects_every_minute(2_000);
        let now = Timestamp::from_millis(2_000 * 60_000);
        presence.prune(now);
        assert_eq!(presence.connections.len(), KEEP_ENDED, "the last ones");
        assert!(presence.connections.contains_key(&"c-01999".parse().unwrap()));

        // All have just ended: they are dropped only if there is no room for them.
        let mut presence = a_user_who_reconnects_every_minute(2_000);
        presence
            .connections
            .values_mut()
            .for_each(|it| it.ended = Some(Ending { at: now, recorded_at: now, reason: EndReason::ClientClosed }));
        let live: ConnectionId = "c-00000".parse().unwrap();
        presence.connections.get_mut(&live).unwrap().ended = None;
        let in_grace: ConnectionId = "c-00001".parse().unwrap();
        let later = now.plus(Duration::from_secs(10));
        presence.connections.get_mut(&in_grace).unwrap().ended =
            Some(Ending { at: later, recorded_at: now, reason: EndReason::ConnectionLost });
        presence.prune(now);
        assert_eq!(presence.connections.len(), 2_000);
        presence.prune_ended(1_000, now);
        assert!((1_001..=1_002).contains(&presence.connections.len()), "{}", presence.connections.len());
        assert!(presence.connections.contains_key(&live) && presence.connections.contains_key(&in_grace));
    }
}
