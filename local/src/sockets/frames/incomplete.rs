//! How much is kept of messages that are incomplete, over all sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How much may be kept for all clients together, in bytes. Whoever would make it more is closed.
const MAX_IN_ALL: usize = 64 * 1024 * 1024;

/// How much of a socket does not count, in bytes: the usual messages of clients are shorter, so nobody is closed for one.
const FREE: usize = 4 * 1024;

/// How much is kept for all clients together, in bytes.
static IN_ALL: AtomicUsize = AtomicUsize::new(0);

/// How much is kept of one socket and counts, in bytes.
#[derive(Debug, Default)]
pub(super) struct Incomplete(usize);

impl Incomplete {
    /// So much is kept now, in bytes. Returns whether there is room for it.
    pub(super) fn is_now(&mut self, bytes: usize) -> bool {
        let (before, now) = (self.0, bytes.saturating_sub(FREE));
        self.0 = now;
        if now <= before {
            IN_ALL.fetch_sub(before - now, Ordering::Relaxed);
            return true;
        }
        let more = now - before;
        IN_ALL.fetch_add(more, Ordering::Relaxed) + more <= MAX_IN_ALL
    }
}

impl Drop for Incomplete {
    fn drop(&mut self) {
        IN_ALL.fetch_sub(self.0, Ordering::Relaxed);
    }
}
