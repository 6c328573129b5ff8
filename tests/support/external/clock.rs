//! A clock that steps: `libfaketime` moves the time of day of a process while it runs. The monotonic clock goes on.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::debian;

/// The clock of a server. Its time of day is the machine's plus an offset, at first zero.
#[derive(Debug)]
pub struct SteppingClock {
    library: PathBuf,
    directory: TempDir,
}

impl SteppingClock {
    /// Fails if the library could not be had.
    pub fn new() -> Result<Self, String> {
        let library = debian::library("faketime/libfaketimeMT.so.1")?;
        let clock = Self { library, directory: TempDir::new().unwrap() };
        clock.set(0);
        Ok(clock)
    }

    /// Gives a process that is to be started this clock.
    pub fn wind(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.offset())
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1");
    }

    /// Steps to the machine's time plus this many seconds.
    pub fn set(&self, seconds: i64) {
        // A reader must not see half of it.
        let next = self.directory.path().join("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, self.offset()).unwrap();
    }

    fn offset(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}
