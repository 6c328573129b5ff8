//! The machine's clock. The rules take `now` as a parameter; adapters and functions read it here.

use std::time::{SystemTime, UNIX_EPOCH};

use reachability_domain::time::Timestamp;

/// The current time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
