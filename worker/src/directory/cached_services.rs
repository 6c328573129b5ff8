//! A cache of services.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

/// Maximum number of cached services. When it is reached, the cache is cleared.
const MAX_KNOWN: usize = 10_000;

/// Reads services and caches them for up to `max_age`.
pub(crate) struct CachedServices {
    services: Arc<dyn Services>,
    max_age: Duration,
    known: Mutex<HashMap<ServiceSid, (Timestamp, Arc<Service>)>>,
}

impl CachedServices {
    pub(crate) fn new(services: Arc<dyn Services>, max_age: Duration) -> Self {
        Self { services, max_age, known: Mutex::default() }
    }

    /// A service, at most `max_age` old. If `comes_online` and the cached configuration is off, reads it again: using
    /// the old one would lose an event. A missing service is never cached.
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

    /// Reads a service from the store, and caches it.
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
        // No code panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
