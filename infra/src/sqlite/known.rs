//! What is read so often that it is kept in memory: the service of each event that is accepted, and the API key of each token
//! that is verified.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of records in memory. When it is reached, all are forgotten.
const MAX_KNOWN: usize = 1_000;

/// The records of a table that were read since one of them was written last. Nobody else changes or deletes them: all such
/// writes of a database go through one process.
#[derive(Debug)]
pub(super) struct Known<K, R>(Mutex<Inner<K, R>>);

#[derive(Debug)]
struct Inner<K, R> {
    /// How many writes there were.
    writes: u64,
    records: HashMap<K, Arc<R>>,
}

/// How many writes there had been when a read began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(u64);

impl<K, R> Default for Known<K, R> {
    fn default() -> Self {
        Self(Mutex::new(Inner { writes: 0, records: HashMap::new() }))
    }
}

impl<K: Eq + Hash, R> Known<K, R> {
    /// A record as the last write has left it. If it is not known, it is to be read, and then to be told.
    pub(super) fn get(&self, key: &K) -> Result<Arc<R>, Before> {
        let known = self.lock();
        known.records.get(key).cloned().ok_or(Before(known.writes))
    }

    /// Remembers a record that was read, unless one was written meanwhile.
    pub(super) fn add(&self, Before(writes): Before, key: K, record: R) {
        let mut known = self.lock();
        if known.writes != writes {
            return;
        }
        if known.records.len() >= MAX_KNOWN {
            known.records.clear();
        }
        known.records.insert(key, Arc::new(record));
    }

    /// Forgets all, since a write was committed. It is called before the write is answered.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        known.writes += 1;
        known.records.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, R>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_write_is_not_remembered() {
        let known = Known::default();
        let before = known.get(&1).unwrap_err();
        known.forget();
        known.add(before, 1, "old");
        let before = known.get(&1).unwrap_err();
        known.add(before, 1, "new");
        assert_eq!(*known.get(&1).unwrap(), "new");
        known.forget();
        assert!(known.get(&1).is_err());
    }
}
