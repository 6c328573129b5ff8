//! Logs: one JSON line per entry on standard output, which Lambda forwards unchanged.

use tracing_subscriber::EnvFilter;

/// Starts logging at the level in `RUST_LOG`; warnings and errors if that is missing or invalid.
pub fn start() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_ansi(false)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .init();
}
