//! Times in which a provider cannot be reached.

use serde::{Deserialize, Serialize};

use crate::push::reason::Reason;
use crate::time::Timestamp;

/// A time in which a provider cannot be reached with a credential, or is busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Why, in a word.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
}

impl Outage {
    /// What is stored of it, given what is stored already. Several processes may find the same outage: it lasts since the
    /// first of them has said so, and is not written again for a reason that is known.
    #[must_use]
    pub fn after(self, known: Option<&Self>) -> Self {
        Self { since: known.map_or(self.since, |known| known.since), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_since_it_was_first_found() {
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
