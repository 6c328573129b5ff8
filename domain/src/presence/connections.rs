//! A user's connections, as a join-semilattice.
//!
//! What is stored about a connection only grows: *unseen < live < closed*, and among live connections the later lease
//! wins. Each event is converted to a small value ([`Rules::connection`]) that is joined to the stored value
//! ([`Connection::join`]). Join is commutative, associative and idempotent. So the same events in any order, repetition
//! or grouping produce the same state, and a connect that arrives after its disconnect does not bring the connection
//! back.
//!
//! Whether a connection is live is not stored: it is computed from `now` on every read.
//!
//! A record is bounded ([`Limits`]). Connections that have ended are forgotten, those that ended first before the others,
//! and the record keeps how far that went: its *floor*, the latest disconnect forgotten. An event of an unknown
//! connection that occurred at or before the floor says nothing, since the connection may be a forgotten one. So a
//! connection that was seen to end never comes back. (A lease without an end is exempt, see
//! [`Connection::is_unending`].) The price: a connect that arrives after more than [`Limits::ended`]
//! other connections of its user have ended, all of them later than it occurred, may count from its next renewal only.
//! As long as none is overtaken like that, order does not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::identity::ConnectionKey;
use crate::presence::connection::{Connection, Ending};
use crate::presence::event::{EndReason, Event, EventKind};
use crate::presence::opening::Opening;
use crate::time::Timestamp;

/// How long a connection counts as live without a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeasePolicy {
    /// For this duration, unless the event has a lease of its own.
    For(Duration),
    /// Until a disconnect, whatever the event's lease is: for recorded logs, which seldom contain renewals.
    Unlimited,
}

/// How many connections of a user are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live ones. Of more, the one that ends first is dropped; its next renewal brings it back.
    pub live: usize,
    /// Ended ones, at least. Up to [`Limits::SPARE`] more are, so that forgetting needs few writes.
    pub ended: usize,
}

impl Limits {
    /// How many ended connections wait until they are forgotten together.
    pub const SPARE: usize = 5;

    /// How many live ones a deployment can allow at most.
    pub const MOST_LIVE: u16 = 1_000;

    /// The limits of a deployment that has not set its own.
    pub const DEFAULT: Self = Self { live: 100, ended: 16 };

    /// The largest that a deployment can set.
    pub const MOST: Self = Self { live: Self::MOST_LIVE as usize, ..Self::DEFAULT };

    /// For recorded logs, which are read as a whole.
    pub const NONE: Self = Self { live: usize::MAX, ended: usize::MAX };
}

impl Limits {
    /// How many connections a record has at most.
    pub const fn connections(self) -> usize {
        // The one that lasts longest is not counted among the ended ones.
        self.live + self.ended + Self::SPARE + 1
    }
}

/// The deployment's settings for presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From a lost connection until it counts as ended.
    pub grace: Duration,
    /// From a connect or renewal until the connection ends without a disconnect.
    pub lease: LeasePolicy,
    /// How many connections of a user are remembered.
    pub limits: Limits,
}

impl Rules {
    /// What an event that is handled at `now` says about its connection.
    pub fn connection(&self, event: &Event, now: Timestamp) -> Connection {
        // A gateway's clock may be ahead of this server's. "At once" means by this server's clock.
        let ended_at = event.occurred_at.min(now);
        match event.kind {
            EventKind::Connect { lease, .. } | EventKind::Renew { lease } => Connection {
                leased_until: Some(match self.lease {
                    LeasePolicy::Unlimited => Timestamp::MAX,
                    LeasePolicy::For(setting) => event.occurred_at.plus(lease.unwrap_or(setting)),
                }),
                ended: None,
            },
            EventKind::Disconnect { reason } => Connection {
                leased_until: None,
                ended: Some(Ending {
                    at: match reason {
                        EndReason::ClientClosed => ended_at,
                        EndReason::ConnectionLost | EndReason::ServerClosed => ended_at.plus(self.grace),
                    },
                    reason,
                    occurred_at: event.occurred_at,
                }),
            },
        }
    }
}

/// For how long the deletion of a user is remembered: one day longer than a queue keeps a message.
pub const KEEP_DELETION: Duration = Duration::from_secs(15 * 86_400);

/// What is known about a user's connections. A store keeps it in a binary form, so the order of the fields is fixed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Presence {
    /// Live connections, and the ones that ended last.
    pub connections: BTreeMap<ConnectionKey, Connection>,
    /// The generation of the latest connect or renewal.
    pub online_generation: Generation,
    /// When the user's latest event occurred; `None` before the first.
    pub last_active: Option<Timestamp>,
    /// The latest disconnect of a connection that is forgotten; `None` if there is none. What occurred by then on unknown
    /// connections says nothing.
    pub floor: Option<Timestamp>,
    /// When the latest connect occurred; `None` if there was none. A renewal is none.
    pub connected_at: Option<Timestamp>,
    /// How connections began of which no end is known. One of which only renewals are known is missing.
    pub openings: BTreeMap<ConnectionKey, Opening>,
}

/// How many connections were dropped from a record to keep it small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Live ones, since there were too many.
    pub live: usize,
    /// Ended ones.
    pub ended: usize,
}

impl Presence {
    /// Merges what an event that occurred at this time says about a connection. Returns whether anything changed.
    pub fn join(&mut self, key: ConnectionKey, occurred_at: Timestamp, said: &Connection) -> bool {
        if self.may_have_forgotten(key, occurred_at, said) {
            return false;
        }
        let known = self.connections.entry(key).or_default();
        let before = *known;
        known.join(said);
        if known.ended.is_some() {
            // Nobody asks for it any more, and a record should stay small.
            self.openings.remove(&key);
        }
        before != *known
    }

    /// Merges how a connection began that is joined already. Returns whether anything changed.
    pub fn join_opening(&mut self, key: ConnectionKey, opening: &Opening) -> bool {
        let is_open = self.connections.get(&key).is_some_and(|known| known.ended.is_none());
        if !is_open || self.openings.get(&key).is_some_and(|known| known <= opening) {
            return false;
        }
        self.openings.insert(key, opening.clone());
        true
    }

    /// Whether a connect that occurred at this time, and says this, is the first that is known of a connection. A renewal may
    /// have come before it.
    pub fn begins(&self, key: ConnectionKey, occurred_at: Timestamp, said: &Connection) -> bool {
        // How it began is kept until its end is known.
        let has_ended = |known: &Connection| known.leased_until.is_some() && known.ended.is_some();
        let is_known = self.openings.contains_key(&key) || self.connections.get(&key).is_some_and(has_ended);
        said.leased_until.is_some() && !is_known && !self.may_have_forgotten(key, occurred_at, said)
    }

    fn may_have_forgotten(&self, key: ConnectionKey, occurred_at: Timestamp, said: &Connection) -> bool {
        said.may_be_forgotten(occurred_at, self.floor) && !self.connections.contains_key(&key)
    }

    /// When the user goes offline if no further event arrives. [`Timestamp::MIN`] if there was never a connect.
    pub fn live_until(&self) -> Timestamp {
        self.connections.values().map(Connection::live_until).max().unwrap_or(Timestamp::MIN)
    }

    /// What is known about one connection; the default value if nothing is.
    pub fn connection(&self, key: ConnectionKey) -> Connection {
        self.connections.get(&key).copied().unwrap_or_default()
    }

    /// The connection that keeps the user online longest, or did so: its end is the user's end. `None` if there was never
    /// a connect.
    pub fn last(&self) -> Option<(ConnectionKey, Connection)> {
        let opened = self.connections.iter().filter(|(_, connection)| connection.leased_until.is_some());
        opened.max_by_key(|(key, it)| (it.live_until(), **key)).map(|(key, it)| (*key, *it))
    }

    /// Drops the connections that are over the limits. The last one stays ([`Presence::last`]): it says why the user is
    /// offline. So do those whose lease has no end: who holds their sockets limits them.
    pub fn prune(&mut self, limits: Limits, now: Timestamp) -> Dropped {
        if self.connections.len() <= limits.live.min(limits.ended.saturating_add(Limits::SPARE)) {
            return Dropped::default();
        }
        let last = self.last().map(|(key, _)| key);
        let (mut live, mut unending, mut ended) = (vec![], 0, vec![]);
        for (key, connection) in self.connections.iter().filter(|(key, _)| Some(**key) != last) {
            if connection.is_unending() {
                unending += 1;
            } else if now < connection.live_until() {
                live.push((Some(connection.live_until()), *key));
            } else {
                // First those whose lease ran out: nothing has to be remembered of them, since a renewal revives them.
                ended.push((connection.ended.map(|ending| ending.occurred_at), *key));
            }
        }
        let too_many = |found: usize, limit: usize| found.saturating_sub(limit);
        let dropped = Dropped {
            // The last one is live if any is.
            live: too_many(live.len() + unending, limits.live.saturating_sub(1)).min(live.len()),
            ended: Some(too_many(ended.len(), limits.ended)).filter(|many| *many > Limits::SPARE).unwrap_or(0),
        };
        self.forget(live, dropped.live);
        self.forget(ended, dropped.ended);
        dropped
    }

    /// Forgets so many of these connections, those with the earliest times.
    fn forget(&mut self, mut among: Vec<(Option<Timestamp>, ConnectionKey)>, many: usize) {
        if many == 0 {
            return;
        }
        among.sort_unstable();
        for (_, key) in among.into_iter().take(many) {
            self.openings.remove(&key);
            let ending = self.connections.remove(&key).and_then(|connection| connection.ended);
            self.floor = self.floor.max(ending.map(|ending| ending.occurred_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ConnectionId;

    const LIMITS: Limits = Limits::DEFAULT;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn key(n: i64) -> ConnectionKey {
        format!("c-{n}").parse::<ConnectionId>().unwrap().key()
    }

    fn live(until: i64) -> Connection {
        Connection { leased_until: Some(at(until)), ended: None }
    }

    fn ended(second: i64) -> Connection {
        let ending = Ending { at: at(second), reason: EndReason::ClientClosed, occurred_at: at(second) };
        Connection { leased_until: None, ended: Some(ending) }
    }

    /// A user whose connections each last a second.
    fn flapping(connections: i64) -> Presence {
        let mut presence = Presence::default();
        for n in 0..connections {
            presence.join(key(n), at(n), &live(n + 120));
            presence.join(key(n), at(n + 1), &ended(n + 1));
            presence.prune(LIMITS, at(n + 1));
        }
        presence
    }

    #[test]
    fn ended_connections_are_forgotten_in_the_order_of_their_ends() {
        // One of them is the last, and five are spare.
        let presence = flapping(22);
        assert_eq!((presence.connections.len(), presence.floor), (22, None));
        let presence = flapping(23);
        assert_eq!((presence.connections.len(), presence.floor), (17, Some(at(6))));
        assert!((0..6).all(|n| !presence.connections.contains_key(&key(n))));
        assert!((17..=22).contains(&flapping(1_000).connections.len()));
    }

    #[test]
    fn what_is_forgotten_never_comes_back() {
        let mut presence = flapping(1_000);
        let floor = presence.floor.unwrap();
        for n in 0..1_000 {
            for occurred_at in [at(n), at(n + 1)] {
                presence.join(key(n), occurred_at, &live(n + 100_000));
            }
        }
        assert!(presence.live_until() <= at(1_000), "a late event opened a connection that had ended");
        assert!(!presence.join(key(5_000), floor, &live(2_000)), "it may have been forgotten");
        assert!(presence.join(key(5_000), floor.plus(Duration::from_millis(1)), &live(2_000)));
        assert_eq!(presence.live_until(), at(2_000));
        assert!(presence.join(key(5_000), floor, &live(2_001)), "a known one joins whatever comes");
    }

    #[test]
    fn an_end_of_an_unknown_connection_before_the_floor_needs_no_mark() {
        let mut presence = flapping(1_000);
        let before = presence.clone();
        assert!(!presence.join(key(5_000), at(1), &ended(1)));
        assert_eq!(presence, before);
    }

    #[test]
    fn the_live_connection_that_ends_first_makes_room() {
        let mut presence = Presence::default();
        for n in 0..150 {
            presence.join(key(n), at(0), &live(1_000 + n));
        }
        assert_eq!(presence.prune(LIMITS, at(1)), Dropped { live: 50, ended: 0 });
        assert_eq!(presence.connections.len(), 100);
        assert!((0..50).all(|n| !presence.connections.contains_key(&key(n))));
        assert_eq!(presence.floor, None);
        assert!(presence.join(key(0), at(0), &live(5_000)), "its next renewal brings it back");
        assert_eq!(presence.prune(LIMITS, at(1)).live, 1);
        // One in its grace period has ended already: it does not come back.
        let lost = Ending { at: at(12), reason: EndReason::ConnectionLost, occurred_at: at(2) };
        presence.join(key(60), at(2), &Connection { leased_until: None, ended: Some(lost) });
        presence.join(key(5_000), at(2), &live(5_001));
        assert_eq!(presence.prune(LIMITS, at(3)).live, 1);
        assert_eq!(presence.floor, Some(at(2)));
        assert!(!presence.join(key(60), at(1), &live(5_000)));
    }

    #[test]
    fn a_lease_without_an_end_is_neither_refused_nor_dropped() {
        let mut presence = flapping(1_000);
        let floor = presence.floor.unwrap();
        let unending = Connection { leased_until: Some(Timestamp::MAX), ended: None };
        assert!(presence.join(key(5_000), floor, &unending), "it is a new one");
        for n in 5_001..5_150 {
            presence.join(key(n), at(2_000), &unending);
        }
        for n in 6_000..6_010 {
            presence.join(key(n), at(2_000), &live(9_000 + n));
        }
        assert_eq!(presence.prune(LIMITS, at(2_001)).live, 10, "those that somebody renews make room");
        assert!((5_000..5_150).all(|n| presence.connection(key(n)).is_unending()));
    }

    #[test]
    fn an_opening_is_known_until_its_connection_ends_or_is_dropped() {
        let opening = |second, device| Opening::new(at(second), Some(device));
        let parts: [(i64, Connection, Option<Opening>); 4] = [
            (5, live(125), Some(opening(5, "laptop"))),
            (3, live(123), Some(opening(3, "phone"))),
            (3, live(123), Some(opening(3, "watch"))),
            (9, live(129), None),
        ];
        for first in 0..parts.len() {
            let mut presence = Presence::default();
            for (second, connection, opening) in parts.iter().cycle().skip(first).take(7) {
                presence.join(key(1), at(*second), connection);
                if let Some(opening) = opening {
                    presence.join_opening(key(1), opening);
                }
            }
            assert_eq!(presence.openings, BTreeMap::from([(key(1), opening(3, "phone"))]), "{first}");
            assert!(!presence.join_opening(key(1), &opening(4, "tablet")));
            presence.join(key(1), at(10), &ended(10));
            assert_eq!(presence.openings, BTreeMap::new());
            assert!(!presence.join_opening(key(1), &opening(1, "late")), "it has ended");
        }
        let mut presence = Presence::default();
        assert!(!presence.join_opening(key(1), &opening(1, "refused")));
        for n in 0..150 {
            presence.join(key(n), at(0), &live(1_000 + n));
            presence.join_opening(key(n), &opening(0, "phone"));
        }
        presence.prune(LIMITS, at(1));
        assert!(presence.connections.keys().eq(presence.openings.keys()));
    }

    #[test]
    fn the_last_connection_stays() {
        let mut presence = flapping(10);
        let lost = Ending { at: at(500), reason: EndReason::ConnectionLost, occurred_at: at(1) };
        presence.join(key(5_000), at(1), &Connection { leased_until: Some(at(500)), ended: Some(lost) });
        for n in 20..100 {
            presence.join(key(n), at(300), &live(400));
            presence.join(key(n), at(301), &ended(301));
        }
        presence.prune(LIMITS, at(600));
        assert_eq!(presence.last().map(|(key, _)| key), Some(key(5_000)));
        assert_eq!(presence.connections.len(), LIMITS.ended + 1);
    }
}
