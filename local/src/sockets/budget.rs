//! How much all sockets may watch together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reachability_domain::sid::ServiceSid;

/// How much all sockets may watch: each user and channel that a socket watches counts as one, and so does each member of a
/// channel that anybody watches. One takes some 200 bytes at most.
pub(super) const MAX_WATCHED: usize = 4_000_000;

/// When so much is watched, the rest is for services that watch less than [`FEW`].
const RESERVED: usize = MAX_WATCHED / 4 * 3;

/// How much a service may watch in any case, as long as there is room.
const FEW: usize = MAX_WATCHED / 4;

/// How much is watched.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    services: HashMap<ServiceSid, usize>,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// How much could be watched, at most.
    pub(super) limit: usize,
}

impl Budget {
    /// Whether so much more may be watched in a service. Nothing is counted.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check(&self, service: ServiceSid, more: usize) -> Result<(), Exhausted> {
        self.lock().check(service, more)
    }

    /// Counts one more, if it may be.
    ///
    /// # Errors
    /// If not.
    pub(super) fn take(&self, service: ServiceSid) -> Result<(), Exhausted> {
        let mut used = self.lock();
        used.check(service, 1)?;
        used.add(service, 1);
        Ok(())
    }

    /// Counts so many more, whether they may be or not.
    pub(super) fn add(&self, service: ServiceSid, more: usize) {
        self.lock().add(service, more);
    }

    /// So many are watched no more.
    pub(super) fn free(&self, service: ServiceSid, count: usize) {
        let mut used = self.lock();
        used.all -= count;
        let Some(of_service) = used.services.get_mut(&service) else { return };
        *of_service -= count;
        if *of_service == 0 {
            used.services.remove(&service);
        }
    }

    /// How much is watched.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn check(&self, service: ServiceSid, more: usize) -> Result<(), Exhausted> {
        let of_service = self.services.get(&service).copied().unwrap_or_default();
        if self.all + more > MAX_WATCHED {
            return Err(Exhausted { limit: MAX_WATCHED });
        }
        if self.all + more > RESERVED && of_service + more > FEW {
            return Err(Exhausted { limit: RESERVED });
        }
        Ok(())
    }

    fn add(&mut self, service: ServiceSid, more: usize) {
        self.all += more;
        *self.services.entry(service).or_default() += more;
    }
}

#[cfg(test)]
mod tests {
    use reachability_tests::generate::service;

    use super::*;

    #[test]
    fn one_service_leaves_room_for_others() {
        let budget = Budget::default();
        let (greedy, modest) = (service(1), service(2));
        budget.add(greedy, RESERVED);
        assert_eq!(budget.take(greedy), Err(Exhausted { limit: RESERVED }));
        assert_eq!(budget.check(modest, FEW), Ok(()));
        assert_eq!(budget.check(modest, FEW + 1), Err(Exhausted { limit: MAX_WATCHED }));
        budget.add(modest, FEW - 1);
        assert_eq!(budget.take(modest), Ok(()));
        assert_eq!(budget.take(modest), Err(Exhausted { limit: MAX_WATCHED }));
        // What ends makes room.
        budget.free(modest, FEW);
        budget.free(greedy, 1);
        assert_eq!(budget.take(greedy), Ok(()));
        budget.free(greedy, RESERVED);
        assert_eq!(budget.used(), 0);
        assert!(budget.lock().services.is_empty());
    }
}
