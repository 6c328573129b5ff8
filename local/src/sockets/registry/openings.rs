//! How often a user may open sockets: one that does so all the time would keep everybody who watches it busy.

use std::collections::HashMap;

use reachability_domain::allowance::{Allowance, Rate};
use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;

/// How many sockets a user may open at once.
const AT_ONCE: u32 = 100;

/// How many a second it may open in the long run.
const PER_SECOND: u32 = 5;

const RATE: Rate = Rate::per_second(AT_ONCE, PER_SECOND);

/// From how many users on those are forgotten who could open [`AT_ONCE`] again.
const MANY: usize = 1_024;

/// Who has opened sockets lately.
#[derive(Debug, Default)]
pub(super) struct Openings {
    users: HashMap<UserKey, Allowance>,
    /// With how many users the next look at who can be forgotten is due.
    look_at: usize,
}

impl Openings {
    /// Whether the user may open one more, which it does then.
    pub(super) fn take(&mut self, user: &UserKey, now: Timestamp) -> bool {
        if self.users.len() >= self.look_at.max(MANY) {
            self.users.retain(|_, allowance| !allowance.is_whole(now));
            // So that each is looked at only a few times.
            self.look_at = self.users.len() * 2;
        }
        if let Some(allowance) = self.users.get_mut(user) {
            return allowance.take(RATE, now);
        }
        let mut allowance = Allowance::new(now);
        let is_allowed = allowance.take(RATE, now);
        self.users.insert(user.clone(), allowance);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::sid::Sid;

    use super::*;

    fn user(n: usize) -> UserKey {
        UserKey { service: Sid::from_bits(1), identity: format!("user-{n}").parse().unwrap() }
    }

    #[test]
    fn a_user_opens_so_many() {
        let at = Timestamp::from_millis;
        let mut openings = Openings::default();
        let mut opened = |n, millis| (0..1_000).take_while(|_| openings.take(&user(n), at(millis))).count();
        assert_eq!(opened(1, 0), AT_ONCE as usize);
        assert_eq!(opened(2, 0), AT_ONCE as usize, "another user");
        assert_eq!(opened(1, 1_000), PER_SECOND as usize);
    }

    #[test]
    fn who_opens_no_more_is_forgotten() {
        let at = Timestamp::from_millis;
        let mut openings = Openings::default();
        for n in 0..10 * MANY {
            openings.take(&user(n), at(n as i64 * 10));
        }
        assert!(openings.users.len() <= 2 * MANY, "{}", openings.users.len());
    }
}
