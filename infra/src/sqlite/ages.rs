//! Since when the events wait that are not handled yet.

use std::collections::BTreeMap;

use reachability_domain::time::Timestamp;

/// The waiting events and since when each waits, by their ids, which are in the order of acceptance.
#[derive(Debug)]
pub(super) struct Ages {
    since: BTreeMap<i64, Timestamp>,
    at_most: usize,
}

impl Ages {
    /// Knows so many events at most. If more wait, the latest are not known.
    pub(super) fn new(at_most: usize) -> Self {
        Self { since: BTreeMap::new(), at_most }
    }

    /// An event waits. One that is known waits since before.
    pub(super) fn add(&mut self, id: i64, since: Timestamp) {
        if self.since.len() < self.at_most {
            self.since.entry(id).or_insert(since);
        }
    }

    /// An event is handled, or given up.
    pub(super) fn remove(&mut self, id: i64) {
        self.since.remove(&id);
    }

    /// Since when an event waits; `None` if it is not known.
    pub(super) fn since(&self, id: i64) -> Option<Timestamp> {
        self.since.get(&id).copied()
    }

    /// Since when the oldest one waits; `None` if none does.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.since.first_key_value().map(|(_, since)| *since)
    }
}
