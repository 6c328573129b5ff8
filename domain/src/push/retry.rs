//! When a push is retried.
//!
//! The waits follow what Google asks of senders: 10 seconds or more after an error of the server, twice as long each time
//! and partly random, and a minute after a 429 that names no pause
//! (<https://firebase.google.com/docs/cloud-messaging/scale-fcm>). Apple names no times, so its pushes wait as long.

use std::time::Duration;

use crate::push::outcome::Trouble;

/// The longest wait before what is added at random. The sum is as long as SQS can delay a message.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// The first wait if the provider said nothing else: after nothing was sent, or an error of the provider.
const SHORT: Duration = Duration::from_secs(10);

/// The first wait if a soon retry would do harm: if the push may have arrived, if there were too many, or if the credential
/// is rejected.
pub const LONG: Duration = Duration::from_secs(60);

/// How often a push is sent without an answer before it is given up: the device may show each of them.
pub const MAX_UNANSWERED: u32 = 3;

impl Trouble {
    /// The first wait before a retry.
    pub fn first_wait(self) -> Duration {
        match self {
            Self::NotSent | Self::Failed => SHORT,
            Self::Unanswered | Self::Throttled => LONG,
        }
    }
}

/// How long to wait after this many attempts, at least one: `first`, doubled with every further attempt, and up to half as
/// much again. If the provider asks for a pause, that counts instead of `first`. `jitter` returns a random duration up to
/// the given one.
pub fn wait(
    first: Duration,
    attempts: u32,
    retry_after: Option<Duration>,
    jitter: impl Fn(Duration) -> Duration,
) -> Duration {
    let first = if retry_after.is_some() { SHORT } else { first };
    let wait = LONGEST.min(first * (1 << attempts.clamp(1, 16).saturating_sub(1)));
    let wait = wait + jitter(wait / 2);
    retry_after.map_or(wait, |asked| wait.max(asked + jitter(asked / 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_partly_random() {
        let (least, most) = (|_: Duration| Duration::ZERO, |most: Duration| most);
        let seconds = Duration::from_secs;
        for (trouble, attempts, retry_after, from, to) in [
            (Trouble::NotSent, 1, None, 10, 15),
            (Trouble::Failed, 1, None, 10, 15),
            (Trouble::Failed, 2, None, 20, 30),
            (Trouble::Failed, 6, None, 320, 480),
            (Trouble::Failed, 7, None, 600, 900),
            (Trouble::Failed, u32::MAX, None, 600, 900),
            (Trouble::Throttled, 1, None, 60, 90),
            (Trouble::Throttled, 2, None, 120, 180),
            (Trouble::Unanswered, 1, None, 60, 90),
            // What the provider asks for, but not less than usual.
            (Trouble::Throttled, 1, Some(30), 30, 37),
            (Trouble::Throttled, 1, Some(1), 10, 15),
            (Trouble::Failed, 1, Some(100), 100, 125),
            (Trouble::Failed, 9, Some(100), 600, 900),
        ] {
            let retry_after = retry_after.map(seconds);
            let wait = |jitter: fn(Duration) -> Duration| wait(trouble.first_wait(), attempts, retry_after, jitter);
            assert_eq!((wait(least).as_secs(), wait(most).as_secs()), (from, to), "{trouble:?} {attempts}");
        }
    }
}
