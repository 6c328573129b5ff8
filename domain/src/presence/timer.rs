//! The timer of a user: a delayed message for the moment at which its last connection ends. The end of a lease or of a grace
//! period has no event of its own, but it must be told.
//!
//! A user has one timer, however many connections. Its state knows when that is due ([`UserState::next_timer`]), and each
//! write of the state decides whether it will do ([`UserState::set_timer`]). One that is due too early finds a user who is
//! still online, and the next one is set. One that is due too late, or that did not come, is replaced. So a timer that is
//! lost comes back with the next write. A timer that is not the stored one has no effect: however often one is sent or
//! delivered, one follows.
//!
//! The state is written first, and the timer is sent then. If that fails, the message that caused it is delivered again, and
//! the stored timer is sent again.

use std::time::Duration;

use crate::identity::Identity;
use crate::presence::state::UserState;
use crate::time::Timestamp;

/// How far ahead a timer is set at most. SQS does not delay messages longer.
pub const MAX_AHEAD: Duration = Duration::from_secs(15 * 60);

/// How late a timer may come. After that it counts as lost.
pub const MAX_LATE: Duration = Duration::from_secs(60);

/// What the decision on a timer depends on, besides the state.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The user.
    pub identity: &'a Identity,
    /// When the user would have gone offline ([`Presence::live_until`]), as of before the write.
    ///
    /// [`Presence::live_until`]: crate::presence::connections::Presence::live_until
    pub was_live_until: Timestamp,
    /// When the timers were due that have come.
    pub fired: &'a [Timestamp],
    /// Whether a message is handled that was delivered before: the stored timer may not have been sent.
    pub is_repeated: bool,
    /// The time of the write.
    pub now: Timestamp,
}

impl Look<'_> {
    /// Whether the timer that is due then will come, or is on its way. One that is overdue is, if the user was online until
    /// now: it would have set the next one.
    fn expects(&self, due: Timestamp) -> bool {
        let was_online = self.now < self.was_live_until && self.was_live_until != Timestamp::MAX;
        self.now < due || (was_online && self.now < due.plus(MAX_LATE))
    }
}

impl UserState {
    /// Decides, in a write, whether the user's timer will do, and stores when the next one is due if it will not. Returns when
    /// the timer is due that is to be sent after the write; `None` if none is.
    pub fn set_timer(&mut self, look: &Look<'_>) -> Option<Timestamp> {
        let has_come = |due: Timestamp| look.fired.contains(&due);
        let end = self.presence.live_until();
        let needs_one = look.now < end && end != Timestamp::MAX;
        // One that came early is sent again, unless there is nothing to wait for.
        let is_used_up = |due: Timestamp| has_come(due) && (due <= look.now || !needs_one);
        self.next_timer = self.next_timer.filter(|due| !is_used_up(*due));
        if !needs_one {
            return None;
        }
        match self.next_timer.filter(|due| *due <= end && look.expects(*due)) {
            // The clock of the process that set it may be ahead of this one.
            Some(due) => (look.is_repeated || has_come(due)).then_some(due),
            None => {
                self.next_timer = Some(due_for(look.identity, end, look.now));
                self.next_timer
            }
        }
    }
}

/// When a timer is due for a user who is online until `end`. If that is far away, it is earlier: at a time that differs
/// between users, so that not all timers come at once that were set together.
pub fn due_for(identity: &Identity, end: Timestamp, now: Timestamp) -> Timestamp {
    const MAX_AHEAD: i64 = self::MAX_AHEAD.as_millis() as i64;
    let now = now.as_millis();
    if end.as_millis().saturating_sub(now) <= MAX_AHEAD {
        return end;
    }
    let scatter = identity.as_str().bytes().fold(0, |sum, byte| (sum * 31 + i64::from(byte)) % MAX_AHEAD);
    Timestamp::from_millis(now + MAX_AHEAD - (now - scatter).rem_euclid(MAX_AHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ConnectionId;
    use crate::presence::connection::Connection;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_795_132_800_000 + second * 1_000)
    }

    fn alice() -> Identity {
        "alice".parse().unwrap()
    }

    fn online(until: Timestamp, next_timer: Option<Timestamp>) -> UserState {
        let mut state = UserState { next_timer, ..UserState::default() };
        let key = "c".parse::<ConnectionId>().unwrap().key();
        state.presence.connections.insert(key, Connection { leased_until: Some(until), ended: None });
        state
    }

    /// What becomes of a timer in a write at 100 s.
    #[track_caller]
    fn check(
        (was, until): (Timestamp, Timestamp),
        stored: Option<i64>,
        fired: &[i64],
        is_repeated: bool,
        (sent, kept): (Option<i64>, Option<i64>),
    ) {
        let mut state = online(until, stored.map(at));
        let fired: Vec<Timestamp> = fired.iter().map(|due| at(*due)).collect();
        let identity = alice();
        let look = Look { identity: &identity, was_live_until: was, fired: &fired, is_repeated, now: at(100) };
        let due = state.set_timer(&look);
        assert_eq!((due, state.next_timer), (sent.map(at), kept.map(at)));
    }

    #[test]
    fn a_timer_that_will_do_is_kept() {
        let (offline, renewed) = (Timestamp::MIN, (at(150), at(200)));
        check((offline, at(200)), None, &[], false, (Some(200), Some(200)));
        for stored in [101, 150, 200] {
            check(renewed, Some(stored), &[], false, (None, Some(stored)));
            check((offline, at(200)), Some(stored), &[], false, (None, Some(stored)));
            check(renewed, Some(stored), &[60, 100], true, (Some(stored), Some(stored)));
            check(renewed, Some(stored), &[stored], false, (Some(stored), Some(stored)));
        }
        check(renewed, Some(201), &[], true, (Some(200), Some(200)));
    }

    /// By a clock that was set back and ahead again, it comes before it is due, and nobody is online. The next one is not kept
    /// waiting for it.
    #[test]
    fn one_that_came_early_for_nothing_has_come() {
        let offline = (Timestamp::MIN, at(90));
        check(offline, Some(150), &[150], false, (None, None));
        check(offline, Some(150), &[], false, (None, Some(150)));
        check((Timestamp::MIN, Timestamp::MAX), Some(150), &[150], false, (None, None));
    }

    #[test]
    fn one_that_is_overdue_may_be_on_its_way_for_a_minute() {
        let renewed = (at(150), at(200));
        for stored in [41, 100] {
            check(renewed, Some(stored), &[], false, (None, Some(stored)));
            check(renewed, Some(stored), &[], true, (Some(stored), Some(stored)));
            check(renewed, Some(stored), &[stored], false, (Some(200), Some(200)));
            // When it came, if it has, there was nothing to wait for.
            for was in [Timestamp::MIN, at(100), Timestamp::MAX] {
                check((was, at(200)), Some(stored), &[], false, (Some(200), Some(200)));
            }
        }
        check(renewed, Some(40), &[], false, (Some(200), Some(200)));
    }

    #[test]
    fn who_is_offline_or_online_without_an_end_needs_none() {
        for until in [Timestamp::MIN, at(100), Timestamp::MAX] {
            for is_repeated in [false, true] {
                check((at(150), until), None, &[], is_repeated, (None, None));
                check((at(150), until), Some(120), &[120], is_repeated, (None, None));
                check((at(150), until), Some(90), &[], is_repeated, (None, Some(90)));
                check((at(150), until), Some(90), &[90], is_repeated, (None, None));
            }
        }
    }

    #[test]
    fn a_distant_end_is_approached_in_steps_of_a_quarter_of_an_hour() {
        const QUARTER: i64 = 900;
        for end in [1, 120, QUARTER] {
            assert_eq!(due_for(&alice(), at(end), at(0)), at(end));
        }
        // Whenever it is set, the times are the same.
        let first = due_for(&alice(), Timestamp::from_millis(i64::MAX - 1), at(0));
        for second in [0, 1, 300, QUARTER - 1] {
            let due = due_for(&alice(), Timestamp::from_millis(i64::MAX - 1), at(second));
            assert!(at(second) < due && due <= at(second + QUARTER));
            assert_eq!((due.as_millis() - first.as_millis()) % (QUARTER * 1_000), 0);
        }
        assert_ne!(due_for(&"bob".parse().unwrap(), Timestamp::from_millis(i64::MAX - 1), at(0)), first);
    }
}
