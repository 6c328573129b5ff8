//! Ends sockets when what allows them is deleted.

use std::sync::Arc;

use async_trait::async_trait;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::{ApiKeys, Services};
use reachability_domain::directory::service::Service;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::sid::{KeySid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_gateway::session::Cause;

use super::registry::Registry;

/// A store whose deletions of API keys and services end the sockets that depend on them. (Deletions of users are in the feed.)
pub(crate) struct EndingSockets<S> {
    pub(crate) store: Arc<S>,
    pub(crate) registry: Arc<Registry>,
}

#[async_trait]
impl<S: ApiKeys> ApiKeys for EndingSockets<S> {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.store.create_key(key).await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        self.store.key(sid).await
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        self.store.keys(page).await
    }

    async fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.store.replace_key(key).await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        let deleted = self.store.delete_key(sid).await;
        self.registry.end_key(sid, cause(&deleted, Cause::KeyDeleted));
        deleted
    }
}

#[async_trait]
impl<S: Services> Services for EndingSockets<S> {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.store.create_service(service).await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.store.service(sid).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.store.services(page).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        self.store.replace_service(service).await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        let deleted = self.store.delete_service(sid).await;
        self.registry.end_service(sid, cause(&deleted, Cause::ServiceDeleted));
        deleted
    }
}

/// Why sockets end after a deletion. A failure may have come after it, or instead.
fn cause(deleted: &Result<bool, StoreError>, cause: Cause) -> Cause {
    if deleted.is_ok() { cause } else { Cause::Doubtful }
}
