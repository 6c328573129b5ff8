//! A circuit breaker: who has failed again and again is left alone for a while, and then tried with one request first.

use std::time::Duration;

use crate::time::Timestamp;

/// How many failures in a row open it.
const FAILURES: u32 = 5;

/// For how long it is open the first time. Each time it opens again without a success in between, twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// For how long it is open at most, unless it was asked for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// For how long it is open at most.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// For how long a trial may go on before another one is made: whoever made it may be gone.
const TRIAL: Duration = Duration::from_secs(30);

/// Stands before one provider, for one credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Failures since the last success, while it was closed.
    failures: u32,
    /// How often it has opened since then.
    openings: u32,
    /// `None`: closed, requests go through.
    open_until: Option<Timestamp>,
    /// A request is on its way that decides.
    is_tried: bool,
}

impl Breaker {
    /// Whether a request may go through. The first one after a pause may, and is a trial: others wait for how it ends.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.open_until {
            None => Ok(()),
            Some(until) if now < until => Err(until.since(now)),
            Some(_) => {
                self.open_until = Some(now.plus(TRIAL));
                self.is_tried = true;
                Ok(())
            }
        }
    }

    /// A request was answered.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A request failed. If the provider has asked for a pause, it gets that at once.
    pub fn failed(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        // What was sent before it opened may still fail. That is no reason to be open for another time around.
        let is_open = self.open_until.is_some_and(|until| now < until) && !self.is_tried;
        if is_open {
            let asked = retry_after.map(|asked| now.plus(asked.min(LONGEST_ASKED)));
            self.open_until = self.open_until.max(asked);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES && retry_after.is_none() && !self.is_tried {
            return;
        }
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * (1 << self.openings.min(16)));
        let pause = retry_after.map_or(pause, |asked| asked.min(LONGEST_ASKED).max(pause));
        self.openings = self.openings.saturating_add(1);
        (self.open_until, self.is_tried) = (Some(now.plus(pause)), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn later(millis: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(millis))
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            breaker.failed(None, NOW);
            assert_eq!(breaker.admit(NOW), Ok(()));
        }
        breaker.succeeded();
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(NOW), Ok(()));
            breaker.failed(None, NOW);
        }
        assert_eq!(breaker.admit(NOW), Err(Duration::from_secs(1)));
        // Those that were under way when it opened.
        for _ in 0..20 {
            breaker.failed(None, later(10));
        }
        assert_eq!(breaker.admit(later(999)), Err(Duration::from_millis(1)));
        // One trial.
        assert_eq!(breaker.admit(later(1_000)), Ok(()));
        assert!(breaker.admit(later(1_001)).is_err());
        breaker.failed(None, later(1_100));
        assert!(breaker.admit(later(3_000)).is_err(), "twice as long");
        assert_eq!(breaker.admit(later(3_100)), Ok(()));
        // A trial that nobody hears of again is not the end.
        assert!(breaker.admit(later(33_000)).is_err());
        assert_eq!(breaker.admit(later(33_100)), Ok(()));
        breaker.succeeded();
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_pause_that_is_asked_for_is_granted() {
        let mut breaker = Breaker::default();
        breaker.failed(Some(Duration::from_secs(90)), NOW);
        assert_eq!(breaker.admit(NOW), Err(Duration::from_secs(90)));
        breaker.failed(None, later(10));
        assert_eq!(breaker.admit(NOW), Err(Duration::from_secs(90)), "not shortened");
        breaker.failed(Some(Duration::from_secs(86_400)), NOW);
        assert_eq!(breaker.admit(NOW), Err(LONGEST_ASKED), "not without end");
    }
}
