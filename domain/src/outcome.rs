//! What became of an event: every one that arrives is accounted for as one of these.

use crate::presence::Connection;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
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

impl Outcome {
    /// What becomes of an event that says this of a connection of which that much is `known`.
    pub fn of(known: &Connection, said: &Connection) -> Self {
        let opening = said.opened.map(|said| match (known.opened, known.ended) {
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
    use crate::presence::{Ending, Opening};
    use crate::time::Timestamp;

    fn opened(at: i64) -> Connection {
        let (at, lease_until) = (Timestamp::from_millis(at), Timestamp::from_millis(at + 120));
        Connection { opened: Some(Opening { at, lease_until }), ended: None }
    }

    fn ended(at: i64) -> Connection {
        let at = Timestamp::from_millis(at);
        Connection { opened: None, ended: Some(Ending { at, recorded_at: at }) }
    }

    #[test]
    fn every_event_has_one() {
        let unseen = Connection::default();
        let closed = Connection { ended: ended(50).ended, ..opened(10) };
        for (known, said, outcome) in [
            (unseen, opened(10), Outcome::Applied),
            (unseen, ended(10), Outcome::Applied),
            (opened(10), opened(10), Outcome::Duplicate),
            (opened(10), opened(20), Outcome::Applied),
            (opened(20), opened(10), Outcome::Stale),
            (opened(10), ended(20), Outcome::Applied),
            // A connect that comes after its disconnect.
            (ended(20), opened(10), Outcome::Stale),
            (closed, opened(10), Outcome::Duplicate),
            (closed, opened(40), Outcome::Stale),
            (closed, ended(50), Outcome::Duplicate),
            (closed, ended(60), Outcome::Stale),
            // The earliest end holds.
            (closed, ended(40), Outcome::Applied),
        ] {
            assert_eq!(Outcome::of(&known, &said), outcome, "{said:?} where {known:?} is known");
        }
    }
}
