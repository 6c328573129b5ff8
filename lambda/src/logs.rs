//! Logs: a line of JSON for each, on standard output, which Lambda passes on as it is.

use tracing_subscriber::EnvFilter;

/// Starts logging what `RUST_LOG` says, warnings and errors if it says nothing that can be understood.
pub fn start() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_ansi(false)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .init();
}
