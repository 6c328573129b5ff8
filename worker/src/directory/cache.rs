//! What was read from the directory, at most so long ago.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::time::Timestamp;

/// Maximum number of values. When it is reached, all are dropped.
const MAX_KNOWN: usize = 10_000;

/// Keeps values for up to `max_age`.
pub(crate) struct Cache<K, V> {
    max_age: Duration,
    known: Mutex<HashMap<K, (Timestamp, V)>>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { max_age, known: Mutex::default() }
    }

    /// A value that is not too old.
    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        self.get_if(key, now, |_, _| true)
    }

    /// A value that is not too old, if it will do at its age.
    pub(crate) fn get_if(&self, key: &K, now: Timestamp, will_do: impl Fn(&V, Duration) -> bool) -> Option<V> {
        let known = self.known();
        let (read_at, value) = known.get(key)?;
        // The clock may have been set back.
        let is_fresh = *read_at <= now && now < read_at.plus(self.max_age);
        (is_fresh && will_do(value, now.since(*read_at))).then(|| value.clone())
    }

    /// Keeps what was read; `None` if there is nothing, which is not remembered.
    pub(crate) fn put(&self, key: K, value: Option<V>, now: Timestamp) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        match value {
            Some(value) if !self.max_age.is_zero() => known.insert(key, (now, value)),
            _ => known.remove(&key),
        };
    }

    fn known(&self) -> MutexGuard<'_, HashMap<K, (Timestamp, V)>> {
        // No code panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
