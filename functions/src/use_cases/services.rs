//! Finding, changing and deleting services, including the account's default one.

use std::sync::Arc;

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::default_service::{
    DATE_CREATED, default_service, default_service_sid, may_be_default,
};
use reachability_domain::directory::ports::{Accounts, Services};
use reachability_domain::directory::service::{Service, ServiceRef};
use reachability_domain::ids::Ids;
use reachability_domain::sid::{AccountSid, ServiceSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};

use crate::use_cases::account::update_account;
use crate::use_cases::update::{Versioned, update};

/// A service that was found. A default service is found, and can be shown, before it is stored.
#[derive(Debug, Clone)]
pub(crate) struct FoundService {
    pub(crate) service: Service,
    /// False only for a default service into which nothing was written yet.
    is_stored: bool,
}

/// Finds and stores services. The account's settings say which one is the default.
#[derive(Clone)]
pub(crate) struct ServiceDirectory {
    account_sid: AccountSid,
    accounts: Arc<dyn Accounts>,
    services: Arc<dyn Services>,
}

impl ServiceDirectory {
    pub(crate) fn new(account_sid: AccountSid, accounts: Arc<dyn Accounts>, services: Arc<dyn Services>) -> Self {
        Self { account_sid, accounts, services }
    }

    /// A service, or `None` if it does not exist. Writes nothing.
    pub(crate) async fn find(&self, which: ServiceRef) -> Result<Option<FoundService>, StoreError> {
        match which {
            ServiceRef::Default => self.default_service().await.map(Some),
            ServiceRef::Sid(sid) => match self.services.service(sid).await? {
                Some(service) => Ok(Some(FoundService { service, is_stored: true })),
                None if !may_be_default(sid) => Ok(None),
                None => Ok(Some(self.default_service().await?).filter(|default| default.service.sid == sid)),
            },
        }
    }

    /// The service of the routes that name none: the one that the owner chose, or else the one whose sid is derived
    /// from the account's.
    pub(crate) async fn default_service(&self) -> Result<FoundService, StoreError> {
        self.default_of(&self.accounts.account().await?).await
    }

    async fn default_of(&self, settings: &AccountSettings) -> Result<FoundService, StoreError> {
        let chosen = settings.default_chat_service_sid;
        if let Some(sid) = chosen
            && let Some(service) = self.services.service(sid).await?
        {
            return Ok(FoundService { service, is_stored: true });
        }
        let sid = default_service_sid(self.account_sid, chosen);
        Ok(match self.services.service(sid).await? {
            Some(service) => FoundService { service, is_stored: true },
            None => FoundService { service: default_service(sid, DATE_CREATED), is_stored: false },
        })
    }

    /// Stores a service if it is not stored yet. Whatever writes into a service stores it first.
    pub(crate) async fn store(&self, found: FoundService) -> Result<Service, StoreError> {
        if !found.is_stored {
            match self.services.create_service(&found.service).await {
                // Another request has stored it in the meantime.
                Ok(()) | Err(StoreError::Exists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found.service)
    }

    /// Stores the default service if it is not stored yet, with `now` as its date of creation. Returns its sid.
    pub(crate) async fn store_default(&self, now: Timestamp) -> Result<ServiceSid, StoreError> {
        let mut found = self.default_service().await?;
        if !found.is_stored {
            found.service = default_service(found.service.sid, now);
        }
        self.store(found).await.map(|service| service.sid)
    }

    /// Changes a service that was found. Returns the changed service, or `None` if it was deleted.
    pub(crate) async fn update<E: From<StoreError>>(
        &self,
        ids: &dyn Ids,
        clock: Clock,
        found: FoundService,
        change: impl Fn(&mut Service) -> Result<(), E> + Send + Sync,
    ) -> Result<Option<Service>, E> {
        let service = found.service.clone();
        let place = StoredService { directory: self, sid: service.sid, found: Some(found), clock };
        update(place, ids, service, change).await
    }

    /// Removes a service with everything in it. Returns whether there was one.
    ///
    /// If it is the default service, even one that was never stored, the account's settings remember its sid: the next
    /// default service gets another sid.
    pub(crate) async fn delete(&self, ids: &dyn Ids, sid: ServiceSid) -> Result<bool, StoreError> {
        let settings = self.accounts.account().await?;
        let is_default = self.default_of(&settings).await?.service.sid == sid;
        if is_default {
            let chosen = settings.default_chat_service_sid;
            update_account(&*self.accounts, ids, |settings| {
                // If they differ, the owner has chosen another service in the meantime.
                if settings.default_chat_service_sid == chosen {
                    settings.default_chat_service_sid = Some(sid);
                }
                Ok::<_, StoreError>(())
            })
            .await?;
        }
        Ok(self.services.delete_service(sid).await? || is_default)
    }
}

struct StoredService<'a> {
    directory: &'a ServiceDirectory,
    sid: ServiceSid,
    /// The service as it was found; `None` after the first attempt, which stores it.
    found: Option<FoundService>,
    clock: Clock,
}

impl Versioned for StoredService<'_> {
    type Record = Service;

    async fn read(&self) -> Result<Option<Service>, StoreError> {
        let found = self.directory.find(ServiceRef::Sid(self.sid)).await?;
        Ok(found.map(|found| found.service))
    }

    async fn replace(&mut self, service: &mut Service) -> Result<(), StoreError> {
        // Only the first attempt stores it: a service that is deleted before the next attempt must stay deleted.
        if let Some(found) = self.found.take() {
            self.directory.store(found).await?;
        }
        service.date_updated = (self.clock)();
        self.directory.services.replace_service(service).await
    }
}
