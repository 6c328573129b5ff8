//! Waiting for what a server does on its own.

use std::time::{Duration, Instant};

use crate::server::PATIENCE;

/// Asks until there is a result.
pub async fn wait<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
