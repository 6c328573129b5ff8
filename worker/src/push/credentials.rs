//! Credentials, as they were a moment ago, and what providers say of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::push::credential::{Credential, Health};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::{Fault, PushOutcome};
use reachability_domain::push::ports::Credentials;
use reachability_domain::push::provider::PushProvider;
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
    provider: Arc<dyn PushProvider>,
    metrics: Arc<dyn Metrics>,
    known: Mutex<HashMap<CredentialSid, (Timestamp, Credential)>>,
    /// The outages that this process has written down. It does so once for each, and again only for another reason: if
    /// another process can reach the provider and writes that, they do not overwrite each other in turns.
    told: Mutex<HashMap<CredentialSid, Outage>>,
    /// Held by the one who writes down what is new, so that an outage's end is written after its beginning.
    writing: futures_util::lock::Mutex<()>,
}

impl CachedCredentials {
    pub(super) fn new(store: Arc<dyn Credentials>, provider: Arc<dyn PushProvider>, metrics: Arc<dyn Metrics>) -> Self {
        let (known, told, writing) = (Mutex::default(), Mutex::default(), futures_util::lock::Mutex::default());
        Self { store, provider, metrics, known, told, writing }
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

    /// Keeps what a push says of the credential that it was sent with: what the provider thinks of it, and whether it can
    /// be reached.
    pub(super) async fn learn(
        &self,
        used: &Credential,
        outcome: &PushOutcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if matches!(outcome, PushOutcome::Rejected(rejection) if rejection.fault == Fault::Credential) {
            self.metrics.count(Counter::CredentialsRejected);
        }
        if !self.is_news(used, outcome, now) {
            return Ok(());
        }
        let _writing = self.writing.lock().await;
        // Whoever held it before may have written the same.
        let Some(known) = self.get(used.sid, now).await? else { return Ok(()) };
        if !known.is_used_like(used) || !self.is_news(&known, outcome, now) {
            return Ok(());
        }
        let written = self.write(used, outcome, now).await;
        if !matches!(written, Ok(true)) {
            // Somebody else has just written it, or the store does not work. The next push will do.
            self.told().remove(&used.sid);
        }
        written.map(drop)
    }

    /// Whether there is something to write. Nearly always there is not.
    fn is_news(&self, credential: &Credential, outcome: &PushOutcome, now: Timestamp) -> bool {
        let outage = self.provider.outage(credential);
        credential.health.after(outcome, now).is_some()
            || outage.as_ref() != self.told().get(&credential.sid)
            // Found by another process, or by this one before it was started again.
            || (outage.is_none() && credential.outage.is_some())
    }

    /// Writes down what is new. Returns whether it is stored.
    async fn write(&self, used: &Credential, outcome: &PushOutcome, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.store.credential(used.sid).await? else { return Ok(true) };
            // What was said of one that has been replaced says nothing of the next.
            if !stored.is_used_like(used) {
                self.remember(used.sid, Some(&stored), now);
                return Ok(true);
            }
            let outage = self.provider.outage(used);
            let was_told = self.tell(used.sid, outage.as_ref());
            let mut next = stored.clone();
            next.health = stored.health.after(outcome, now).unwrap_or(next.health);
            next.outage = match outage.clone() {
                Some(_) if was_told => next.outage,
                outage => outage.map(|outage| outage.after(stored.outage.as_ref())),
            };
            let replaced = if next == stored { Ok(()) } else { self.store.replace_credential(&next).await };
            match replaced {
                Ok(()) => {
                    if next != stored {
                        next.version += 1;
                    }
                    self.remember(used.sid, Some(&next), now);
                    if next.health != stored.health {
                        log(&next);
                    }
                    // It may have ended while its beginning was written, and whoever found that out before it was told
                    // of has seen no news.
                    if self.provider.outage(used) == outage {
                        return Ok(true);
                    }
                }
                Err(StoreError::Conflict | StoreError::Missing) if was_told => {}
                Err(StoreError::Conflict | StoreError::Missing) => drop(self.told().remove(&used.sid)),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Notes that an outage, or that there is none, is being written down. Returns whether it was noted before.
    fn tell(&self, sid: CredentialSid, outage: Option<&Outage>) -> bool {
        let mut told = self.told();
        if told.get(&sid) == outage {
            return true;
        }
        if told.len() >= MAX_KNOWN {
            told.clear();
        }
        match outage {
            Some(outage) => drop(told.insert(sid, outage.clone())),
            None => drop(told.remove(&sid)),
        }
        false
    }

    fn told(&self) -> MutexGuard<'_, HashMap<CredentialSid, Outage>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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

fn log(credential: &Credential) {
    match &credential.health {
        Health::Rejected { reason, .. } => warn!(credential.sid = %credential.sid, %reason, "a credential is rejected"),
        Health::Accepted => info!(credential.sid = %credential.sid, "a credential is accepted"),
        Health::Unproven => {}
    }
}
