//! Changing a stored record.

use std::future::Future;
use std::time::Duration;

use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::push::credential::Credential;
use reachability_domain::store::StoreError;
use reachability_infra::ids;
use tokio::time::sleep;

use crate::call::Call;
use crate::error::ApiError;

/// How often a change is tried when others change the same record, after waiting for a random time that grows.
const ATTEMPTS: u32 = 32;

/// How long it waits at most.
const MAX_WAIT: Duration = Duration::from_millis(128);

/// A record that the path of a call names.
pub(crate) trait Record: Clone + PartialEq + Send {
    /// Reads it.
    fn read(call: &Call) -> impl Future<Output = Result<Self, ApiError>> + Send;

    /// Writes it back, unless somebody else has since it was read.
    fn replace(&mut self, call: &Call) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Reads a record, changes it and writes it back; again if somebody else has changed it in between, so that of two
/// changes at the same time none is lost. What changes nothing writes nothing. Returns the record as it is now.
pub(crate) async fn update<R: Record>(
    call: &Call,
    change: impl Fn(&mut R) -> Result<(), ApiError> + Send + Sync,
) -> Result<R, ApiError> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(ids::jitter(MAX_WAIT.min(Duration::from_millis(1 << attempt.min(16))))).await;
        }
        let stored = R::read(call).await?;
        let mut changed = stored.clone();
        change(&mut changed)?;
        if changed == stored {
            return Ok(stored);
        }
        match changed.replace(call).await {
            Ok(()) => return Ok(changed),
            // If it is gone, reading it again says so in the right words.
            Err(StoreError::Conflict | StoreError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

impl Record for Service {
    async fn read(call: &Call) -> Result<Self, ApiError> {
        call.service().await
    }

    async fn replace(&mut self, call: &Call) -> Result<(), StoreError> {
        let Configuration { reachability_enabled, disabled_at, .. } = self.configuration;
        if let (true, Some(disabled_at)) = (reachability_enabled, disabled_at) {
            // Until everybody knows that it was off. Whoever missed that would take the events of this time around for
            // those of the last.
            let off_at_least = call.app.off_at_least;
            let rest = disabled_at.plus(off_at_least).since((call.app.clock)()).min(off_at_least);
            if !rest.is_zero() {
                sleep(rest).await;
            }
        }
        self.date_updated = (call.app.clock)();
        call.app.store.replace_service(self).await
    }
}

impl Record for User {
    async fn read(call: &Call) -> Result<Self, ApiError> {
        call.user(&call.service().await?).await
    }

    async fn replace(&mut self, call: &Call) -> Result<(), StoreError> {
        self.date_updated = (call.app.clock)();
        call.app.store.replace_user(self).await
    }
}

impl Record for AccountSettings {
    async fn read(call: &Call) -> Result<Self, ApiError> {
        Ok(call.app.store.account().await?)
    }

    async fn replace(&mut self, call: &Call) -> Result<(), StoreError> {
        call.app.store.replace_account(self).await
    }
}

impl Record for Credential {
    async fn read(call: &Call) -> Result<Self, ApiError> {
        call.credential().await
    }

    async fn replace(&mut self, call: &Call) -> Result<(), StoreError> {
        self.date_updated = (call.app.clock)();
        call.app.store.replace_credential(self).await
    }
}
