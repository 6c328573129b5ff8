//! How much more a client may send: so much at once, and so much a second in the long run.

use std::time::Duration;

use reachability_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a client has used up: how long it takes until that is forgotten, as of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    used: Duration,
    at: Timestamp,
}

impl Allowance {
    /// Nothing is used up at this time.
    pub fn new(now: Timestamp) -> Self {
        Self { used: Duration::ZERO, at: now }
    }

    /// Whether one more is allowed, which is used then.
    pub fn take(&mut self, at_once: u32, per_second: u32, now: Timestamp) -> bool {
        self.used = self.used.saturating_sub(now.since(self.at));
        self.at = now;
        let one = Duration::from_secs(1) / per_second;
        let is_allowed = self.used + one <= one * at_once;
        if is_allowed {
            self.used += one;
        }
        is_allowed
    }

    /// Uses up so many more, though they be more than are allowed: then it takes longer until one is.
    pub(crate) fn charge(&mut self, count: u32, per_second: u32, now: Timestamp) {
        self.used = self.used.saturating_sub(now.since(self.at)) + Duration::from_secs(1) / per_second * count;
        self.at = now;
    }

    /// Whether nothing is used up.
    pub fn is_whole(&self, now: Timestamp) -> bool {
        self.used <= now.since(self.at)
    }

    /// How long it takes until one more is allowed; zero if it is now.
    pub(crate) fn wait(&self, at_once: u32, per_second: u32) -> Duration {
        let one = Duration::from_secs(1) / per_second;
        (self.used + one).saturating_sub(one * at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_to_wait() {
        let mut allowance = Allowance::new(Timestamp::from_millis(0));
        assert_eq!(allowance.wait(2, 20), Duration::ZERO);
        while allowance.take(2, 20, Timestamp::from_millis(0)) {}
        assert_eq!(allowance.wait(2, 20), Duration::from_millis(50));
        assert!(!allowance.take(2, 20, Timestamp::from_millis(49)));
        assert_eq!(allowance.wait(2, 20), Duration::from_millis(1));
    }

    #[test]
    fn what_costs_more_is_paid_for_later() {
        let at = Timestamp::from_millis;
        let mut allowance = Allowance::new(at(0));
        allowance.charge(30, 20, at(0));
        assert!(!allowance.take(10, 20, at(1_000)));
        assert_eq!(allowance.wait(10, 20), Duration::from_millis(50));
        assert!(allowance.take(10, 20, at(1_050)));
        allowance.charge(u32::MAX, 20, at(1_050));
        assert!(!allowance.take(10, 20, at(1_000_000)));
    }

    #[test]
    fn allows_so_many_at_once_and_so_many_a_second() {
        let at = Timestamp::from_millis;
        let mut allowance = Allowance::new(at(0));
        let mut taken = |millis| (0..1_000).take_while(|_| allowance.take(100, 20, at(millis))).count();
        assert_eq!(taken(0), 100);
        assert_eq!(taken(49), 0);
        assert_eq!(taken(1_000), 20);
        assert_eq!(taken(1_050), 1);
        assert_eq!(taken(1_000_000), 100);
        // A clock that goes back gives nothing, and takes nothing.
        assert_eq!(taken(0), 0);
        assert_eq!(taken(1_000), 20);
    }
}
