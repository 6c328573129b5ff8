//! Logs: to standard error, for people on a terminal and as JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FromEnvError;

/// # Errors
/// If `RUST_LOG` is set but invalid.
pub(crate) fn start() -> Result<(), FromEnvError> {
    let filter = match std::env::var_os(EnvFilter::DEFAULT_ENV) {
        None => EnvFilter::new("info"),
        Some(_) => EnvFilter::try_from_default_env()?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // If a log line cannot be written, the library would report that on standard error, and panic.
        .log_internal_errors(false);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.with_ansi(false).json().flatten_event(true).with_span_list(false).init();
    }
    Ok(())
}
