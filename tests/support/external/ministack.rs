//! MiniStack: most of AWS in one program. It runs functions of the runtime `provided.al2023` as plain processes.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::process::{Ending, Process};
use super::{answers, forget_environment, installed, ports};

/// A running instance. It keeps everything in a directory, which is deleted with it.
#[derive(Debug)]
pub struct MiniStack {
    port: u16,
    process: Process,
}

impl MiniStack {
    /// The instance that the tests of a process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MiniStack> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(|_| {}))
    }

    /// Starts a new instance, with the command changed before it runs. Functions see its whole environment, in which
    /// `AWS_ENDPOINT_URL` is its own URL, even if their configuration says otherwise.
    pub fn start(change: impl Fn(&mut Command)) -> Self {
        let home = installed("ministack").unwrap_or_else(|error| panic!("{error}"));
        ports::start(|port| {
            let directory = tempfile::tempdir().unwrap();
            let at = directory.path();
            let mut command = Command::new(home.join("ministack/bin/python"));
            command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/launch_ministack.py"));
            forget_environment(&mut command, "");
            command
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("GATEWAY_PORT", port.to_string())
                .env("BIND_HOST", "127.0.0.1")
                .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
                // These services would take further ports.
                .env("SFTP_ENABLED", "0")
                .env("IOT_MTLS_ENABLED", "0")
                // Otherwise it would remove containers from a Docker that it finds.
                .env("DOCKER_HOST", format!("unix://{}", at.join("no-docker").display()))
                .env("STATE_DIR", at.join("state"))
                .env("S3_DATA_DIR", at.join("s3"))
                .env("HOME", at)
                .env("TMPDIR", at)
                .current_dir(at);
            change(&mut command);
            let mut process = Process::start_in(directory, &command, &Ending::default());
            process.wait_for(Duration::from_secs(60), |_| {
                answers(port, "GET /_ministack/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    .then_some(())
            })?;
            Ok(Self { port, process })
        })
        .unwrap_or_else(|error| panic!("MiniStack does not start: {error}"))
    }

    /// Its endpoint, for all services.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
