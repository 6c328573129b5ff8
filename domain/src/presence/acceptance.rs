//! In which generation of a service's reachability an event was accepted.
//!
//! An event belongs to the generation in which it was accepted, however long it waits in the queue. So the HTTP function
//! stamps it. An event that a gateway sent straight to the queue has no stamp: its time in the queue decides.

use std::time::Duration;

use crate::directory::configuration::{Configuration, Generation};
use crate::time::Timestamp;

/// The service's reachability when an event was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acceptance {
    /// It was off.
    Off,
    /// It was on, in this generation.
    In(Generation),
}

impl Acceptance {
    /// By how much the clocks of the queue and of the process that switches reachability may differ.
    const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(3);

    /// What an event gets that is accepted now.
    pub fn now(configuration: &Configuration) -> Self {
        if configuration.reachability_enabled { Self::In(configuration.generation) } else { Self::Off }
    }

    /// What an event without a stamp gets, from when the queue accepted it (`None` if the queue does not say: then as if
    /// it were now). An event from before the latest switch-on belongs to no generation that can still be seen.
    pub fn by_time(configuration: &Configuration, sent_at: Option<Timestamp>) -> Self {
        let Some(sent_at) = sent_at else { return Self::now(configuration) };
        let is_since = configuration.enabled_at.is_none_or(|at| at <= sent_at.plus(Self::CLOCKS_DIFFER_BY));
        // If it is off by now, it was on until then.
        let is_until = configuration.reachability_enabled || configuration.disabled_at.is_some_and(|at| sent_at < at);
        let was_ever_on = configuration.generation > Generation::default();
        if was_ever_on && is_since && is_until { Self::In(configuration.generation) } else { Self::Off }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_132_800_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW + seconds * 1_000)
    }

    #[test]
    fn an_event_belongs_to_the_generation_of_its_time() {
        let mut configuration = Configuration::default();
        assert_eq!(Acceptance::now(&configuration), Acceptance::Off);
        assert_eq!(Acceptance::by_time(&configuration, Some(at(0))), Acceptance::Off);
        assert_eq!(Acceptance::by_time(&configuration, None), Acceptance::Off);

        configuration.set_reachability_enabled(true, at(0));
        let first = Acceptance::In(Generation(1));
        assert_eq!(Acceptance::now(&configuration), first);
        for (sent, expected) in [(-4, Acceptance::Off), (-3, first), (0, first), (60, first)] {
            assert_eq!(Acceptance::by_time(&configuration, Some(at(sent))), expected, "{sent}");
        }
        assert_eq!(Acceptance::by_time(&configuration, None), first);

        configuration.set_reachability_enabled(false, at(100));
        assert_eq!(Acceptance::now(&configuration), Acceptance::Off);
        for (sent, expected) in [(-4, Acceptance::Off), (60, first), (100, Acceptance::Off), (101, Acceptance::Off)] {
            assert_eq!(Acceptance::by_time(&configuration, Some(at(sent))), expected, "{sent}");
        }

        configuration.set_reachability_enabled(true, at(200));
        for (sent, expected) in [(60, Acceptance::Off), (150, Acceptance::Off), (200, Acceptance::In(Generation(2)))] {
            assert_eq!(Acceptance::by_time(&configuration, Some(at(sent))), expected, "{sent}");
        }
    }

    #[test]
    fn a_service_that_an_earlier_version_switched_on_has_no_time() {
        let configuration =
            Configuration { reachability_enabled: true, generation: Generation(3), ..Configuration::default() };
        assert_eq!(Acceptance::by_time(&configuration, Some(at(0))), Acceptance::In(Generation(3)));
    }
}
