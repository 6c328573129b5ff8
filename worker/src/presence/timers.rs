//! Timers: delayed messages for the ends of connections that have no event of their own.

use std::time::Duration;

use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::connection::Connection;
use reachability_domain::presence::message::Check;
use reachability_domain::time::Timestamp;

/// How long a write may take after the time that it was made for.
const ON_THE_WAY: Duration = Duration::from_secs(10);

/// Whether an event needs a new timer for its connection. A disconnect does, because it takes effect at its own time;
/// the timer of the lease stops when it finds the disconnect. A connect or renewal does unless the connection was
/// already live: the existing timer will find the longer lease.
///
/// A repeated event also needs one: its first handling may have failed between the write and the timer.
pub(super) fn wants_timer(said: &Connection, before: &Connection, after: &Connection, now: Timestamp) -> bool {
    let (was, is) = (before.live_until(), after.live_until());
    let mut again = *before;
    again.join(said);
    let is_repetition = again == *before;
    // The timer may be due while this write is on its way.
    let has_timer = said.leased_until.is_some() && !is_repetition && now.plus(ON_THE_WAY) < was && was <= is;
    now < is && is != Timestamp::MAX && !has_timer
}

/// The timer that follows a due one; `None` if there is nothing to wait for, or another timer does so.
pub(super) fn next_timer(check: &Check, connection: &Connection, now: Timestamp) -> Option<Check> {
    if connection.live_until() <= now || connection.live_until() == Timestamp::MAX {
        return None;
    }
    // Too early: the clock of the process that set the timer is ahead of this one.
    if now < check.due_at {
        return Some(check.clone());
    }
    // A disconnect sets its own timer. Continuing the older one too would leave two timers.
    let has_another = connection.ended.is_some() && !check.ended;
    (!has_another).then(|| timer(&check.user, &check.connection, connection, now))
}

/// The next timer of a live connection.
pub(super) fn timer(user: &UserKey, id: &ConnectionId, connection: &Connection, now: Timestamp) -> Check {
    Check {
        user: user.clone(),
        connection: id.clone(),
        due_at: next_look(id, connection.live_until(), now),
        ended: connection.ended.is_some(),
    }
}

/// How far ahead a timer is set at most, in milliseconds. SQS does not delay messages longer, and the timer of a
/// connection that has ended should not stay queued for the whole lease.
const MAX_AHEAD: i64 = 15 * 60 * 1_000;

/// When to check a connection that is live until `live_until`. For a distant end the answer is an earlier time. That
/// time is the same for all timers of one connection, so duplicates merge, and differs between connections, so the load
/// spreads.
fn next_look(id: &ConnectionId, live_until: Timestamp, now: Timestamp) -> Timestamp {
    let now = now.as_millis();
    if live_until.as_millis() - now <= MAX_AHEAD {
        return live_until;
    }
    let scatter = id.as_str().bytes().fold(0, |sum, byte| (sum * 31 + i64::from(byte)) % MAX_AHEAD);
    Timestamp::from_millis(now + MAX_AHEAD - (now - scatter).rem_euclid(MAX_AHEAD))
}

#[cfg(test)]
mod tests {
    use reachability_domain::presence::connection::Ending;
    use reachability_domain::presence::event::EndReason;

    use super::*;

    /// A connect that was handled before in vain: its connection is in its grace period, and the process was killed before
    /// the timer was set.
    #[test]
    fn a_repeated_connect_in_a_grace_period_sets_the_timer() {
        let at = Timestamp::from_millis;
        let said = Connection { leased_until: Some(at(120_000)), ended: None };
        let ending = Ending { at: at(10_000), reason: EndReason::ConnectionLost, occurred_at: at(0) };
        let mark = Connection { leased_until: None, ended: Some(ending) };
        let mut known = mark;
        known.join(&said);
        assert!(wants_timer(&said, &mark, &known, at(1)), "after its disconnect");
        assert!(wants_timer(&said, &known, &known, at(2)), "repeated");
        assert!(!wants_timer(&said, &known, &known, at(10_000)));
    }

    #[test]
    fn a_renewal_just_before_the_end_sets_a_timer() {
        let at = Timestamp::from_millis;
        let live = |until| Connection { leased_until: Some(at(until)), ended: None };
        let (before, after) = (live(120_000), live(240_000));
        assert!(!wants_timer(&after, &before, &after, at(60_000)), "the timer of the lease is on its way");
        assert!(wants_timer(&after, &before, &after, at(119_000)), "it may have run when this is written");
    }

    #[test]
    fn timers_of_one_connection_merge() {
        let id: ConnectionId = "c-1".parse().unwrap();
        let at = Timestamp::from_millis;
        let start = 1_795_132_800_000;
        assert_eq!(next_look(&id, at(start + 120_000), at(start)), at(start + 120_000));
        assert_eq!(next_look(&id, at(start + MAX_AHEAD), at(start)), at(start + MAX_AHEAD));
        // Whatever the start, the times are the same, and never later than the limit.
        let first = next_look(&id, at(i64::MAX - 1), at(start));
        for millis in [0, 1, 1_000, 300_000, MAX_AHEAD - 1] {
            let now = at(start + millis);
            let look = next_look(&id, at(i64::MAX - 1), now);
            assert!(now < look && look <= at(now.as_millis() + MAX_AHEAD));
            assert_eq!((look.as_millis() - first.as_millis()) % MAX_AHEAD, 0);
        }
        let other: ConnectionId = "c-2".parse().unwrap();
        assert_ne!(next_look(&other, at(i64::MAX - 1), at(start)), first);
    }
}
