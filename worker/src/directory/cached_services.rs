//! The services, as they were a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

/// How many services are remembered at most. Beyond that all are read again.
const MAX_KNOWN: usize = 10_000;

/// Reads services, and remembers them for a while where it may.
pub(crate) struct CachedServices {
    services: Arc<dyn Services>,
    max_age: Duration,
    known: Mutex<HashMap<ServiceSid, (Timestamp, Arc<Service>)>>,
}

impl CachedServices {
    pub(crate) fn new(services: Arc<dyn Services>, max_age: Duration) -> Self {
        Self { services, max_age, known: Mutex::default() }
    }

    /// A service as it was no longer ago than that; as it is now if somebody comes online and its reachability was off,
    /// since that would lose an event. What is not there is looked for every time.
    pub(crate) async fn get(
        &self,
        sid: ServiceSid,
        comes_online: bool,
        now: Timestamp,
    ) -> Result<Option<Arc<Service>>, StoreError> {
        let known = self.known().get(&sid).cloned();
        if let Some((read_at, service)) = known {
            // The clock may have been set back.
            let is_fresh = read_at <= now && now < read_at.plus(self.max_age);
            if is_fresh && (service.configuration.reachability_enabled || !comes_online) {
                return Ok(Some(service));
            }
        }
        self.read(sid, now).await
    }

    /// A service as it is now.
    pub(crate) async fn read(&self, sid: ServiceSid, now: Timestamp) -> Result<Option<Arc<Service>>, StoreError> {
        let service = self.services.service(sid).await?.map(Arc::new);
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        match &service {
            Some(service) if !self.max_age.is_zero() => {
                known.insert(sid, (now, service.clone()));
            }
            _ => {
                known.remove(&sid);
            }
        }
        Ok(service)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ServiceSid, (Timestamp, Arc<Service>)>> {
        // Nothing panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
