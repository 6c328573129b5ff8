//! SIGTERM and Ctrl-C, and a signal that must not end the process.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::info;

/// `SIGXFSZ`, of Linux and macOS.
const FILE_TOO_LARGE: i32 = 25;

/// From now on a write beyond the limit of a file's size fails, as it does on a full disk. By itself, the system would end the
/// process.
pub(crate) fn outlive_file_limits() -> io::Result<()> {
    signal(SignalKind::from_raw(FILE_TOO_LARGE)).map(drop)
}

/// The two steps to the end, each of which becomes true.
pub(crate) struct Stop {
    /// A signal came. Everything is served as before, except that the process is not ready for more.
    pub(crate) announced: watch::Receiver<bool>,
    /// The delay after it is over, or another signal came: everything ends.
    pub(crate) begun: watch::Receiver<bool>,
}

impl Stop {
    /// At the next signal, with so much time between the two steps.
    pub(crate) fn at_signal(delay: Duration) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut next = async move || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "Ctrl-C",
            }
        };
        let ((announce, announced), (begin, begun)) = (watch::channel(false), watch::channel(false));
        tokio::spawn(async move {
            let signal = next().await;
            announce.send_replace(true);
            info!(signal, delay_s = delay.as_secs(), "stopping");
            if !delay.is_zero() {
                tokio::select! {
                    () = sleep(delay) => {}
                    signal = next() => info!(signal, "stopping at once"),
                }
            }
            begin.send_replace(true);
        });
        Ok(Self { announced, begun })
    }
}
