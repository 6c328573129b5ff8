//! Outages: periods in which a provider is unreachable.

use serde::{Deserialize, Serialize};

use crate::push::reason::Reason;
use crate::time::Timestamp;

/// A period in which a provider is unreachable or busy with a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The reason, as one word.
    pub reason: Reason,
    /// When it began.
    pub since: Timestamp,
}

impl Outage {
    /// Merges this outage with the stored one. Several processes may find the same outage: the stored start is kept,
    /// and nothing changes if the reason is the same.
    #[must_use]
    pub fn after(self, known: Option<&Self>) -> Self {
        Self { since: known.map_or(self.since, |known| known.since), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_keeps_its_first_start() {
        let outage =
            |reason: &str, millis| Outage { reason: Reason::new(reason), since: Timestamp::from_millis(millis) };
        for (known, after) in [
            (None, outage("TimedOut", 5)),
            (Some(outage("TimedOut", 3)), outage("TimedOut", 3)),
            (Some(outage("TimedOut", 7)), outage("TimedOut", 7)),
            (Some(outage("NotConnected", 3)), outage("TimedOut", 3)),
        ] {
            assert_eq!(outage("TimedOut", 5).after(known.as_ref()), after, "{known:?}");
        }
    }
}
