//! The account's settings, API keys and services.

use async_trait::async_trait;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services};
use reachability_domain::directory::service::Service;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::sid::{KeySid, ServiceSid};
use reachability_domain::store::StoreError;

use super::key::Key;
use super::store::DynamoStore;

#[async_trait]
impl Accounts for DynamoStore {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        Ok(self.table.find(Key::account()).await?.unwrap_or_default())
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        let next = AccountSettings { version: settings.version + 1, ..settings.clone() };
        if settings.version == 0 {
            return if self.table.add(Key::account(), &next).await? { Ok(()) } else { Err(StoreError::Conflict) };
        }
        match self.table.replace(Key::account(), settings.version, &next).await {
            Err(StoreError::Missing) => Err(StoreError::Conflict),
            replaced => replaced,
        }
    }
}

#[async_trait]
impl ApiKeys for DynamoStore {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.table.create(Key::api_key(key.sid), key).await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        self.table.find(Key::api_key(sid)).await
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        self.table.page(Key::api_keys(), page).await
    }

    async fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.table.overwrite(Key::api_key(key.sid), key).await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        self.table.delete(Key::api_key(sid)).await
    }
}

#[async_trait]
impl Services for DynamoStore {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        self.table.create(Key::service(service.sid), service).await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.table.find(Key::service(sid)).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.table.page(Key::services(), page).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let next = Service { version: service.version + 1, ..service.clone() };
        self.table.replace(Key::service(service.sid), service.version, &next).await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.table.delete(Key::service(sid)).await
    }
}
