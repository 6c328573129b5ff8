//! A breaker for each URL.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reachability_domain::breaker::{Breaker, Heard, Held, Turn};
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::target::WebhookTarget;
use tracing::{info, warn};

/// Maximum number of breakers. When it is reached, those without recent failures are dropped.
const MAX_KNOWN: usize = 10_000;

/// The breakers, by URL.
#[derive(Default)]
pub(super) struct Breakers(Mutex<HashMap<String, Breaker>>);

impl Breakers {
    /// Whether a request may pass.
    pub(super) fn admit(&self, target: &WebhookTarget, now: Timestamp) -> Result<(), Held> {
        let mut known = self.known();
        let Some(breaker) = known.get_mut(&target.url) else { return Ok(()) };
        let admitted = breaker.admit(now);
        if admitted.is_err() {
            tell(target, breaker.begin(now), now);
        }
        admitted
    }

    /// Records what a request said. A webhook that failed before may be one that its receiver never takes. While others are
    /// sent, its failure says nothing of them: otherwise some users' webhooks, tried again and again, would hold back all.
    pub(super) fn heard(&self, target: &WebhookTarget, heard: Heard<'_>, is_repeated: bool, now: Timestamp) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN && !known.contains_key(&target.url) {
            known.retain(|_, breaker| breaker.is_in_trouble());
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
        }
        let breaker = known.entry(target.url.clone()).or_default();
        if is_repeated && !breaker.is_open() && heard != Heard::Answer {
            return;
        }
        tell(target, breaker.heard(heard, now), now);
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.known().values().filter(|breaker| breaker.is_open()).count()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs an outage. The breaker is still locked, so the end is logged after the beginning. The rest of a URL may be secret.
fn tell(target: &WebhookTarget, turn: Option<Turn>, now: Timestamp) {
    let host = target.host();
    match turn {
        Some(Turn::Begins { outage, cause }) => {
            warn!(host, reason = %outage.reason, error = cause.as_deref(), "a receiver of webhooks is unavailable");
        }
        Some(Turn::Ends { outage, attempts }) => {
            let seconds = now.since(outage.since).as_secs();
            info!(host, reason = %outage.reason, seconds, failed_attempts = attempts, "a receiver of webhooks is available again");
        }
        None => {}
    }
}
