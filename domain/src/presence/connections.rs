//! A user's connections, as a join-semilattice.
//!
//! What is known of a connection only ever grows: *unseen < live < closed*, and among live ones the later lease wins. An
//! event is turned into the little that it says ([`Presence::of_event`]) and joined to what is known ([`Presence::join`]).
//! As long as reachability stays on, joining is commutative, associative and idempotent, so any order, any repetition and
//! any grouping of the same events ends in the same state, and a connect that arrives after its disconnect does not bring
//! the ghost back. Which generation an event belongs to depends on when it first arrives, and cannot but do so.
//!
//! Whether a connection lives is never stored: it is asked, with `now`, when somebody wants to know.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::directory::configuration::Generation;
use crate::identity::ConnectionId;
use crate::presence::event::{EndReason, Event, EventKind};
use crate::time::Timestamp;

/// How long a connection counts as live unless renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeasePolicy {
    /// For this long, or as long as the event itself says.
    For(Duration),
    /// Until its end is reported, whatever the event says: for recorded logs, which seldom hold renewals.
    Unlimited,
}

/// A deployment's settings that presence depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From a lost connection to its taking effect.
    pub grace: Duration,
    /// From a connect or a renewal to the end of the connection that nobody reported.
    pub lease: LeasePolicy,
}

/// What connects and renewals say of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When the latest of them occurred. One that occurred no later says nothing new.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// The latest end of a lease.
    #[serde(rename = "l")]
    pub until: Timestamp,
}

/// What disconnects say of a connection. The earliest that was reported holds, and of its repetitions the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ending {
    /// From when on it does not count, grace included.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// When it was recorded: for how long this mark is kept depends on it.
    #[serde(rename = "r")]
    pub recorded_at: Timestamp,
}

/// What is known of one connection. Nothing: *unseen*. An ending, with or without an opening: *closed*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connection {
    /// What is known of its beginning and its leases.
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// What is known of its end.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
}

impl Connection {
    /// Adds what else is known of the same connection.
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

    /// Until when it counts as live. [`Timestamp::MIN`] if nothing is known of its beginning.
    pub fn live_until(&self) -> Timestamp {
        let lease = self.lease.map_or(Timestamp::MIN, |opening| opening.until);
        self.ended.map_or(lease, |ending| lease.min(ending.at))
    }

    /// Whether `opening` is more than a repetition.
    fn is_news(&self, opening: &Lease) -> bool {
        self.lease.is_none_or(|known| known.at < opening.at)
    }

    /// Whether it can be forgotten: whatever of it may still arrive would not make it live.
    ///
    /// A lease that ran out needs no mark. Neither does an end, once every lease that the connection can have been given
    /// before it has run out. An end whose beginning is not known keeps its mark for as long as a queue keeps a message.
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

/// For how long a connection is remembered at least after it is over. Messages that come twice, or overtake each other,
/// seldom do so by more; until then a repetition is known for what it is.
const KEEP_AT_LEAST: Duration = Duration::from_secs(15 * 60);

/// For how long the mark of an ended connection is kept at most: a day more than a queue keeps a message.
pub const KEEP_ENDED_AT_MOST: Duration = Duration::from_secs(15 * 86_400);

/// How many ended connections of a user are remembered for longer than [`KEEP_AT_LEAST`].
const KEEP_ENDED: usize = 50;

/// What [`Presence::join`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Learned {
    /// There was something new.
    pub anything: bool,
    /// The new things include a connect or a renewal: a sign of life.
    pub lease: bool,
}

/// What is known of a user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Presence {
    /// Every connection that is live, and the marks of those that ended of late.
    #[serde(rename = "c", default)]
    connections: BTreeMap<ConnectionId, Connection>,
    /// The last generation in which a connection of the user was opened or renewed.
    #[serde(rename = "g", default)]
    online_generation: Generation,
    /// When the latest event of the user occurred; `None` before the first.
    #[serde(rename = "t", default)]
    last_active: Option<Timestamp>,
}

impl Presence {
    /// What one event says, when it is handled at `now` in this generation.
    pub fn of_event(event: &Event, rules: &Rules, generation: Generation, now: Timestamp) -> Self {
        // A gateway's clock may be ahead of ours. "At once" means by ours.
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
                }),
            },
        };
        Self {
            online_generation: if connection.lease.is_some() { generation } else { Generation::default() },
            connections: BTreeMap::from([(event.connection.clone(), connection)]),
            last_active: Some(event.occurred_at),
        }
    }

    /// Puts together again what a store has kept apart.
    pub fn from_parts(
        connections: BTreeMap<ConnectionId, Connection>,
        online_generation: Generation,
        last_active: Option<Timestamp>,
    ) -> Self {
        Self { connections, online_generation, last_active }
    }

    /// Adds what else is known of the same user.
    ///
    /// The generation of `other` counts only if one of its openings is new: a connect that is delivered again after
    /// reachability was switched off and on does not make its user count as online.
    pub fn join(&mut self, other: &Self) -> Learned {
        let mut learned = Learned::default();
        for (id, theirs) in &other.connections {
            let ours = self.connections.entry(id.clone()).or_default();
            let before = *ours;
            learned.lease |= theirs.lease.is_some_and(|opening| before.is_news(&opening));
            ours.join(theirs);
            learned.anything |= before != *ours;
        }
        if learned.lease && self.online_generation < other.online_generation {
            self.online_generation = other.online_generation;
            learned.anything = true;
        }
        if self.last_active < other.last_active {
            self.last_active = other.last_active;
            learned.anything = true;
        }
        learned
    }

    /// Until when the user counts as live unless something happens. [`Timestamp::MIN`] if no connection ever began.
    pub fn live_until(&self) -> Timestamp {
        self.connections.values().map(Connection::live_until).max().unwrap_or(Timestamp::MIN)
    }

    /// The last generation in which a connection of the user was opened or renewed.
    pub fn online_generation(&self) -> Generation {
        self.online_generation
    }

    /// When the latest event of the user occurred; `None` before the first.
    pub fn last_active(&self) -> Option<Timestamp> {
        self.last_active
    }

    /// What is known of one connection.
    pub fn connection(&self, id: &ConnectionId) -> Connection {
        self.connections.get(id).copied().unwrap_or_default()
    }

    /// The connections of which anything is known, live and ended.
    pub fn connections(&self) -> impl ExactSizeIterator<Item = (&ConnectionId, &Connection)> {
        self.connections.iter()
    }

    /// Drops the connections that can no longer matter, so that a record stays small, and of very many that ended some
    /// time ago the oldest. What arrives of them all the same is taken for something new.
    pub fn prune(&mut self, now: Timestamp) {
        self.connections.retain(|_, connection| !connection.is_prunable(now));
        self.drop_ended(KEEP_ENDED, |ending| ending.recorded_at.plus(KEEP_AT_LEAST) <= now);
    }

    /// Drops all but the last so many of the connections that have ended, for a store that has no room for more. It can
    /// bring one back that is heard of again.
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

    /// What is left of a deleted user: marks that keep its connections from coming back as somebody new.
    #[must_use]
    pub fn deleted(&self, now: Timestamp) -> Self {
        let tombstone = Connection {
            // No renewal is later than this.
            lease: Some(Lease { at: Timestamp::MAX, until: Timestamp::MAX }),
            ended: Some(Ending { at: now, recorded_at: now }),
        };
        Self { connections: self.connections.keys().map(|id| (id.clone(), tombstone)).collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user whose connections, with leases of a year, ended one a minute.
    fn a_restless_user(connections: i64) -> Presence {
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let connections = (0..connections).map(|n| {
            let lease = Some(Lease { at: at(n), until: at(n).plus(Duration::from_secs(365 * 86_400)) });
            let ended = Some(Ending { at: at(n + 1), recorded_at: at(n + 1) });
            (format!("c-{n:05}").parse().unwrap(), Connection { lease, ended })
        });
        Presence::from_parts(connections.collect(), Generation(1), None)
    }

    #[test]
    fn a_record_does_not_grow_without_end() {
        let mut presence = a_restless_user(2_000);
        let now = Timestamp::from_millis(2_000 * 60_000);
        presence.prune(now);
        assert_eq!(presence.connections.len(), KEEP_ENDED, "the last ones");
        assert!(presence.connections.contains_key(&"c-01999".parse().unwrap()));

        // All of them a moment ago: only where there is no room for them.
        let mut presence = a_restless_user(2_000);
        presence.connections.values_mut().for_each(|it| it.ended = Some(Ending { at: now, recorded_at: now }));
        let live: ConnectionId = "c-00000".parse().unwrap();
        presence.connections.get_mut(&live).unwrap().ended = None;
        let in_grace: ConnectionId = "c-00001".parse().unwrap();
        let later = now.plus(Duration::from_secs(10));
        presence.connections.get_mut(&in_grace).unwrap().ended = Some(Ending { at: later, recorded_at: now });
        presence.prune(now);
        assert_eq!(presence.connections.len(), 2_000);
        presence.prune_ended(1_000, now);
        assert!((1_001..=1_002).contains(&presence.connections.len()), "{}", presence.connections.len());
        assert!(presence.connections.contains_key(&live) && presence.connections.contains_key(&in_grace));
    }
}
