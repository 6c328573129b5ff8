//! Logs: one JSON line per entry on standard output, which Lambda forwards unchanged.

use reachability_infra::log_filter::may_log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

/// Starts logging at the level in `RUST_LOG`; warnings and errors if that is missing or invalid.
pub fn start() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_ansi(false)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .finish()
        .with(filter_fn(|entry| may_log(entry.target(), entry.level())))
        .init();
}
