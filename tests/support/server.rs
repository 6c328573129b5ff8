//! The one-process server, as its owner starts it: the real binary, on a free port, in a directory of its own.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long the server may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An address at which no push provider listens.
const NOWHERE: &str = "https://127.0.0.1:9";

/// The `reachability` binary: the one in `REACHABILITY_SERVER`, for benchmarks of other versions, or else built from the
/// sources as they are.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("REACHABILITY_SERVER") {
            return path.into();
        }
        // This program lies in `target/<profile>/deps`.
        let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let release = profile.ends_with("release");
        let mut build = Command::new(env!("CARGO"));
        // The variables that cargo sets for tests would make build scripts run, and most dependencies compile, again.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                build.env_remove(name);
            }
        }
        // The features are those of the workspace's tests, for the same reason.
        let status = build
            .args(["build", "--quiet", "--locked", "--workspace", "--bin", "reachability"])
            .args(release.then_some("--release"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .expect("cargo can be run");
        assert!(status.success(), "the binary can be built");
        profile.join("reachability")
    })
}

/// A running server. It is killed when dropped.
pub struct Server {
    /// `http://127.0.0.1:` and its port.
    pub url: String,
    /// The account's sid.
    pub account: String,
    /// The account's token.
    pub token: String,
    /// What it printed when it started.
    pub greeting: String,
    child: Child,
    logs: Option<JoinHandle<Vec<u8>>>,
}

impl Server {
    /// Starts it in this directory, with more arguments, and waits until it answers. Without `--listen` it takes a free port.
    pub fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_with(data_dir, arguments, |_| {})
    }

    /// Like [`Server::start`], with the command changed before it runs.
    pub fn start_with(data_dir: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        Self::start_under(&[], data_dir, arguments, change)
    }

    /// Like [`Server::start_with`], by a program such as `taskset` that becomes the server.
    pub fn start_under(
        program: &[&str],
        data_dir: &Path,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut words = program.iter().map(OsStr::new).chain([binary().as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["serve", "--data-dir"])
            .arg(data_dir)
            .args(if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(arguments)
            // Nothing leaves this machine.
            .env("REACHABILITY_APNS_URL", NOWHERE)
            .env("REACHABILITY_APNS_SANDBOX_URL", NOWHERE)
            .env("REACHABILITY_FCM_URL", NOWHERE)
            .env("REACHABILITY_FCM_TOKEN_URL", NOWHERE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("the server can be started");
        let logs = collect(child.stderr.take());
        // The greeting is one write, which a pipe delivers in one piece.
        let mut greeting = vec![0; 4096];
        let length = child.stdout.take().unwrap().read(&mut greeting).unwrap();
        let greeting = String::from_utf8(greeting[..length].to_vec()).unwrap();
        let url = greeting.split_whitespace().find(|word| word.starts_with("http://")).unwrap_or_default().to_owned();
        if url.is_empty() {
            let _ = child.kill();
            panic!("the server does not start: {greeting}{}", String::from_utf8_lossy(&logs.join().unwrap()));
        }
        let json = std::fs::read(data_dir.join("account.json")).expect("the account is kept");
        let account: Value = serde_json::from_slice(&json).unwrap();
        Self {
            url,
            account: account["account_sid"].as_str().unwrap().to_owned(),
            token: account["auth_token"].as_str().unwrap().to_owned(),
            greeting,
            child,
            logs: Some(logs),
        }
    }

    /// Its host and port.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with `SIGKILL`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it with this signal, `TERM` or `KILL`. Returns how it ended.
    pub fn end(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.child.wait().unwrap()
    }

    /// Sends it this signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Ends it with `SIGTERM`. Returns how it ended and what it logged.
    pub fn stop(mut self) -> (ExitStatus, String) {
        let status = self.end("TERM");
        (status, self.logs())
    }

    /// Waits until it has ended by itself. Returns how it ended and what it logged.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        (status, self.logs())
    }

    fn logs(&mut self) -> String {
        let logs = self.logs.take().unwrap().join().unwrap();
        String::from_utf8_lossy(&logs).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a process prints, so that the process never waits for a reader.
pub(crate) fn collect(output: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut output) = output {
            let _ = output.read_to_end(&mut bytes);
        }
        bytes
    })
}
