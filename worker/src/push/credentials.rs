//! Credentials, as they were a moment ago, and what providers say of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::push::credential::Credential;
use reachability_domain::push::ports::Credentials;
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::CredentialSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use tracing::{info, warn};

/// How old a credential may be, so that it is not read for every device.
const MAX_AGE: Duration = Duration::from_secs(3);

/// How many are remembered at most. Beyond that all are read again.
const MAX_KNOWN: usize = 1_000;

/// How often it is tried to keep what a provider says when others write the credential too.
const ATTEMPTS: u32 = 8;

/// Reads credentials, and remembers them for a moment.
pub(super) struct CachedCredentials {
    store: Arc<dyn Credentials>,
    metrics: Arc<dyn Metrics>,
    known: Mutex<HashMap<CredentialSid, (Timestamp, Credential)>>,
}

impl CachedCredentials {
    pub(super) fn new(store: Arc<dyn Credentials>, metrics: Arc<dyn Metrics>) -> Self {
        Self { store, metrics, known: Mutex::default() }
    }

    /// A credential as it was no longer ago than that; `None` if there is none.
    pub(super) async fn get(&self, sid: CredentialSid, now: Timestamp) -> Result<Option<Credential>, StoreError> {
        if let Some((read_at, credential)) = self.known().get(&sid)
            // The clock may have been set back.
            && *read_at <= now
            && now < read_at.plus(MAX_AGE)
        {
            return Ok(Some(credential.clone()));
        }
        let credential = self.store.credential(sid).await?;
        self.remember(sid, credential.as_ref(), now);
        Ok(credential)
    }

    /// A provider took something that was sent with it.
    pub(super) async fn accepted(&self, credential: &Credential, now: Timestamp) -> Result<(), StoreError> {
        self.keep_health(credential, None, now).await
    }

    /// A provider did not take it.
    pub(super) async fn rejected(
        &self,
        credential: &Credential,
        reason: &Reason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.metrics.count(Counter::CredentialsRejected);
        self.keep_health(credential, Some(reason), now).await
    }

    async fn keep_health(
        &self,
        used: &Credential,
        rejected: Option<&Reason>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Nearly always there is nothing new.
        if used.health.after(rejected, now).is_none() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let Some(mut credential) = self.store.credential(used.sid).await? else { return Ok(()) };
            // What was said of one that has been replaced says nothing of the next.
            let is_same = credential.is_used_like(used);
            let health = credential.health.after(rejected, now).filter(|_| is_same);
            let Some(health) = health else {
                self.remember(used.sid, Some(&credential), now);
                return Ok(());
            };
            credential.health = health;
            match self.store.replace_credential(&credential).await {
                Ok(()) => {
                    credential.version += 1;
                    self.remember(used.sid, Some(&credential), now);
                    match rejected {
                        Some(reason) => warn!(credential.sid = %used.sid, %reason, "a credential is rejected"),
                        None => info!(credential.sid = %used.sid, "a credential is accepted"),
                    }
                    return Ok(());
                }
                Err(StoreError::Conflict | StoreError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        // Somebody else has just written what a provider said. The next answer will do.
        Ok(())
    }

    fn remember(&self, sid: CredentialSid, credential: Option<&Credential>, now: Timestamp) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        match credential {
            Some(credential) => drop(known.insert(sid, (now, credential.clone()))),
            None => drop(known.remove(&sid)),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<CredentialSid, (Timestamp, Credential)>> {
        // Nothing panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
