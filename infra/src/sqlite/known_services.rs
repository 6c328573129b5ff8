//! Services in memory: each event that is accepted asks for its service.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;

/// Maximum number of services in memory. When it is reached, all are forgotten.
const MAX_KNOWN: usize = 1_000;

/// The services that were read since one of them was written last. Nobody else writes them: all writes of a database go
/// through one process.
#[derive(Debug, Default)]
pub(super) struct KnownServices(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How many writes there were.
    writes: u64,
    services: HashMap<ServiceSid, Service>,
}

/// How many writes there had been when a read began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(u64);

impl KnownServices {
    /// A service as the last write has left it. If it is not known, it is to be read, and then to be told.
    pub(super) fn get(&self, sid: ServiceSid) -> Result<Service, Before> {
        let known = self.lock();
        known.services.get(&sid).cloned().ok_or(Before(known.writes))
    }

    /// The configuration of a service, if it is known in this version.
    pub(super) fn configuration(&self, sid: ServiceSid, version: u64) -> Option<Configuration> {
        let known = self.lock();
        let service = known.services.get(&sid).filter(|service| service.version == version);
        service.map(|service| service.configuration)
    }

    /// Remembers a service that was read, unless one was written meanwhile.
    pub(super) fn add(&self, Before(writes): Before, service: &Service) {
        let mut known = self.lock();
        if known.writes != writes {
            return;
        }
        if known.services.len() >= MAX_KNOWN {
            known.services.clear();
        }
        known.services.insert(service.sid, service.clone());
    }

    /// Forgets all, since a write of a service was committed. It is called before the write is answered.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        known.writes += 1;
        known.services.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::directory::service::DefaultRoles;
    use reachability_domain::sid::Sid;
    use reachability_domain::time::Timestamp;

    use super::*;

    #[test]
    fn what_was_read_before_a_write_is_not_remembered() {
        let [conversation_creator, conversation, service_user] = [1, 2, 3].map(Sid::from_bits);
        let roles = DefaultRoles { conversation_creator, conversation, service_user };
        let service = Service::new(Sid::from_bits(1), String::new(), roles, Timestamp::default());
        let known = KnownServices::default();
        let before = known.get(service.sid).unwrap_err();
        known.forget();
        known.add(before, &service);
        let before = known.get(service.sid).unwrap_err();
        known.add(before, &service);
        assert_eq!(known.get(service.sid).unwrap(), service);
        assert_eq!(known.configuration(service.sid, 0), Some(service.configuration));
        assert_eq!(known.configuration(service.sid, 1), None);
        known.forget();
        assert!(known.get(service.sid).is_err());
    }
}
