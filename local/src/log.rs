//! Logs: to standard error, for people on a terminal and as JSON otherwise.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use reachability_infra::log_filter::may_log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FromEnvError, filter_fn};
use tracing_subscriber::prelude::*;

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("invalid value for the variable RUST_LOG")]
    Filter(#[from] FromEnvError),
    #[error("standard error cannot be used")]
    Output(#[from] io::Error),
}

/// # Errors
/// If `RUST_LOG` is set but invalid, or if there are no more file descriptors.
pub(crate) fn start() -> Result<(), LogError> {
    let filter = match std::env::var_os(EnvFilter::DEFAULT_ENV) {
        None => EnvFilter::new("info"),
        Some(_) => EnvFilter::try_from_default_env()?,
    };
    // The standard library has a lock around it, on which threads would wait for each other with every line. A line is one
    // write, and the system does not mix writes of up to 4 KiB.
    let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(output)
        // If a log line cannot be written, the library would report that on standard error, and panic.
        .log_internal_errors(false);
    let details = filter_fn(|entry| may_log(entry.target(), entry.level()));
    if io::stderr().is_terminal() {
        builder.with_target(false).finish().with(details).init();
    } else {
        builder.with_ansi(false).json().flatten_event(true).with_span_list(false).finish().with(details).init();
    }
    Ok(())
}
