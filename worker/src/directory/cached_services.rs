//! A cache of services.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::cache::Cache;

/// Reads services and caches them for up to `max_age`.
pub(crate) struct CachedServices {
    services: Arc<dyn Services>,
    known: Cache<ServiceSid, Arc<Service>>,
}

impl CachedServices {
    pub(crate) fn new(services: Arc<dyn Services>, max_age: Duration) -> Self {
        Self { services, known: Cache::new(max_age) }
    }

    /// A service, at most `max_age` old. If `comes_online` and the cached configuration is off, it will do for a shorter time, and
    /// not if it is about to be switched on: using an old one would lose an event. A missing service is never cached.
    pub(crate) async fn get(
        &self,
        sid: ServiceSid,
        comes_online: bool,
        now: Timestamp,
    ) -> Result<Option<Arc<Service>>, StoreError> {
        let known = self.known.get_if(&sid, now, |service, age| {
            let Configuration { reachability_enabled, switches_on, .. } = service.configuration;
            !comes_online || reachability_enabled || (!switches_on && age < Configuration::MAX_AGE_WHILE_OFF)
        });
        match known {
            Some(service) => Ok(Some(service)),
            None => self.read(sid, now).await,
        }
    }

    /// Reads a service from the store, and caches it.
    pub(crate) async fn read(&self, sid: ServiceSid, now: Timestamp) -> Result<Option<Arc<Service>>, StoreError> {
        let service = self.services.service(sid).await?.map(Arc::new);
        self.known.put(sid, service.clone(), now);
        Ok(service)
    }
}
