//! The outcome of an event: every event that arrives is counted as exactly one of these.

use crate::presence::connection::Connection;

/// The outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventOutcome {
    /// It added something new.
    Applied,
    /// It was already known: a repeated delivery.
    Duplicate,
    /// A later event was already known.
    Stale,
    /// A connect or renewal that arrived while reachability was off.
    Disabled,
    /// It can never be handled.
    Refused,
    /// It was accepted, but its service has been deleted since.
    Dropped,
}

impl EventOutcome {
    /// The outcome of an event that says `said` about a connection of which `known` is known.
    pub fn of(known: &Connection, said: &Connection) -> Self {
        let opening = said.leased_until.map(|said| match (known.leased_until, known.ended) {
            // Nothing reopens an ended connection.
            (_, Some(_)) => Self::Stale,
            (Some(known), None) if known == said => Self::Duplicate,
            (Some(known), None) if said < known => Self::Stale,
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
    use crate::presence::connection::Ending;
    use crate::presence::event::EndReason;
    use crate::time::Timestamp;

    fn opened(at: i64) -> Connection {
        Connection { leased_until: Some(Timestamp::from_millis(at + 120)), ended: None }
    }

    fn ended(at: i64) -> Connection {
        let at = Timestamp::from_millis(at);
        Connection { leased_until: None, ended: Some(Ending { at, reason: EndReason::ClientClosed, occurred_at: at }) }
    }

    #[test]
    fn every_event_has_an_outcome() {
        let unseen = Connection::default();
        let mut closed = opened(10);
        closed.join(&ended(50));
        for (known, said, outcome) in [
            (unseen, opened(10), EventOutcome::Applied),
            (unseen, ended(10), EventOutcome::Applied),
            (opened(10), opened(10), EventOutcome::Duplicate),
            (opened(10), opened(20), EventOutcome::Applied),
            (opened(20), opened(10), EventOutcome::Stale),
            (opened(10), ended(20), EventOutcome::Applied),
            // A connect that arrives after its disconnect.
            (ended(20), opened(10), EventOutcome::Stale),
            (closed, opened(10), EventOutcome::Stale),
            (closed, opened(40), EventOutcome::Stale),
            (closed, ended(50), EventOutcome::Duplicate),
            (closed, ended(60), EventOutcome::Stale),
            // The earliest end wins.
            (closed, ended(40), EventOutcome::Applied),
        ] {
            assert_eq!(EventOutcome::of(&known, &said), outcome, "{said:?} where {known:?} is known");
        }
    }
}
