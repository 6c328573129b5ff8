//! How long a message waits that could not be handled for a passing cause, such as a store that does not answer.
//!
//! Such a message never becomes a dead letter: it is handled again for as long as its queue keeps it. Both deployments go by
//! this. Webhooks have a schedule of their own, and so have pushes that a provider did not take.

use std::time::Duration;

/// The wait after the first failure. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait on the first day: for so long, an outage is still felt after its end.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// How many failures the first day has, with these waits.
const FIRST_DAY: u32 = 300;

/// The wait after the first day. SQS delivers a message 1,000 times at most. With this wait, that lasts for more than the 14
/// days for which it keeps one.
const LATER_WAIT: Duration = Duration::from_secs(30 * 60);

/// How long a message waits that has just failed, after so many earlier deliveries.
pub fn backoff(attempts: u32) -> Duration {
    if attempts < FIRST_DAY { LONGEST_WAIT.min(FIRST_WAIT * (1 << attempts.min(16))) } else { LATER_WAIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_double_up_to_five_minutes_and_are_half_an_hour_after_a_day() {
        for (attempts, seconds) in
            [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (20, 300), (299, 300), (300, 1_800), (u32::MAX, 1_800)]
        {
            assert_eq!(backoff(attempts).as_secs(), seconds, "{attempts}");
        }
        let first_day: Duration = (0..FIRST_DAY).map(backoff).sum();
        assert!((24.0..25.0).contains(&(first_day.as_secs_f64() / 3_600.0)), "{first_day:?}");
    }

    /// Who waits after an outage does not wait for longer than the outage was.
    #[test]
    fn a_message_does_not_wait_for_longer_than_it_has_failed() {
        let mut failed_for = FIRST_WAIT;
        for attempts in 1..1_000 {
            assert!(backoff(attempts) <= failed_for + FIRST_WAIT, "{attempts}");
            failed_for += backoff(attempts);
        }
    }
}
