//! The account's settings, API keys and services.

use async_trait::async_trait;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services};
use reachability_domain::directory::service::Service;
use reachability_domain::paging::{Page, PageRequest};
use reachability_domain::sid::{KeySid, ServiceSid};
use reachability_domain::store::StoreError;
use rusqlite::params;

use super::rows::{Key, Rows, create, execute, write_document};
use super::store::SqliteStore;

/// The account's settings: at most one row.
const ACCOUNT: Rows<'static> = Rows::new("account", "true", &[]);

#[async_trait]
impl Accounts for SqliteStore {
    async fn account(&self) -> Result<AccountSettings, StoreError> {
        self.database.read(|connection| Ok(ACCOUNT.find(connection)?.unwrap_or_default())).await
    }

    async fn replace_account(&self, settings: &AccountSettings) -> Result<(), StoreError> {
        let (version, document) = (settings.version, write_document(settings)?);
        self.database
            .write(move |connection| {
                if version > 0 {
                    return match ACCOUNT.replace(connection, version, &document) {
                        Err(StoreError::Missing) => Err(StoreError::Conflict),
                        replaced => replaced,
                    };
                }
                let insert = "INSERT INTO account (id, version, document) VALUES (1, 1, ?1) ON CONFLICT DO NOTHING";
                match execute(connection, insert, [document])? {
                    0 => Err(StoreError::Conflict),
                    _ => Ok(()),
                }
            })
            .await
    }
}

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let (sid, document) = (key.sid, write_document(key)?);
        self.database
            .write(move |connection| {
                let insert = "INSERT INTO keys (sid, document) VALUES (?1, ?2)";
                create(connection, insert, params![Key(sid), document])
            })
            .await
    }

    async fn key(&self, sid: KeySid) -> Result<Option<ApiKey>, StoreError> {
        self.database.read(move |connection| Rows::new("keys", "sid = ?1", &[&Key(sid)]).find(connection)).await
    }

    async fn keys(&self, page: PageRequest<KeySid>) -> Result<Page<ApiKey>, StoreError> {
        self.database.read(move |connection| Rows::new("keys", "true", &[]).page(connection, page)).await
    }

    async fn delete_key(&self, sid: KeySid) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| Ok(Rows::new("keys", "sid = ?1", &[&Key(sid)]).delete(connection)? > 0))
            .await
    }
}

#[async_trait]
impl Services for SqliteStore {
    async fn create_service(&self, service: &Service) -> Result<(), StoreError> {
        let (sid, version, document) = (service.sid, service.version, write_document(service)?);
        self.database
            .write(move |connection| {
                let insert = "INSERT INTO services (sid, version, document) VALUES (?1, ?2, ?3)";
                create(connection, insert, params![Key(sid), version, document])
            })
            .await
    }

    async fn service(&self, sid: ServiceSid) -> Result<Option<Service>, StoreError> {
        self.database.read(move |connection| Rows::new("services", "sid = ?1", &[&Key(sid)]).find(connection)).await
    }

    async fn services(&self, page: PageRequest<ServiceSid>) -> Result<Page<Service>, StoreError> {
        self.database.read(move |connection| Rows::new("services", "true", &[]).page(connection, page)).await
    }

    async fn replace_service(&self, service: &Service) -> Result<(), StoreError> {
        let (sid, version, document) = (service.sid, service.version, write_document(service)?);
        self.database
            .write(move |connection| {
                Rows::new("services", "sid = ?1", &[&Key(sid)]).replace(connection, version, &document)
            })
            .await
    }

    async fn delete_service(&self, sid: ServiceSid) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| {
                for table in ["states", "bindings", "users"] {
                    Rows::new(table, "service = ?1", &[&Key(sid)]).delete(connection)?;
                }
                Ok(Rows::new("services", "sid = ?1", &[&Key(sid)]).delete(connection)? > 0)
            })
            .await
    }
}
