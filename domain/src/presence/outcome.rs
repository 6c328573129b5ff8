//! What became of an event: every one that arrives is accounted for as one of these.

use crate::presence::connections::Connection;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventOutcome {
    /// It said something new.
    Applied,
    /// The same was known already: it was delivered again.
    Duplicate,
    /// Something later was known already: it was overtaken.
    Stale,
    /// It would have opened or renewed a connection, and reachability was off.
    Disabled,
    /// It could not be handled, now or ever.
    Refused,
}

impl EventOutcome {
    /// What becomes of an event that says this of a connection of which that much is `known`.
    pub fn of(known: &Connection, said: &Connection) -> Self {
        let opening = said.lease.map(|said| match (known.lease, known.ended) {
            (Some(known), _) if known.at == said.at => Self::Duplicate,
            // Nothing opens a connection again that has ended.
            (_, Some(_)) => Self::Stale,
            (Some(known), None) if said.at < known.at => Self::Stale,
            _ => Self::Applied,
        });
        let ending = said.ended.map(|said| match known.ended {
            Some(known) if known.at == said.at => Self::Duplicate,
            Some(known) if known.at < said.at => Self::Stale,
            _ => Self::Applied,
        });
        ending.or(opening).unwrap_or(Self::Duplicate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::connections::{Ending, Lease};
    use crate::time::Timestamp;

    fn opened(at: i64) -> Connection {
        let (at, until) = (Timestamp::from_millis(at), Timestamp::from_millis(at + 120));
        Connection { lease: Some(Lease { at, until }), ended: None }
    }

    fn ended(at: i64) -> Connection {
        let at = Timestamp::from_millis(at);
        Connection { lease: None, ended: Some(Ending { at, recorded_at: at }) }
    }

    #[test]
    fn every_event_has_one() {
        let unseen = Connection::default();
        let closed = Connection { ended: ended(50).ended, ..opened(10) };
        for (known, said, outcome) in [
            (unseen, opened(10), EventOutcome::Applied),
            (unseen, ended(10), EventOutcome::Applied),
            (opened(10), opened(10), EventOutcome::Duplicate),
            (opened(10), opened(20), EventOutcome::Applied),
            (opened(20), opened(10), EventOutcome::Stale),
            (opened(10), ended(20), EventOutcome::Applied),
            // A connect that comes after its disconnect.
            (ended(20), opened(10), EventOutcome::Stale),
            (closed, opened(10), EventOutcome::Duplicate),
            (closed, opened(40), EventOutcome::Stale),
            (closed, ended(50), EventOutcome::Duplicate),
            (closed, ended(60), EventOutcome::Stale),
            // The earliest end holds.
            (closed, ended(40), EventOutcome::Applied),
        ] {
            assert_eq!(EventOutcome::of(&known, &said), outcome, "{said:?} where {known:?} is known");
        }
    }
}
