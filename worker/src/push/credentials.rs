//! A cache of credentials, and the recording of what providers say about them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::credential::{Credential, Health, Validity};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::{Fault, PushOutcome};
use reachability_domain::push::ports::Credentials;
use reachability_domain::push::provider::PushProvider;
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::CredentialSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use tracing::{error, info, warn};

/// How long a credential is cached, so that it is not read for every device.
const MAX_AGE: Duration = Duration::from_secs(3);

/// How often a rejected credential is tried with a notification.
const TRIAL_EVERY: Duration = Duration::from_secs(60);

/// Maximum number of cached credentials. When it is reached, the cache is cleared.
const MAX_KNOWN: usize = 1_000;

/// How many credentials are read at once.
const PAGE: usize = 100;

/// How many attempts are made to record an answer when other processes write the same credential.
const ATTEMPTS: u32 = 8;

/// Reads credentials and caches them for a moment.
pub(super) struct CachedCredentials {
    store: Arc<dyn Credentials>,
    provider: Arc<dyn PushProvider>,
    metrics: Arc<dyn Metrics>,
    known: Mutex<HashMap<CredentialSid, (Timestamp, Credential)>>,
    /// The outages that this process has recorded. It records each outage once, and again only if the reason changes.
    /// Otherwise a process that can reach the provider and one that cannot would overwrite each other repeatedly.
    recorded: Mutex<HashMap<CredentialSid, Outage>>,
    /// When this process last tried a rejected credential.
    tried: Mutex<HashMap<CredentialSid, Timestamp>>,
    /// Held while recording, so that the end of an outage is written after its beginning.
    writing: futures_util::lock::Mutex<()>,
}

impl CachedCredentials {
    pub(super) fn new(store: Arc<dyn Credentials>, provider: Arc<dyn PushProvider>, metrics: Arc<dyn Metrics>) -> Self {
        let (known, recorded, tried) = (Mutex::default(), Mutex::default(), Mutex::default());
        let writing = futures_util::lock::Mutex::default();
        Self { store, provider, metrics, known, recorded, tried, writing }
    }

    /// Why a notification is not sent with this credential now: the provider rejects it, and it was tried a moment ago.
    /// `None` if it may be sent, perhaps as the next trial.
    pub(super) fn held(&self, credential: &Credential, now: Timestamp) -> Option<Reason> {
        let Health::Rejected { reason, at } = &credential.health else { return None };
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.len() >= MAX_KNOWN {
            tried.clear();
        }
        let tried_at = tried.get(&credential.sid).copied().unwrap_or(*at);
        // The clock may have been set back.
        if tried_at <= now && now.since(tried_at) < TRIAL_EVERY {
            return Some(reason.clone());
        }
        tried.insert(credential.sid, now);
        None
    }

    /// Logs and counts the certificates that expire soon or have expired. This is called once a day.
    pub(super) async fn look_at_certificates(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut position = Cursor::Start;
        loop {
            let page = self.store.credentials(PageRequest { position, limit: PAGE }).await?;
            for credential in &page.items {
                let expires_at = credential.method.expires_at().map(|at| at.to_string());
                match credential.validity(now) {
                    None | Some(Validity::Valid) => continue,
                    Some(Validity::ExpiresSoon) => {
                        warn!(credential.sid = %credential.sid, expires_at, "a push certificate expires soon: upload another");
                    }
                    Some(Validity::Expired) => {
                        error!(credential.sid = %credential.sid, expires_at, "a push certificate has expired: nothing is sent with it");
                    }
                }
                self.metrics.count(Counter::CertificatesExpiring);
            }
            match page.items.last().filter(|_| page.more) {
                Some(last) => position = Cursor::After(last.sid),
                None => return Ok(()),
            }
        }
    }

    /// A credential, at most [`MAX_AGE`] old; `None` if it does not exist.
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

    /// Records what the outcome of a push says about its credential: whether the provider accepts it, and whether the
    /// provider is reachable.
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
        // The previous holder of the lock may have recorded the same.
        let Some(known) = self.get(used.sid, now).await? else { return Ok(()) };
        if !known.is_used_like(used) || !self.is_news(&known, outcome, now) {
            return Ok(());
        }
        let written = self.write(used, outcome, now).await;
        if !matches!(written, Ok(true)) {
            // Another process wrote it first, or the store failed. The next push will record it.
            self.recorded().remove(&used.sid);
        }
        written.map(drop)
    }

    /// Whether there is something to record. Usually there is not.
    fn is_news(&self, credential: &Credential, outcome: &PushOutcome, now: Timestamp) -> bool {
        let outage = self.provider.outage(credential);
        credential.health.after(outcome, now).is_some()
            || outage.as_ref() != self.recorded().get(&credential.sid)
            // Recorded by another process, or by this one before a restart.
            || (outage.is_none() && credential.outage.is_some())
    }

    /// Records the news. Returns whether it is stored.
    async fn write(&self, used: &Credential, outcome: &PushOutcome, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.store.credential(used.sid).await? else { return Ok(true) };
            // An answer about a replaced credential does not apply to the new one.
            if !stored.is_used_like(used) {
                self.remember(used.sid, Some(&stored), now);
                return Ok(true);
            }
            let outage = self.provider.outage(used);
            let was_noted = self.note(used.sid, outage.as_ref());
            let mut next = stored.clone();
            next.health = stored.health.after(outcome, now).unwrap_or(next.health);
            next.outage = match outage.clone() {
                Some(_) if was_noted => next.outage,
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
                    // The outage may have ended during this write. A push that saw the end before the outage was noted
                    // in `recorded` had no news to record, so it is recorded here.
                    if self.provider.outage(used) == outage {
                        return Ok(true);
                    }
                }
                Err(StoreError::Conflict | StoreError::Missing) if was_noted => {}
                Err(StoreError::Conflict | StoreError::Missing) => drop(self.recorded().remove(&used.sid)),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Notes that this outage, or its end, is being recorded. Returns whether that was already noted.
    fn note(&self, sid: CredentialSid, outage: Option<&Outage>) -> bool {
        let mut recorded = self.recorded();
        if recorded.get(&sid) == outage {
            return true;
        }
        if recorded.len() >= MAX_KNOWN {
            recorded.clear();
        }
        match outage {
            Some(outage) => drop(recorded.insert(sid, outage.clone())),
            None => drop(recorded.remove(&sid)),
        }
        false
    }

    fn recorded(&self) -> MutexGuard<'_, HashMap<CredentialSid, Outage>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
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
        // No code panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(credential: &Credential) {
    match &credential.health {
        Health::Rejected { reason, .. } => warn!(credential.sid = %credential.sid, %reason, "a credential is rejected"),
        Health::Mismatched { reason, .. } => {
            warn!(credential.sid = %credential.sid, %reason, "no device fits a credential: its environment or app may be wrong");
        }
        Health::Accepted => info!(credential.sid = %credential.sid, "a credential is accepted"),
        Health::Unproven => {}
    }
}
