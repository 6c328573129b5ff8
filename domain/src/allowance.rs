//! How much more somebody may do: so much at once, and so much in the long run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How often something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    at_once: u32,
    count: u32,
    every: Duration,
}

impl Rate {
    /// So many at once, after a while without any, and so many a second in the long run.
    pub const fn per_second(at_once: u32, count: u32) -> Self {
        Self { at_once, count, every: Duration::from_secs(1) }
    }

    /// So many a minute, which may come at once.
    pub const fn per_minute(count: u32) -> Self {
        Self { at_once: count, count, every: Duration::from_secs(60) }
    }

    /// How long it takes until one is forgotten.
    fn one(self) -> Duration {
        self.every / self.count
    }
}

/// What somebody has used up: how long it takes until that is forgotten, as of a time.
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
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.used = self.used.saturating_sub(now.since(self.at));
        self.at = now;
        let is_allowed = self.wait(rate).is_zero();
        if is_allowed {
            self.used += rate.one();
        }
        is_allowed
    }

    /// Uses up so many more, though they be more than are allowed: then it takes longer until one is.
    pub fn charge(&mut self, count: u32, rate: Rate, now: Timestamp) {
        self.used = self.used.saturating_sub(now.since(self.at)) + rate.one() * count;
        self.at = now;
    }

    /// Whether nothing is used up.
    pub fn is_whole(&self, now: Timestamp) -> bool {
        self.used <= now.since(self.at)
    }

    /// How long it takes until one more is allowed; zero if it is now.
    pub fn wait(&self, rate: Rate) -> Duration {
        (self.used + rate.one()).saturating_sub(rate.one() * rate.at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_to_wait() {
        let mut allowance = Allowance::new(Timestamp::from_millis(0));
        assert_eq!(allowance.wait(Rate::per_second(2, 20)), Duration::ZERO);
        while allowance.take(Rate::per_second(2, 20), Timestamp::from_millis(0)) {}
        assert_eq!(allowance.wait(Rate::per_second(2, 20)), Duration::from_millis(50));
        assert!(!allowance.take(Rate::per_second(2, 20), Timestamp::from_millis(49)));
        assert_eq!(allowance.wait(Rate::per_second(2, 20)), Duration::from_millis(1));
    }

    #[test]
    fn what_costs_more_is_paid_for_later() {
        let at = Timestamp::from_millis;
        let mut allowance = Allowance::new(at(0));
        allowance.charge(30, Rate::per_second(10, 20), at(0));
        assert!(!allowance.take(Rate::per_second(10, 20), at(1_000)));
        assert_eq!(allowance.wait(Rate::per_second(10, 20)), Duration::from_millis(50));
        assert!(allowance.take(Rate::per_second(10, 20), at(1_050)));
        allowance.charge(u32::MAX, Rate::per_second(10, 20), at(1_050));
        assert!(!allowance.take(Rate::per_second(10, 20), at(1_000_000)));
    }

    #[test]
    fn allows_so_many_at_once_and_so_many_a_second() {
        let at = Timestamp::from_millis;
        let mut allowance = Allowance::new(at(0));
        let mut taken =
            |millis| (0..1_000).take_while(|_| allowance.take(Rate::per_second(100, 20), at(millis))).count();
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
