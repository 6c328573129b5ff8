//! A circuit breaker: after repeated failures it holds requests back for a while, then lets one trial request through.
//!
//! It also reports the beginning and the end of an outage, each exactly once, however many requests fail in between.

use std::time::Duration;

use crate::push::outage::Outage;
use crate::push::reason::Reason;
use crate::time::Timestamp;

/// Number of consecutive failures that open the breaker.
const FAILURES: u32 = 5;

/// How long it stays open the first time. The pause doubles each time it opens again without a success in between.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, unless the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// How long a trial may take before another is allowed: the process that started it may be gone.
const TRIAL: Duration = Duration::from_secs(60);

/// A failure is an outage if the server answered nothing for this long before it. With little traffic the first failure
/// counts: the next attempt may be minutes away. While answers keep arriving, single failures do not count, and a server
/// that answers every other request causes a report every few seconds at most. It is shorter than the first wait before a
/// push is retried, so a push that fails twice is always reported.
const SILENCE: Duration = Duration::from_secs(5);

/// The breaker for one server: the provider of a credential, or the URL of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Time of the last answer; `None` if there was none.
    answered_at: Option<Timestamp>,
    /// `None` if the last request was answered.
    trouble: Option<Trouble>,
}

/// The failures since the last answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    /// Failures while the breaker was closed.
    failures: u32,
    /// How often the breaker has opened.
    openings: u32,
    /// `None` if the breaker is closed and requests pass.
    open_until: Option<Timestamp>,
    /// Whether a trial request is in flight.
    is_tried: bool,
    /// All failed requests, including those that were in flight when the breaker opened.
    attempts: u64,
    /// When the failures began, and the reason of the last failure that counts: while the breaker is open, the reason
    /// it opened.
    outage: Outage,
    /// Details of the same reason, for the log.
    cause: Option<Box<str>>,
    /// Whether the failures are an outage, and the outage has been reported.
    is_outage: bool,
}

/// A request must wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// How long to wait.
    pub wait: Duration,
    /// Why the breaker opened.
    pub reason: Reason,
    /// Since when every request has failed.
    pub since: Timestamp,
}

/// What a request says about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It is there and works.
    Answer,
    /// It does not answer, is busy, or fails.
    Failure {
        /// The reason, as one word.
        reason: &'a Reason,
        /// The pause that it asks for; `None` if it asks for none.
        retry_after: Option<Duration>,
        /// Details for the log; `None` if there are none.
        cause: Option<&'a str>,
    },
}

/// A change to report in the log, and on a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// An outage begins.
    Begins {
        /// The reason and the start.
        outage: Outage,
        /// Details of the reason, for the log.
        cause: Option<Box<str>>,
    },
    /// An outage ended.
    Ends {
        /// The reason and the start.
        outage: Outage,
        /// How many requests failed during the outage.
        attempts: u64,
    },
}

impl Breaker {
    /// Whether a request may pass. After a pause, the first request passes as a trial; others wait for its outcome.
    ///
    /// # Errors
    /// If the request must wait.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Held> {
        let Some(trouble) = &mut self.trouble else { return Ok(()) };
        match trouble.open_until {
            None => Ok(()),
            // A pause that is longer than any is of a clock that was set back.
            Some(until) if now < until && until <= now.plus(LONGEST_ASKED.max(LONGEST_PAUSE)) => {
                let Outage { reason, since } = trouble.outage.clone();
                Err(Held { wait: until.since(now), reason, since })
            }
            Some(_) => {
                trouble.open_until = Some(now.plus(TRIAL));
                trouble.is_tried = true;
                Ok(())
            }
        }
    }

    /// Records what a request said.
    pub fn heard(&mut self, heard: Heard<'_>, now: Timestamp) -> Option<Turn> {
        match heard {
            Heard::Failure { reason, retry_after, cause } => {
                self.failed(reason, retry_after, cause, now);
                self.begin(now)
            }
            Heard::Answer => {
                self.answered_at = Some(now);
                let over = self.trouble.take().filter(|trouble| trouble.is_outage)?;
                Some(Turn::Ends { outage: over.outage, attempts: over.attempts })
            }
        }
    }

    /// Reports that an outage begins: after a failure, or while requests are held back. Reports each outage once.
    pub fn begin(&mut self, now: Timestamp) -> Option<Turn> {
        // The clock may have been set back.
        let is_silent = self.answered_at.is_none_or(|at| now < at || at.plus(SILENCE) <= now);
        let trouble = self.trouble.as_mut().filter(|trouble| is_silent && !trouble.is_outage)?;
        trouble.is_outage = true;
        Some(Turn::Begins { outage: trouble.outage.clone(), cause: trouble.cause.clone() })
    }

    /// The current outage.
    pub fn outage(&self) -> Option<&Outage> {
        self.trouble.as_ref().filter(|trouble| trouble.is_outage).map(|trouble| &trouble.outage)
    }

    /// Whether it has opened since the last answer: requests wait, or one is tried.
    pub fn is_open(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.open_until.is_some())
    }

    /// Whether anything has failed since the last answer.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Records a failure. If the server asked for a pause, the breaker opens immediately.
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
        // Requests sent before the breaker opened may still fail. They must not extend the pause.
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
    use crate::push::outcome::{Fault, PushOutcome, Trouble};

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn later(millis: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(millis))
    }

    fn failed(reason: &str) -> PushOutcome {
        let cause = Some(format!("details of {reason}").into());
        PushOutcome::Unavailable { reason: Reason::new(reason), trouble: Trouble::NotSent, retry_after: None, cause }
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
            breaker.heard(failed("NotConnected").heard(), NOW);
            assert_eq!(wait(&mut breaker, NOW), None);
        }
        breaker.heard(accepted().heard(), NOW);
        for _ in 0..FAILURES {
            assert_eq!(wait(&mut breaker, NOW), None);
            breaker.heard(failed("NotConnected").heard(), NOW);
        }
        assert_eq!(wait(&mut breaker, NOW), Some(Duration::from_secs(1)));
        // Requests that were in flight when it opened.
        for _ in 0..20 {
            breaker.heard(failed("TimedOut").heard(), later(10));
        }
        let held = Held { wait: Duration::from_millis(1), reason: Reason::new("NotConnected"), since: NOW };
        assert_eq!(breaker.admit(later(999)), Err(held), "the reason it opened");
        // One trial passes.
        assert_eq!(wait(&mut breaker, later(1_000)), None);
        assert!(wait(&mut breaker, later(1_001)).is_some());
        breaker.heard(failed("CertificateRefused").heard(), later(1_100));
        let held = Held { wait: Duration::from_millis(100), reason: Reason::new("CertificateRefused"), since: NOW };
        assert_eq!(breaker.admit(later(3_000)), Err(held), "the pause doubles");
        assert_eq!(wait(&mut breaker, later(3_100)), None);
        // A trial without an outcome does not block the breaker forever.
        assert!(wait(&mut breaker, later(63_000)).is_some());
        assert_eq!(wait(&mut breaker, later(63_100)), None);
        breaker.heard(accepted().heard(), later(63_200));
        assert_eq!(breaker, Breaker { answered_at: Some(later(63_200)), trouble: None });
    }

    #[test]
    fn a_pause_that_the_provider_asks_for_is_granted() {
        let asks = |seconds| PushOutcome::unavailable("Shutdown", Some(Duration::from_secs(seconds)));
        let mut breaker = Breaker::default();
        breaker.heard(asks(90).heard(), NOW);
        assert_eq!(wait(&mut breaker, NOW), Some(Duration::from_secs(90)));
        breaker.heard(failed("TimedOut").heard(), later(10));
        assert_eq!(wait(&mut breaker, NOW), Some(Duration::from_secs(90)), "not shortened");
        breaker.heard(asks(86_400).heard(), NOW);
        assert_eq!(wait(&mut breaker, NOW), Some(LONGEST_ASKED), "the pause is limited");
    }

    /// A step of a test.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Accepted,
        Refused,
        /// Too many requests to one device.
        Throttled,
        Fails(&'static str),
        /// A failure that asks for a pause in seconds.
        Asks(&'static str, u64),
        /// A request that the breaker holds back.
        Held(&'static str),
    }

    impl Step {
        fn take(self, breaker: &mut Breaker, now: Timestamp) -> Option<Turn> {
            let outcome = match self {
                Self::Accepted => accepted(),
                Self::Refused => PushOutcome::rejected("BadTopic", Fault::Credential),
                Self::Throttled => PushOutcome::throttled("TooManyRequests", Some(Duration::from_secs(60))),
                Self::Fails(reason) => failed(reason),
                Self::Asks(reason, seconds) => PushOutcome::unavailable(reason, Some(Duration::from_secs(seconds))),
                Self::Held(reason) => {
                    assert_eq!(breaker.admit(now).unwrap_err().reason.as_str(), reason);
                    return breaker.begin(now);
                }
            };
            breaker.heard(outcome.heard(), now)
        }
    }

    /// A reported change: the reason and start of the outage and, at its end, the number of failures.
    #[derive(Debug, PartialEq)]
    enum Told {
        Begins(&'static str, u64),
        Ends(&'static str, u64, u64),
    }

    /// Steps, each with its time in milliseconds and the change it reports.
    type Steps = Vec<(u64, Step, Option<Told>)>;

    #[test]
    fn an_outage_is_reported_once_at_its_beginning_and_once_at_its_end() {
        use Step::{Accepted, Asks, Fails, Held, Refused, Throttled};
        use Told::{Begins, Ends};
        let many = || (0..1_000).map(|n| (200 + n, Fails("TimedOut"), None));
        let rows: Vec<(&str, Steps)> = vec![
            ("only answers", vec![(0, Accepted, None), (1, Refused, None), (2, Throttled, None)]),
            (
                "the first failure, without any answer before",
                vec![
                    (0, Fails("NotConnected"), Some(Begins("NotConnected", 0))),
                    (9_000, Fails("NotConnected"), None),
                    (20_000, Accepted, Some(Ends("NotConnected", 0, 2))),
                    (20_001, Accepted, None),
                ],
            ),
            (
                "the first failure after a long silence",
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
                "thousands of requests in flight",
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
                "a pause, after a long silence",
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
                        // A provider that asks for a pause has answered: its reason is all there is to log.
                        cause: matches!(step, Fails(_)).then(|| format!("details of {reason}").into()),
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
        breaker.heard(failed("NotConnected").heard(), NOW);
        for (millis, reason) in [(10_000, "CertificateRefused"), (20_000, "TimedOut")] {
            assert_eq!(breaker.heard(failed(reason).heard(), later(millis)), None, "it is the same outage");
            assert_eq!(breaker.outage(), Some(&Outage { reason: Reason::new(reason), since: NOW }));
        }
    }

    #[test]
    fn a_pause_does_not_last_as_long_as_the_clock_was_set_back() {
        let mut breaker = Breaker::default();
        let pause = Some(Duration::from_secs(60));
        let busy = Heard::Failure { reason: &Reason::new("Busy"), retry_after: pause, cause: None };
        breaker.heard(busy, later(7_200_000));
        assert!(breaker.admit(later(7_200_001)).is_err());
        assert_eq!(breaker.admit(later(1_000)), Ok(()), "one is tried");
        assert!(breaker.admit(later(1_001)).is_err(), "and others wait for its outcome");
    }

    #[test]
    fn an_outage_is_reported_when_the_clock_is_set_back() {
        let mut breaker = Breaker::default();
        breaker.heard(accepted().heard(), later(3_600_000));
        assert!(matches!(breaker.heard(failed("NotConnected").heard(), NOW), Some(Turn::Begins { .. })));
    }
}
