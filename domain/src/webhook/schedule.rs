//! When a webhook is tried again, and when it is given up.

use std::time::Duration;

use crate::time::Timestamp;

/// For how long a receiver that does not take a webhook is tried, at least.
pub const PATIENCE: Duration = Duration::from_secs(4 * 3_600);

/// The wait after the first attempt. It doubles with each further attempt.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// The longest wait, unless the receiver asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// The longest wait that a receiver can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// A webhook that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undelivered {
    /// When it was queued.
    pub queued_at: Timestamp,
    /// How often it was tried; at least once.
    pub attempts: u32,
    /// How often it may be tried again at most; 0: as often as [`PATIENCE`] allows.
    pub retries: u32,
    /// The wait that the receiver asked for.
    pub retry_after: Option<Duration>,
}

impl Undelivered {
    /// How long to wait before the next attempt: between half of the wait and all of it. `jitter` gives a random duration up
    /// to another. `None` to give up.
    pub fn next_wait(&self, now: Timestamp, jitter: impl Fn(Duration) -> Duration) -> Option<Duration> {
        let is_over = match self.retries {
            0 => self.queued_at.plus(PATIENCE) <= now,
            retries => self.attempts > retries,
        };
        if is_over {
            return None;
        }
        let wait = LONGEST_WAIT.min(FIRST_WAIT * (1 << self.attempts.saturating_sub(1).min(16)));
        let wait = wait / 2 + jitter(wait / 2);
        let asked = self.retry_after.map(|asked| asked.min(LONGEST_ASKED));
        Some(asked.map_or(wait, |asked| wait.max(asked + jitter(asked / 8))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn failed(attempts: u32) -> Undelivered {
        Undelivered { queued_at: NOW, attempts, retries: 0, retry_after: None }
    }

    fn seconds(wait: Option<Duration>) -> Option<u64> {
        wait.map(|wait| wait.as_secs())
    }

    #[test]
    fn the_waits_double_up_to_half_an_hour() {
        for (attempts, longest) in [(1, 5), (2, 10), (3, 20), (9, 1_280), (10, 1_800), (20, 1_800), (u32::MAX, 1_800)] {
            assert_eq!(seconds(failed(attempts).next_wait(NOW, |most| most)), Some(longest));
            let shortest = failed(attempts).next_wait(NOW, |_| Duration::ZERO);
            assert_eq!(shortest, Some(Duration::from_secs(longest) / 2));
        }
    }

    #[test]
    fn it_is_given_up_after_four_hours() {
        for jitter in [|_| Duration::ZERO, |most| most] {
            let (mut now, mut attempts) = (NOW, 1);
            while let Some(wait) = failed(attempts).next_wait(now, jitter) {
                (now, attempts) = (now.plus(wait), attempts + 1);
            }
            let tried = now.since(NOW);
            assert!(PATIENCE <= tried && tried < PATIENCE + LONGEST_WAIT, "{tried:?}");
            assert!((15..30).contains(&attempts), "{attempts} attempts");
        }
    }

    #[test]
    fn a_number_of_retries_limits_it() {
        for retries in 1..=3 {
            for attempts in 1..6 {
                let wait = Undelivered { retries, ..failed(attempts) }.next_wait(NOW, |most| most);
                assert_eq!(wait.is_some(), attempts <= retries, "{retries} retries, {attempts} attempts");
            }
        }
    }

    #[test]
    fn a_receiver_can_ask_for_a_longer_wait() {
        for (attempts, asked, expected) in
            [(1, 60, 60_000), (1, 2, 2_500), (1, 3_600, 3_600_000), (1, 86_400, 3_600_000), (20, 60, 900_000)]
        {
            let retry_after = Some(Duration::from_secs(asked));
            let wait = Undelivered { retry_after, ..failed(attempts) }.next_wait(NOW, |_| Duration::ZERO);
            assert_eq!(wait, Some(Duration::from_millis(expected)), "{attempts}, {asked} s");
        }
        let asked = Undelivered { retry_after: Some(Duration::from_secs(3_600)), ..failed(1) };
        assert_eq!(asked.next_wait(NOW, |most| most), Some(Duration::from_secs(4_050)));
    }
}
