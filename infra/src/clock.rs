//! The machine's clock. Rules take `now` as a parameter; this is where it comes from.

use std::time::{SystemTime, UNIX_EPOCH};

use reachability_domain::time::Timestamp;

/// The time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
