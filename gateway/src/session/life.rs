//! Whether the client is still there.

use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::session::timing::{REQUEST_WITHIN, Timing};

/// Pings are due at multiples of this, in milliseconds, and rather so much too early than too late: then those of many sessions
/// come together, and a thread wakes once for them.
const PINGS_EVERY: i64 = 100;

/// When something came from a client, and what it owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// When the last message came from the client.
    heard_at: Timestamp,
    /// When it was sent a ping, if nothing came from it since.
    pinged_at: Option<Timestamp>,
    /// Since when there have been as many requests as there may be: nothing may be read from the socket.
    full_since: Option<Timestamp>,
}

impl Life {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { heard_at: now, pinged_at: None, full_since: None }
    }

    /// Makes a clock that goes back harmless: nothing happened later than now.
    pub(crate) fn not_after(&mut self, now: Timestamp) {
        self.heard_at = self.heard_at.min(now);
        self.pinged_at = self.pinged_at.map(|at| at.min(now));
        self.full_since = self.full_since.map(|at| at.min(now));
    }

    /// The client is alive.
    pub(crate) fn hear(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.pinged_at = None;
    }

    /// There are as many requests as there may be.
    pub(crate) fn fill(&mut self, now: Timestamp) {
        self.full_since = Some(now);
    }

    /// A request ended.
    pub(crate) fn make_room(&mut self, now: Timestamp) {
        if self.full_since.take().is_some() {
            // Messages may have waited to be read.
            self.hear(now);
        }
    }

    /// Whether nothing came since a ping, for too long.
    pub(crate) fn is_silent(&self, timing: &Timing, now: Timestamp) -> bool {
        self.pinged_at.is_some() && self.due_at(timing) <= now
    }

    /// When to send a ping, or to end a session that does not answer one.
    pub(crate) fn due_at(&self, timing: &Timing) -> Timestamp {
        let due_at = match self.pinged_at {
            Some(at) => at.plus(timing.answer),
            None => {
                let at = self.heard_at.plus(timing.ping).as_millis();
                Timestamp::from_millis(at - at.rem_euclid(PINGS_EVERY)).max(self.heard_at)
            }
        };
        // A client is not silent while nothing is read from it.
        self.full_since.map_or(due_at, |since| due_at.max(since.plus(REQUEST_WITHIN)))
    }

    /// Whether the client must be sent a ping now.
    pub(crate) fn pings(&mut self, timing: &Timing, now: Timestamp) -> bool {
        let pings = self.pinged_at.is_none() && self.due_at(timing) <= now;
        if pings {
            self.pinged_at = Some(now);
        }
        pings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pings_come_together_and_never_late() {
        let timing = Timing::with_ping(Duration::from_secs(14));
        let due = |heard| Life::new(Timestamp::from_millis(heard)).due_at(&timing).as_millis() - heard;
        for heard in 0..1_000 {
            assert_eq!((heard + due(heard)) % PINGS_EVERY, 0);
            assert!((13_901..=14_000).contains(&due(heard)), "{heard}");
        }
        let mut life = Life::new(Timestamp::from_millis(50));
        let at = Timestamp::from_millis(14_033);
        assert!(!life.pings(&timing, Timestamp::from_millis(13_999)) && life.pings(&timing, at));
        assert_eq!(life.due_at(&timing), at.plus(timing.answer), "the client has all of its time to answer");
    }
}
