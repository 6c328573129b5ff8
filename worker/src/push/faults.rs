//! What goes wrong with pushes, in the log: one line an hour for each credential and reason, however many devices have it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::reason::Reason;
use reachability_domain::sid::CredentialSid;
use reachability_domain::time::Timestamp;
use tracing::warn;

/// How long after a line further faults are only counted.
const QUIET: Duration = Duration::from_secs(3_600);

/// Maximum number of credentials and reasons that are remembered. When it is reached, all are forgotten.
const MAX_KNOWN: usize = 10_000;

/// Logs the faults of pushes.
#[derive(Default)]
pub(super) struct Faults(Mutex<HashMap<(CredentialSid, Reason), Fault>>);

struct Fault {
    logged_at: Timestamp,
    /// How many there were since.
    count: u64,
}

impl Faults {
    /// Logs the outcome of a push if it is a fault and the hour is over.
    pub(super) fn note(&self, credential: CredentialSid, outcome: &PushOutcome, now: Timestamp) {
        let reason = match outcome {
            PushOutcome::Accepted { .. } => return,
            PushOutcome::Rejected(rejection) => &rejection.reason,
            PushOutcome::Unavailable { reason, .. } => reason,
        };
        if let Some(pushes) = self.count(credential, reason, now) {
            warn!(credential.sid = %credential, %reason, pushes, "pushes have failed");
        }
    }

    /// Counts a fault. Returns how many there were since the last line, if there is to be a line.
    fn count(&self, credential: CredentialSid, reason: &Reason, now: Timestamp) -> Option<u64> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let fault = known.entry((credential, reason.clone()));
        let fault = fault.or_insert(Fault { logged_at: Timestamp::MIN, count: 0 });
        fault.count += 1;
        // The clock may have been set back.
        if fault.logged_at <= now && now.since(fault.logged_at) < QUIET {
            return None;
        }
        fault.logged_at = now;
        Some(std::mem::take(&mut fault.count))
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::sid::Sid;

    use super::*;

    #[test]
    fn there_is_a_line_an_hour_for_each_credential_and_reason() {
        let faults = Faults::default();
        let (one, two) = (CredentialSid::from_bits(1), CredentialSid::from_bits(2));
        let count = |credential, reason, seconds: i64| {
            faults.count(credential, &Reason::new(reason), Timestamp::from_millis(1_795_132_800_000 + seconds * 1_000))
        };
        assert_eq!(count(one, "TimedOut", 0), Some(1));
        for second in 1..=100 {
            assert_eq!(count(one, "TimedOut", second), None);
        }
        assert_eq!(count(one, "QUOTA_EXCEEDED", 101), Some(1), "another reason");
        assert_eq!(count(two, "TimedOut", 102), Some(1), "another credential");
        assert_eq!(count(one, "TimedOut", 3_600), Some(101));
        assert_eq!(count(one, "TimedOut", 7_000), None);
        assert_eq!(count(one, "TimedOut", 0), Some(2), "the clock was set back");
    }
}
