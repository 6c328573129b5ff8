//! What is known about one connection: a value that only grows.

use serde::{Deserialize, Serialize};

use crate::presence::event::EndReason;
use crate::time::Timestamp;

/// What is known about one connection. Both fields `None`: *unseen*. `ended` set: *closed*, with or without a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connection {
    /// The latest end of a lease, from connects and renewals; `None` before the first.
    pub leased_until: Option<Timestamp>,
    /// From disconnects; `None` before the first.
    pub ended: Option<Ending>,
}

/// What disconnects say about a connection. Of several, the earliest end wins, and of equal ones the first by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When the connection stops counting as live, grace period included.
    pub at: Timestamp,
    /// Why it ended.
    pub reason: EndReason,
    /// When the latest of the disconnects occurred, before any grace period.
    pub occurred_at: Timestamp,
}

impl Ending {
    fn join(self, other: Self) -> Self {
        let earliest = if (self.at, self.reason) <= (other.at, other.reason) { self } else { other };
        Self { occurred_at: self.occurred_at.max(other.occurred_at), ..earliest }
    }
}

impl Connection {
    /// Merges other knowledge about the same connection.
    pub fn join(&mut self, other: &Self) {
        self.leased_until = self.leased_until.max(other.leased_until);
        self.ended = match (self.ended, other.ended) {
            (Some(one), Some(two)) => Some(one.join(two)),
            (one, two) => one.or(two),
        };
        // A lease beyond the end never counts, whatever is joined later. Without it, all orders give the same value.
        if let (Some(until), Some(ending)) = (&mut self.leased_until, self.ended) {
            *until = ending.at.min(*until);
        }
    }

    /// When it stops counting as live. [`Timestamp::MIN`] if no connect or renewal is known.
    pub fn live_until(&self) -> Timestamp {
        self.leased_until.unwrap_or(Timestamp::MIN)
    }

    /// Whether it is a lease without an end: of a socket of our own, which lasts until a disconnect, or of a recorded log. What
    /// is said of either comes in order, so an unknown connection is a new one. And nobody would renew it.
    pub fn is_unending(&self) -> bool {
        self.leased_until == Some(Timestamp::MAX)
    }

    /// Whether an event of an unknown connection, which says this and occurred then, may be one of a forgotten connection, with
    /// this floor ([`Presence::floor`]).
    ///
    /// [`Presence::floor`]: crate::presence::connections::Presence::floor
    pub fn may_be_forgotten(&self, occurred_at: Timestamp, floor: Option<Timestamp>) -> bool {
        !self.is_unending() && floor.is_some_and(|floor| occurred_at <= floor)
    }

    /// Why it stopped counting as live; `None` if its lease ran out.
    pub fn end_reason(&self) -> Option<EndReason> {
        let ended = self.ended.filter(|ending| self.leased_until.is_none_or(|until| ending.at <= until));
        ended.map(|ending| ending.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn leased(until: i64) -> Connection {
        Connection { leased_until: Some(at(until)), ended: None }
    }

    fn ended(end: i64, reason: EndReason, occurred: i64) -> Connection {
        Connection { leased_until: None, ended: Some(Ending { at: at(end), reason, occurred_at: at(occurred) }) }
    }

    fn joined(parts: &[Connection]) -> Connection {
        parts.iter().fold(Connection::default(), |mut known, part| {
            known.join(part);
            known
        })
    }

    #[test]
    fn any_order_and_grouping_give_the_same_connection() {
        let parts = [
            leased(100),
            leased(70),
            ended(90, EndReason::ConnectionLost, 80),
            ended(85, EndReason::ClientClosed, 85),
            ended(85, EndReason::ServerClosed, 75),
        ];
        let expected = Connection { leased_until: Some(at(85)), ..ended(85, EndReason::ClientClosed, 85) };
        for first in 0..parts.len() {
            for cut in 1..parts.len() {
                let mut order = parts;
                order.rotate_left(first);
                let (one, two) = order.split_at(cut);
                assert_eq!(joined(&[joined(one), joined(two), joined(one)]), expected, "{first} {cut}");
            }
        }
    }

    #[test]
    fn a_lease_that_ran_out_before_the_disconnect_was_the_end() {
        let mut connection = leased(70);
        connection.join(&ended(85, EndReason::ClientClosed, 85));
        assert_eq!((connection.live_until(), connection.end_reason()), (at(70), None));
        // A renewal that was late.
        connection.join(&leased(100));
        assert_eq!((connection.live_until(), connection.end_reason()), (at(85), Some(EndReason::ClientClosed)));
    }
}
