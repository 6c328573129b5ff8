//! The devices that a provider throttles.
//!
//! Apple and Google limit the pushes to a single device, and Google answers with the same 429 when the whole project is over
//! its quota (<https://firebase.google.com/docs/cloud-messaging/throttling-and-quotas>). So a 429 is about its device
//! alone, unless a few different devices get one within seconds and no push is answered otherwise in between.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Timestamp;

/// How many different devices must be throttled, so that it is not about them.
const DEVICES: usize = 5;

/// Within which time.
const WITHIN: Duration = Duration::from_secs(10);

/// The pause if the provider asks for none. Google asks senders to assume a minute.
pub const PAUSE: Duration = Duration::from_secs(60);

/// Maximum number of devices that are remembered. When it is reached, all are forgotten: the provider says it again.
const MAX_DEVICES: usize = 10_000;

/// What is throttled, of one credential.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Until when each throttled device must wait. A device is known by a hash of its token.
    until: HashMap<u64, Timestamp>,
    /// The different devices that were throttled since the last other answer, and when.
    recent: HashMap<u64, Timestamp>,
    /// Whether the last 429 was taken to be about all devices.
    is_all: bool,
}

impl Throttle {
    /// Whether a push to this device may be sent.
    ///
    /// # Errors
    /// If it must wait, for how long.
    pub fn admit(&self, device: u64, now: Timestamp) -> Result<(), Duration> {
        match self.until.get(&device) {
            // The clock may have been set back: no pause is longer than a provider can ask for.
            Some(until) if now < *until => Err(until.since(now).min(Duration::from_secs(15 * 60))),
            _ => Ok(()),
        }
    }

    /// A push to this device got a 429. Returns whether all devices are throttled, by what is known.
    pub fn throttled(&mut self, device: u64, pause: Duration, now: Timestamp) -> bool {
        if self.until.len() >= MAX_DEVICES {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() >= MAX_DEVICES {
            self.until.clear();
        }
        self.until.insert(device, now.plus(pause));
        self.recent.retain(|_, at| *at <= now && now < at.plus(WITHIN));
        if self.recent.len() < DEVICES {
            self.recent.insert(device, now);
        }
        self.is_all |= self.recent.len() >= DEVICES;
        self.is_all
    }

    /// A push was answered otherwise: not all devices are throttled.
    pub fn answered(&mut self) {
        self.recent.clear();
        self.is_all = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_device_waits_alone() {
        let mut throttle = Throttle::default();
        for n in 0..100 {
            assert!(!throttle.throttled(7, PAUSE, later(n)), "the same device, however often");
        }
        assert_eq!(throttle.admit(7, later(100)), Err(Duration::from_secs(59)));
        assert_eq!(throttle.admit(8, later(100)), Ok(()));
        assert_eq!(throttle.admit(7, later(159)), Ok(()));
    }

    #[test]
    fn different_devices_in_a_row_are_all_devices() {
        let mut throttle = Throttle::default();
        let found: Vec<bool> = (0..6).map(|n| throttle.throttled(n, PAUSE, later(n))).collect();
        assert_eq!(found, [false, false, false, false, true, true]);
        // The trial after the pause is throttled, too.
        assert!(throttle.throttled(9, PAUSE, later(66)));
        throttle.answered();
        assert!(!throttle.throttled(9, PAUSE, later(67)));
    }

    #[test]
    fn devices_that_are_throttled_now_and_then_are_not_all() {
        let mut throttle = Throttle::default();
        for n in 0..100 {
            assert!(!throttle.throttled(n, PAUSE, later(3 * n)), "too slow, {n}");
        }
        let mut throttle = Throttle::default();
        for n in 0..100 {
            assert!(!throttle.throttled(n, PAUSE, NOW), "others are answered, {n}");
            if n % 4 == 3 {
                throttle.answered();
            }
        }
    }

    #[test]
    fn it_does_not_grow_without_a_limit() {
        let mut throttle = Throttle::default();
        for n in 0..20_000 {
            throttle.throttled(n, PAUSE, NOW);
            assert!(throttle.until.len() <= MAX_DEVICES && throttle.recent.len() <= DEVICES);
        }
    }
}
