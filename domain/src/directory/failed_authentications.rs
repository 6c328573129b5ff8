//! How many wrong passwords and tokens are answered as such. Each network has an allowance, which is whole again after a
//! minute; over it, the answer is to try again later.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::allowance::{Allowance, Rate};
use crate::network::Network;
use crate::time::Timestamp;

/// How many networks are remembered at least. Of more, those are forgotten that failed longest ago.
const REMEMBERED: usize = 8_192;

/// The allowances of all networks. They take a bounded amount of memory, however many networks there are.
#[derive(Debug)]
pub struct FailedAuthentications {
    rate: Rate,
    remembered: usize,
    /// Those that failed since this was last empty. Once it is full it takes the place of `older`.
    recent: HashMap<Network, Allowance>,
    older: HashMap<Network, Allowance>,
}

impl FailedAuthentications {
    /// Allows each network so many failures at once, and so many a minute in the long run.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let rate = Rate::per_minute(per_minute.get());
        Self { rate, remembered: REMEMBERED, recent: HashMap::new(), older: HashMap::new() }
    }

    /// Counts a failure of this network. If it has no allowance left, returns after how long it has some again, and the failure
    /// does not count.
    pub fn add(&mut self, network: Network, now: Timestamp) -> Option<Duration> {
        let known = self.recent.get(&network).or_else(|| self.older.get(&network));
        let mut allowance = known.copied().unwrap_or_else(|| Allowance::new(now));
        let is_allowed = allowance.take(self.rate, now);
        if self.recent.len() >= self.remembered && !self.recent.contains_key(&network) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(network, allowance);
        (!is_allowed).then(|| allowance.wait(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(Ipv4Addr::from_bits(number).into())
    }

    fn failures(per_minute: u32) -> FailedAuthentications {
        FailedAuthentications::new(NonZeroU32::new(per_minute).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_network_may_fail_so_often() {
        let mut failures = failures(4);
        assert!((0..4).all(|_| failures.add(network(1), at(0)).is_none()));
        assert_eq!(failures.add(network(1), at(0)), Some(Duration::from_secs(15)));
        assert_eq!(failures.add(network(1), at(14)), Some(Duration::from_secs(1)));
        assert_eq!(failures.add(network(2), at(14)), None, "another network");
        assert_eq!(failures.add(network(1), at(15)), None);
        assert!(failures.add(network(1), at(15)).is_some());
        assert!((0..4).all(|_| failures.add(network(1), at(75)).is_none()), "it is whole after a minute");
        assert!(failures.add(network(1), at(0)).is_some(), "a clock that goes back gives nothing");
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_remembered() {
        let mut failures = FailedAuthentications { remembered: 100, ..failures(1) };
        assert_eq!(failures.add(network(0), at(0)), None);
        for number in 1..1_000 {
            failures.add(network(number), at(0));
            // It goes on failing, so it is not forgotten, whoever else fails.
            assert!(failures.add(network(0), at(0)).is_some(), "{number}");
            assert!(failures.recent.len() + failures.older.len() <= 200);
        }
        assert!(failures.add(network(950), at(0)).is_some());
        assert_eq!(failures.add(network(1), at(0)), None, "it is forgotten");
    }
}
