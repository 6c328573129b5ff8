//! A decorator around the service store, for deployments in which several processes cache services and the store leaves
//! records of deleted services behind.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::Service;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::presence::message::{PresenceMessage, Purge};
use reachability_domain::queue::Queue;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};
use tokio::time::sleep;

/// How long reachability stays off at least after it was switched off: until every cached configuration has expired.
const OFF_AT_LEAST: Duration = Duration::from_secs(2 * Configuration::MAX_AGE.as_secs());

/// How long before it is switched on that is announced at least: until every cached configuration that does not say so has
/// expired, for those who handle events.
const ANNOUNCED_FOR: Duration = Duration::from_secs(2 * Configuration::MAX_AGE_WHILE_OFF.as_secs());

/// How long after its deletion a service's records are removed: when every cached copy has expired.
const PURGE_AFTER: Duration = Duration::from_secs(60);

/// Services of a deployment with several processes.
pub struct SharedServices {
    store: Arc<dyn Services>,
    events: Arc<dyn Queue<PresenceMessage>>,
    clock: Clock,
}

impl SharedServices {
    /// Wraps this store. The consumer of the queue removes the records of deleted services.
    pub fn new(store: Arc<dyn Services>, events: Arc<dyn Queue<PresenceMessage>>, clock: Clock) -> Self {
        Self { store, events, clock }
    }
}

#[async_trait]
impl Services for SharedServices {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.store.create_service(service).await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.store.service(sid).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.store.services(page).await
    }

    /// Before switching reachability on, announces it, and waits until no process has a copy of the configuration that says
    /// that it is off, and that it stays so: it would lose events of the new generation. Waits also until every process has
    /// seen that it was off: one that missed that would count events of the new generation for the old one.
    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        if !service.configuration.reachability_enabled {
            return self.store.replace_service(service).await;
        }
        let stored = self.store.service(service.sid).await?.ok_or(StoreError::Missing)?;
        if stored.version != service.version {
            return Err(StoreError::Conflict);
        }
        if stored.configuration.reachability_enabled {
            return self.store.replace_service(service).await;
        }
        let mut service = service.clone();
        // Somebody else may be about to do the same, or have been stopped at it.
        if !stored.configuration.switches_on {
            let mut announced = stored;
            announced.configuration.switches_on = true;
            self.store.replace_service(&announced).await?;
            service.version += 1;
        }
        sleep(still_off(&service.configuration, (self.clock)()).max(ANNOUNCED_FOR)).await;
        self.store.replace_service(&service).await
    }

    /// Queues the removal of the service's records.
    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        // Queued before the deletion: a purge does nothing while the service exists, and after the deletion a retry
        // would not queue it.
        let due_at = (self.clock)().plus(PURGE_AFTER);
        let purge = PresenceMessage::Purge(Purge { service: sid, due_at, part: None });
        self.events.send(&[purge]).await.map_err(|error| StoreError::Unavailable(error.into()))?;
        self.store.delete_service(sid).await
    }
}

/// How much longer reachability must stay off before this configuration may switch it on.
fn still_off(configuration: &Configuration, now: Timestamp) -> Duration {
    match (configuration.reachability_enabled, configuration.disabled_at) {
        // Clocks differ, so the wait is limited.
        (true, Some(disabled_at)) => disabled_at.plus(OFF_AT_LEAST).since(now).min(OFF_AT_LEAST),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use reachability_domain::directory::default_service::default_service;
    use reachability_domain::queue::QueueError;
    use reachability_domain::sid::Sid;

    use super::*;
    use crate::memory::MemoryStore;

    const NOW: Timestamp = Timestamp::from_millis(1_795_171_200_000);

    /// Records the messages sent, and whether the service still existed then.
    struct Sent {
        store: Arc<MemoryStore>,
        messages: Mutex<Vec<(PresenceMessage, bool)>>,
    }

    #[async_trait]
    impl Queue<PresenceMessage> for Sent {
        async fn send(&self, messages: &[PresenceMessage]) -> Result<(), QueueError> {
            let exists = self.store.service(Sid::from_bits(1)).await.unwrap().is_some();
            self.messages.lock().unwrap().extend(messages.iter().map(|message| (message.clone(), exists)));
            Ok(())
        }
    }

    #[test]
    fn reachability_stays_off_until_cached_configurations_expire() {
        let rest = |enabled, disabled_at: Option<i64>, now: i64| {
            let at = |millis: i64| Timestamp::from_millis(NOW.as_millis() + millis);
            let configuration = Configuration {
                reachability_enabled: enabled,
                disabled_at: disabled_at.map(at),
                ..Configuration::default()
            };
            still_off(&configuration, at(now)).as_millis()
        };
        assert_eq!(OFF_AT_LEAST, Configuration::MAX_AGE * 2);
        assert_eq!(rest(true, None, 0), 0, "it was never off");
        assert_eq!(rest(true, Some(0), 0), 6_000);
        assert_eq!(rest(true, Some(0), 2_500), 3_500);
        assert_eq!(rest(true, Some(0), 6_000), 0);
        assert_eq!(rest(true, Some(0), 60_000), 0);
        assert_eq!(rest(true, Some(90_000), 0), 6_000, "another clock is ahead");
        assert_eq!(rest(false, Some(0), 0), 0, "it stays off");
    }

    #[tokio::test]
    async fn records_of_a_deleted_service_are_removed_later() {
        let store = Arc::new(MemoryStore::default());
        let queue = Arc::new(Sent { store: store.clone(), messages: Mutex::default() });
        let services = SharedServices::new(store.clone(), queue.clone(), || NOW);
        let sid = Sid::from_bits(1);
        services.create_service(&default_service(sid, NOW)).await.unwrap();
        assert!(services.delete_service(sid).await.unwrap());
        assert!(services.service(sid).await.unwrap().is_none());
        let purge = PresenceMessage::Purge(Purge { service: sid, due_at: NOW.plus(PURGE_AFTER), part: None });
        assert_eq!(*queue.messages.lock().unwrap(), [(purge, true)], "the purge is queued before the deletion");
        assert!(!services.delete_service(sid).await.unwrap(), "the service is already deleted");
    }
}
