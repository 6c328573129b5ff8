//! A clock that stands still until a test moves it. Each thread has its own, so each test that runs in one thread has.

use std::cell::Cell;
use std::time::Duration;

use reachability_domain::time::Timestamp;

use crate::generate::START;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(START) };
}

/// The simulated time: [`START`] at first.
pub fn now() -> Timestamp {
    Timestamp::from_millis(NOW.get())
}

/// Moves the clock, also back.
pub fn set(time: Timestamp) {
    NOW.set(time.as_millis());
}

/// Moves the clock on.
pub fn pass(time: Duration) {
    set(now().plus(time));
}
