//! The timers of connections: delayed messages, for the ends that have no event of their own.

use reachability_domain::identity::{ConnectionId, UserKey};
use reachability_domain::presence::connections::Connection;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::Check;
use reachability_domain::time::Timestamp;

/// Whether an event asks for a timer of its connection. An end does: it takes effect at a time of its own, and the timer of
/// the lease stops where it finds one. A connect or a renewal does unless the connection was live before: then the timer
/// that it has finds the longer lease.
///
/// A repetition is not known to have one: the first handling of the event may have broken off between writing and this.
pub(super) fn wants_timer(event: &Event, before: &Connection, after: &Connection, now: Timestamp) -> bool {
    let (was, is) = (before.live_until(), after.live_until());
    let is_repetition = before.lease.is_some_and(|opening| event.occurred_at <= opening.at);
    let has_timer = event.renews_lease() && !is_repetition && now < was && was <= is;
    now < is && is != Timestamp::MAX && !has_timer
}

/// The timer that follows one that came in; `None` if there is nothing to wait for, or another timer waits for it.
pub(super) fn next_timer(check: &Check, connection: &Connection, now: Timestamp) -> Option<Check> {
    if connection.live_until() <= now || connection.live_until() == Timestamp::MAX {
        return None;
    }
    // Too early: the clock of whoever sent it is ahead of ours.
    if now < check.due_at {
        return Some(check.clone());
    }
    // An end sets a timer of its own. With the one from before the connection would have two.
    let has_another = connection.ended.is_some() && !check.ended;
    (!has_another).then(|| timer(&check.user, &check.connection, connection, now))
}

/// The next timer of a connection that is live.
pub(super) fn timer(user: &UserKey, id: &ConnectionId, connection: &Connection, now: Timestamp) -> Check {
    Check {
        user: user.clone(),
        connection: id.clone(),
        due_at: next_look(id, connection.live_until(), now),
        ended: connection.ended.is_some(),
    }
}

/// How far ahead a timer is set at most, in milliseconds. A queue does not hold a message for much longer, and the timer
/// of a connection that has ended in the meantime is not left for as long as its lease was.
const MAX_AHEAD: i64 = 15 * 60 * 1_000;

/// When to look at a connection that lives until then. For a long life that is in between, at times that are the same for
/// all timers of the connection, so that they become one, and different for others, so that they do not come together.
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
    use super::*;

    #[test]
    fn timers_of_a_long_life_meet() {
        let id: ConnectionId = "c-1".parse().unwrap();
        let at = Timestamp::from_millis;
        let start = 1_795_132_800_000;
        assert_eq!(next_look(&id, at(start + 120_000), at(start)), at(start + 120_000));
        assert_eq!(next_look(&id, at(start + MAX_AHEAD), at(start)), at(start + MAX_AHEAD));
        // Wherever it begins, it comes to the same moments, never later than the limit allows.
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
