//! A circuit breaker: who has failed again and again is left alone for a while, and then tried with one request first.
//!
//! It also says when an outage begins and when it ends, each once, however many requests fail in between.

use std::time::Duration;

use crate::push::outage::Outage;
use crate::push::outcome::PushOutcome;
use crate::push::reason::Reason;
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

/// A failure is an outage if nothing was answered for this long before it. A failure has outlived the client's own retries,
/// so the first one counts where there is little traffic: the next attempt may be minutes away. Where answers keep coming,
/// single failures are none, and of a provider that answers every other request an outage is told every few seconds at
/// most. Shorter than the first wait before a push is tried again, so that a push that fails twice is always told of.
const SILENCE: Duration = Duration::from_secs(5);

/// Stands before one provider, for one credential.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    /// When a request was last answered; `None`: never.
    answered_at: Option<Timestamp>,
    /// `None`: the last request was answered.
    trouble: Option<Trouble>,
}

/// Failures since the last answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    /// While it was closed.
    failures: u32,
    /// How often it has opened.
    openings: u32,
    /// `None`: closed, requests go through.
    open_until: Option<Timestamp>,
    /// A request is on its way that decides.
    is_tried: bool,
    /// All requests that have failed, those among them that were under way when it opened.
    attempts: u64,
    /// Since the first of them, and why: the reason of the last one that counts, so while it is open, why it opened.
    outage: Outage,
    /// The same at length.
    cause: Option<Box<str>>,
    /// Whether it is an outage, and has been told of.
    is_outage: bool,
}

/// A request must wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// For how long.
    pub wait: Duration,
    /// Why the breaker opened.
    pub reason: Reason,
}

/// What is to be told of an outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It begins.
    Begins {
        /// Why, and since when.
        outage: Outage,
        /// Why, at length.
        cause: Option<Box<str>>,
    },
    /// It is over.
    Ends {
        /// Why it was, and since when.
        outage: Outage,
        /// How many requests failed in it.
        attempts: u64,
    },
}

impl Breaker {
    /// Whether a request may go through. The first one after a pause may, and is a trial: others wait for how it ends.
    ///
    /// # Errors
    /// If it must wait.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Held> {
        let Some(trouble) = &mut self.trouble else { return Ok(()) };
        match trouble.open_until {
            None => Ok(()),
            Some(until) if now < until => Err(Held { wait: until.since(now), reason: trouble.outage.reason.clone() }),
            Some(_) => {
                trouble.open_until = Some(now.plus(TRIAL));
                trouble.is_tried = true;
                Ok(())
            }
        }
    }

    /// A request has come to this.
    pub fn heard(&mut self, outcome: &PushOutcome, now: Timestamp) -> Option<Turn> {
        match outcome {
            PushOutcome::Unavailable { reason, retry_after, cause } if !outcome.is_answer() => {
                self.failed(reason, *retry_after, cause.as_deref(), now);
                self.begin(now)
            }
            _ => {
                self.answered_at = Some(now);
                let over = self.trouble.take().filter(|trouble| trouble.is_outage)?;
                Some(Turn::Ends { outage: over.outage, attempts: over.attempts })
            }
        }
    }

    /// Whether an outage begins now: after a failure, or while requests are held back. It says so once.
    pub fn begin(&mut self, now: Timestamp) -> Option<Turn> {
        // The clock may have been set back.
        let is_silent = self.answered_at.is_none_or(|at| now < at || at.plus(SILENCE) <= now);
        let trouble = self.trouble.as_mut().filter(|trouble| is_silent && !trouble.is_outage)?;
        trouble.is_outage = true;
        Some(Turn::Begins { outage: trouble.outage.clone(), cause: trouble.cause.clone() })
    }

    /// The outage that there is.
    pub fn outage(&self) -> Option<&Outage> {
        self.trouble.as_ref().filter(|trouble| trouble.is_outage).map(|trouble| &trouble.outage)
    }

    /// Whether anything has failed since the last answer.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// A request failed. If the provider has asked for a pause, it gets that at once.
    fn failed(&mut self, reason: &Reason, retry_after: Option<Duration>, cause: Option<&str>, now: Timestamp) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            failures: 0,
            openings: 0,
            open_until: None,
            is_tried: false,
            attempts: 0,
            outage: Outage { reason: reason.clone(), since: now },
            cause: None,
            is_outage: false,
        });
        trouble.attempts = trouble.attempts.saturating_add(1);
        // What was sent before it opened may still fail. That is no reason to be open for another time around.
        let is_open = trouble.open_until.is_some_and(|until| now < until) && !trouble.is_tried;
        if is_open {
            let asked = retry_after.map(|asked| now.plus(asked.min(LONGEST_ASKED)));
            trouble.open_until = trouble.open_until.max(asked);
            return;
        }
        trouble.outage.reason = reason.clone();
        trouble.cause = cause.map(Into::into);
        trouble.failures = trouble.failures.saturating_add(1);
        if trouble.failures < FAILURES && retry_after.is_none() && !trouble.is_tried {
            return;
        }
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * (1 << trouble.openings.min(16)));
        let pause = retry_after.map_or(pause, |asked| asked.min(LONGEST_ASKED).max(pause));
        trouble.openings = trouble.openings.saturating_add(1);
        (trouble.open_until, trouble.is_tried) = (Some(now.plus(pause)), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::outcome::Fault;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn later(millis: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(millis))
    }

    fn failed(reason: &str) -> PushOutcome {
        let cause = Some(format!("what there is to say of {reason}").into());
        PushOutcome::Unavailable { reason: Reason::new(reason), retry_after: None, cause }
    }

    fn accepted() -> PushOutcome {
        PushOutcome::Accepted { id: None }
    }

    fn wait(breaker: &mut Breaker, now: Timestamp) -> Option<Duration> {
        breaker.admit(now).err().map(|held| held.wait)
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            breaker.heard(&failed("NotConnected"), NOW);
            assert_eq!(wait(&mut breaker, NOW), None);
        }
        breaker.heard(&accepted(), NOW);
        for _ in 0..FAILURES {
            assert_eq!(wait(&mut breaker, NOW), None);
            breaker.heard(&failed("NotConnected"), NOW);
        }
        assert_eq!(wait(&mut breaker, NOW), Some(Duration::from_secs(1)));
        // Those that were under way when it opened.
        for _ in 0..20 {
            breaker.heard(&failed("TimedOut"), later(10));
        }
        let held = Held { wait: Duration::from_millis(1), reason: Reason::new("NotConnected") };
        assert_eq!(breaker.admit(later(999)), Err(held), "why it opened");
        // One trial.
        assert_eq!(wait(&mut breaker, later(1_000)), None);
        assert!(wait(&mut breaker, later(1_001)).is_some());
        breaker.heard(&failed("CertificateRefused"), later(1_100));
        let held = Held { wait: Duration::from_millis(100), reason: Reason::new("CertificateRefused") };
        assert_eq!(breaker.admit(later(3_000)), Err(held), "twice as long");
        assert_eq!(wait(&mut breaker, later(3_100)), None);
        // A trial that nobody hears of again is not the end.
        assert!(wait(&mut breaker, later(33_000)).is_some());
        assert_eq!(wait(&mut breaker, later(33_100)), None);
        breaker.heard(&accepted(), later(33_200));
        assert_eq!(breaker, Breaker { answered_at: Some(later(33_200)), trouble: None });
    }

    #[test]
    fn a_pause_that_is_asked_for_is_granted() {
        let asks = |seconds| PushOutcome::unavailable("Shutdown", Some(Duration::from_secs(seconds)));
        let mut breaker = Breaker::default();
        breaker.heard(&asks(90), NOW);
        assert_eq!(wait(&mut breaker, NOW), Some(Duration::from_secs(90)));
        breaker.heard(&failed("TimedOut"), later(10));
        assert_eq!(wait(&mut breaker, NOW), Some(Duration::from_secs(90)), "not shortened");
        breaker.heard(&asks(86_400), NOW);
        assert_eq!(wait(&mut breaker, NOW), Some(LONGEST_ASKED), "not without end");
    }

    /// What happens to a breaker in a test.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Accepted,
        Refused,
        /// Too many for one device.
        Throttled,
        Fails(&'static str),
        /// Fails, and asks for a pause of so many seconds.
        Asks(&'static str, u64),
        /// Wants to go through, and may not.
        Held(&'static str),
    }

    impl Step {
        fn take(self, breaker: &mut Breaker, now: Timestamp) -> Option<Turn> {
            let outcome = match self {
                Self::Accepted => accepted(),
                Self::Refused => PushOutcome::rejected("BadTopic", Fault::Credential),
                Self::Throttled => PushOutcome::unavailable("TooManyRequests", Some(Duration::from_secs(60))),
                Self::Fails(reason) => failed(reason),
                Self::Asks(reason, seconds) => PushOutcome::unavailable(reason, Some(Duration::from_secs(seconds))),
                Self::Held(reason) => {
                    assert_eq!(breaker.admit(now).unwrap_err().reason.as_str(), reason);
                    return breaker.begin(now);
                }
            };
            breaker.heard(&outcome, now)
        }
    }

    /// What is told of an outage, each time with its reason and when it began; at its end also of how many failures.
    #[derive(Debug, PartialEq)]
    enum Told {
        Begins(&'static str, u64),
        Ends(&'static str, u64, u64),
    }

    /// What happens when, in milliseconds, and what is told of it.
    type Steps = Vec<(u64, Step, Option<Told>)>;

    #[test]
    fn an_outage_is_told_once_when_it_begins_and_once_when_it_ends() {
        use Step::{Accepted, Asks, Fails, Held, Refused, Throttled};
        use Told::{Begins, Ends};
        let many = || (0..1_000).map(|n| (200 + n, Fails("TimedOut"), None));
        let rows: Vec<(&str, Steps)> = vec![
            ("nothing but answers", vec![(0, Accepted, None), (1, Refused, None), (2, Throttled, None)]),
            (
                "the first failure, if nothing was ever answered",
                vec![
                    (0, Fails("NotConnected"), Some(Begins("NotConnected", 0))),
                    (9_000, Fails("NotConnected"), None),
                    (20_000, Accepted, Some(Ends("NotConnected", 0, 2))),
                    (20_001, Accepted, None),
                ],
            ),
            (
                "the first failure, if nothing was answered for long",
                vec![
                    (0, Accepted, None),
                    (60_000, Fails("TimedOut"), Some(Begins("TimedOut", 60_000))),
                    (70_000, Refused, Some(Ends("TimedOut", 60_000, 1))),
                ],
            ),
            (
                "one failure among answers",
                vec![(0, Accepted, None), (4_999, Fails("TimedOut"), None), (5_500, Accepted, None)],
            ),
            (
                "every other request fails",
                (0..100)
                    .map(|n| (n * 1_000, if n % 2 == 0 { Accepted } else { Fails("InternalServerError") }, None))
                    .collect(),
            ),
            (
                "thousands that were under way",
                [(0, Accepted, None)]
                    .into_iter()
                    .chain((0..5).map(|n| (100 + n, Fails("ConnectionLost"), None)))
                    .chain(many())
                    .chain([
                        (1_200, Held("TimedOut"), None),
                        (5_000, Fails("NotConnected"), Some(Begins("NotConnected", 100))),
                    ])
                    .chain((0..1_000).map(|n| (5_001 + n, Held("NotConnected"), None)))
                    .chain([(60_000, Refused, Some(Ends("NotConnected", 100, 1_006)))])
                    .collect(),
            ),
            (
                "a pause, right after an answer",
                vec![
                    (0, Accepted, None),
                    (1_000, Asks("QUOTA_EXCEEDED", 60), None),
                    (4_999, Held("QUOTA_EXCEEDED"), None),
                    (5_000, Held("QUOTA_EXCEEDED"), Some(Begins("QUOTA_EXCEEDED", 1_000))),
                    (5_001, Held("QUOTA_EXCEEDED"), None),
                    (61_000, Accepted, Some(Ends("QUOTA_EXCEEDED", 1_000, 1))),
                ],
            ),
            (
                "a pause, out of the blue",
                vec![
                    (0, Asks("ServiceUnavailable", 60), Some(Begins("ServiceUnavailable", 0))),
                    (1, Held("ServiceUnavailable"), None),
                    (2, Fails("ConnectionLost"), None),
                    (3, Held("ServiceUnavailable"), None),
                    (4, Throttled, Some(Ends("ServiceUnavailable", 0, 2))),
                ],
            ),
            (
                "one outage after another",
                vec![
                    (0, Fails("NotConnected"), Some(Begins("NotConnected", 0))),
                    (1_000, Accepted, Some(Ends("NotConnected", 0, 1))),
                    (2_000, Fails("NotConnected"), None),
                    (6_000, Fails("TlsFailed"), Some(Begins("TlsFailed", 2_000))),
                ],
            ),
        ];
        for (name, steps) in rows {
            let mut breaker = Breaker::default();
            for (n, (millis, step, expected)) in steps.into_iter().enumerate() {
                let turn = step.take(&mut breaker, later(millis));
                let expected = expected.map(|told| match told {
                    Begins(reason, since) => Turn::Begins {
                        outage: Outage { reason: Reason::new(reason), since: later(since) },
                        // What asks for a pause has answered: there is no more to say than its reason.
                        cause: matches!(step, Fails(_)).then(|| format!("what there is to say of {reason}").into()),
                    },
                    Ends(reason, since, attempts) => {
                        Turn::Ends { outage: Outage { reason: Reason::new(reason), since: later(since) }, attempts }
                    }
                });
                assert_eq!(turn, expected, "{name}, step {n}: {step:?}");
                let outage = breaker.outage().cloned();
                match &turn {
                    Some(Turn::Begins { outage: begun, .. }) => assert_eq!(outage.as_ref(), Some(begun), "{name}"),
                    Some(Turn::Ends { .. }) => assert_eq!(outage, None, "{name}"),
                    None => {}
                }
            }
        }
    }

    #[test]
    fn an_outage_has_the_reason_of_the_last_failure_that_counts() {
        let mut breaker = Breaker::default();
        breaker.heard(&failed("NotConnected"), NOW);
        for (millis, reason) in [(10_000, "CertificateRefused"), (20_000, "TimedOut")] {
            assert_eq!(breaker.heard(&failed(reason), later(millis)), None, "it is the same outage");
            assert_eq!(breaker.outage(), Some(&Outage { reason: Reason::new(reason), since: NOW }));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_hides_no_outage() {
        let mut breaker = Breaker::default();
        breaker.heard(&accepted(), later(3_600_000));
        assert!(matches!(breaker.heard(&failed("NotConnected"), NOW), Some(Turn::Begins { .. })));
    }
}
