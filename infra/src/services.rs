//! What services need where several processes go by copies of them, and their store leaves records behind: around the
//! store, behind the same port.

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

/// How long a service's reachability stays off at least once it is switched off: for as long as anybody may go by an
/// older configuration.
const OFF_AT_LEAST: Duration = Duration::from_secs(2 * Configuration::MAX_AGE.as_secs());

/// How long after a service was deleted what is left of it is removed: when nobody takes it for one that exists.
const PURGE_AFTER: Duration = Duration::from_secs(60);

/// Services of a deployment of several processes.
pub struct SharedServices {
    store: Arc<dyn Services>,
    events: Arc<dyn Queue<PresenceMessage>>,
    clock: Clock,
}

impl SharedServices {
    /// Those of this store, whose left-overs are removed by whoever handles this queue.
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

    /// Waits before reachability is on again until everybody knows that it was off. Whoever missed that would take the
    /// events of this time around for those of the last.
    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let rest = still_off(&service.configuration, (self.clock)());
        if !rest.is_zero() {
            sleep(rest).await;
        }
        self.store.replace_service(service).await
    }

    /// Has what the service leaves behind removed.
    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        // Asked for first: it does nothing as long as the service is there, and nobody would ask for it later.
        let due_at = (self.clock)().plus(PURGE_AFTER);
        let purge = PresenceMessage::Purge(Purge { service: sid, due_at });
        self.events.send(&[purge]).await.map_err(|error| StoreError::Unavailable(error.into()))?;
        self.store.delete_service(sid).await
    }
}

/// For how much longer reachability has to stay off before it is switched on like this.
fn still_off(configuration: &Configuration, now: Timestamp) -> Duration {
    match (configuration.reachability_enabled, configuration.disabled_at) {
        // Clocks differ: it is never longer than that.
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

    /// Keeps what was sent, and whether the service was still there then.
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
    fn reachability_stays_off_for_as_long_as_anybody_may_go_by_an_older_configuration() {
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
        assert_eq!(rest(true, Some(90_000), 0), 6_000, "by a clock that is ahead");
        assert_eq!(rest(false, Some(0), 0), 0, "it stays off");
    }

    #[tokio::test]
    async fn what_a_service_leaves_behind_is_removed_later() {
        let store = Arc::new(MemoryStore::default());
        let queue = Arc::new(Sent { store: store.clone(), messages: Mutex::default() });
        let services = SharedServices::new(store.clone(), queue.clone(), || NOW);
        let sid = Sid::from_bits(1);
        services.create_service(&default_service(sid, NOW)).await.unwrap();
        assert!(services.delete_service(sid).await.unwrap());
        assert!(services.service(sid).await.unwrap().is_none());
        let purge = PresenceMessage::Purge(Purge { service: sid, due_at: NOW.plus(PURGE_AFTER) });
        assert_eq!(*queue.messages.lock().unwrap(), [(purge, true)], "it is asked for before the service is gone");
        assert!(!services.delete_service(sid).await.unwrap(), "there is none any more");
    }
}
