//! Where the webhooks of a service go, at most a few seconds ago.

use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::ports::{Accounts, Services};
use reachability_domain::directory::service::WebhookEvent;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::target::WebhookTarget;

use crate::directory::{Cache, CachedServices};

/// Reads the configuration, and caches it for up to `max_age`.
pub(super) struct Targets {
    services: CachedServices,
    accounts: Arc<dyn Accounts>,
    account: Cache<(), Arc<AccountSettings>>,
}

impl Targets {
    pub(super) fn new(services: Arc<dyn Services>, accounts: Arc<dyn Accounts>, max_age: Duration) -> Self {
        Self { services: CachedServices::new(services, max_age), accounts, account: Cache::new(max_age) }
    }

    /// Where an event is sent, and how often it may be sent again; `None` if nowhere.
    pub(super) async fn find(
        &self,
        service: ServiceSid,
        event: WebhookEvent,
        now: Timestamp,
    ) -> Result<Option<(WebhookTarget, u32)>, StoreError> {
        let Some(service) = self.services.get(service, false, now).await? else { return Ok(None) };
        let account = match &service.webhooks.post_webhook_url {
            Some(_) => Arc::default(),
            None => self.account(now).await?,
        };
        let target = WebhookTarget::of(&service.webhooks, &account.webhooks, event);
        Ok(target.map(|target| (target, service.chat.post_webhook_retry_count)))
    }

    async fn account(&self, now: Timestamp) -> Result<Arc<AccountSettings>, StoreError> {
        if let Some(account) = self.account.get(&(), now) {
            return Ok(account);
        }
        let account = Arc::new(self.accounts.account().await?);
        self.account.put((), Some(account.clone()), now);
        Ok(account)
    }
}
