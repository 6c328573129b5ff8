//! What becomes of a state when the clock is set back.
//!
//! Times in a state come from the clock as it was at its writes. If that clock was ahead, or the present one is behind, they lie in
//! the future: who said goodbye would be online again until then, and what clients report now would be older than what is
//! stored, and so ignored. Two rules prevent that:
//!
//! * Nobody sees a state as of a time before its last write ([`Appearance::of`]). So what was over stays over.
//! * The next join moves the state to the present ([`UserState::set_back`]): the last write counts as made now. What was over
//!   then is over now. What was live has as long to go as it had then, so it ends at most that much too late.
//!
//! [`Appearance::of`]: crate::presence::appearance::Appearance::of

use std::time::Duration;

use crate::presence::connections::Presence;
use crate::presence::state::{UserState, next_revision};
use crate::time::Timestamp;

/// How much earlier than the last write another one can be without a clock that was set back: it takes its time before it waits
/// for the store, and processes differ a little.
pub const ON_THE_WAY: Duration = Duration::from_secs(60);

/// How long before the state is moved an event of the present may have occurred. A mark such as [`Presence::floor`] must not be
/// later than that, or it would hide the event.
const SAID_BEFORE: Duration = Duration::from_secs(10);

impl UserState {
    /// Moves the state to `now` if its last write is later by more than [`ON_THE_WAY`]. Returns whether it did: then the state
    /// must be written.
    pub fn set_back(&mut self, now: Timestamp) -> bool {
        if self.as_of <= now.plus(ON_THE_WAY) {
            return false;
        }
        let moved = Moved { from: self.as_of, to: now };
        moved.presence(&mut self.presence);
        moved.mark(&mut self.deleted_at);
        if let Some(hidden) = &mut self.disclosure.hidden {
            moved.past(&mut hidden.last_active);
            hidden.as_of = hidden.as_of.min(now);
        }
        // It would come as late as the clock was set back.
        self.next_timer = None;
        self.as_of = now;
        self.revision = next_revision(self.revision, now);
        true
    }
}

/// From the time of the last write to the present.
#[derive(Clone, Copy)]
struct Moved {
    from: Timestamp,
    to: Timestamp,
}

impl Moved {
    fn presence(self, presence: &mut Presence) {
        for connection in presence.connections.values_mut() {
            connection.leased_until = connection.leased_until.map(|until| self.end(until));
            if let Some(ending) = &mut connection.ended {
                ending.at = self.end(ending.at);
                ending.occurred_at = ending.occurred_at.min(self.earlier());
            }
        }
        for opening in presence.openings.values_mut() {
            opening.at = opening.at.min(self.to);
        }
        self.mark(&mut presence.floor);
        self.past(&mut presence.last_active);
        self.past(&mut presence.connected_at);
    }

    /// An end, which has passed or not, as at the last write.
    fn end(self, at: Timestamp) -> Timestamp {
        match at {
            Timestamp::MAX => at,
            at if self.from < at => self.to.plus(at.since(self.from)),
            at => at.min(self.to),
        }
    }

    /// Something that has happened.
    fn past(self, at: &mut Option<Timestamp>) {
        *at = at.map(|at| at.min(self.to));
    }

    /// The time up to which events say nothing.
    fn mark(self, at: &mut Option<Timestamp>) {
        *at = at.map(|at| at.min(self.earlier()));
    }

    fn earlier(self) -> Timestamp {
        self.to.minus(SAID_BEFORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ConnectionId, ConnectionKey};
    use crate::presence::connection::{Connection, Ending};
    use crate::presence::disclosure::Hidden;
    use crate::presence::event::EndReason;
    use crate::presence::opening::Opening;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn key(id: &str) -> ConnectionKey {
        id.parse::<ConnectionId>().unwrap().key()
    }

    fn connection(until: Option<i64>, end: Option<i64>) -> Connection {
        let ended = end.map(|end| Ending { at: at(end), reason: EndReason::ConnectionLost, occurred_at: at(end - 10) });
        Connection { leased_until: until.map(at), ended }
    }

    /// A state of second 10,000.
    fn state() -> UserState {
        let connections = [
            ("goodbye", connection(Some(9_990), Some(9_990))),
            ("grace", connection(Some(10_004), Some(10_004))),
            ("lease", connection(Some(10_120), None)),
            ("over", connection(Some(9_000), None)),
            ("long ago", connection(Some(50), Some(50))),
            ("socket", Connection { leased_until: Some(Timestamp::MAX), ended: None }),
        ];
        let mut state = UserState { as_of: at(10_000), revision: 10_000_000, ..UserState::default() };
        state.presence.connections = connections.into_iter().map(|(id, it)| (key(id), it)).collect();
        state.presence.openings.insert(key("socket"), Opening::new(at(9_995), None));
        state.presence.floor = Some(at(9_980));
        state.presence.last_active = Some(at(9_999));
        state.presence.connected_at = Some(at(40));
        state.deleted_at = Some(at(9_000));
        state.disclosure.hidden = Some(Hidden {
            online_generation: state.presence.online_generation,
            last_active: Some(at(9_998)),
            status: None,
            revision: 9_998_000,
            as_of: at(9_998),
        });
        state
    }

    #[test]
    fn what_was_over_is_over_and_what_was_live_has_as_long_to_go() {
        let mut state = state();
        assert!(state.set_back(at(100)));
        let found = |id| state.presence.connection(key(id));
        for (id, until) in [("goodbye", 100), ("over", 100), ("long ago", 50), ("grace", 104), ("lease", 220)] {
            assert_eq!(found(id).live_until(), at(until), "{id}");
        }
        assert!(found("socket").is_unending());
        assert_eq!(found("grace").ended.map(|ending| ending.at), Some(at(104)));
        assert_eq!(found("goodbye").ended.map(|ending| ending.occurred_at), Some(at(90)));
        assert_eq!(found("long ago").ended.map(|ending| ending.occurred_at), Some(at(40)));
        // What is said now is later than all marks.
        assert_eq!((state.presence.floor, state.deleted_at), (Some(at(90)), Some(at(90))));
        assert_eq!((state.presence.last_active, state.presence.connected_at), (Some(at(100)), Some(at(40))));
        assert_eq!(state.presence.openings[&key("socket")].at, at(100));
        let hidden = state.disclosure.hidden.as_ref().unwrap();
        assert_eq!((hidden.last_active, hidden.as_of, hidden.revision), (Some(at(100)), at(100), 9_998_000));
        assert_eq!((state.as_of, state.revision), (at(100), 10_000_001));
        assert!(!state.set_back(at(100)), "it is of the present now");
    }

    #[test]
    fn a_write_that_was_on_its_way_moves_nothing() {
        let before = state();
        let mut state = before.clone();
        assert!(!state.set_back(at(10_000 - 60)));
        assert_eq!(state, before);
        assert!(state.set_back(at(10_000 - 61)));
    }
}
