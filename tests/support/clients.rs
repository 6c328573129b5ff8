//! The vendor's own helper libraries, as they are published and as `tests/clients/setup` installs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reachability_test_keys as keys;
use serde_json::{Value, json};

/// Environment variables that would send the libraries to other hosts.
pub const DETOURS: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "TWILIO_EDGE",
    "TWILIO_REGION",
];

/// How many checks `conversations.py` has.
pub const PYTHON_CHECKS: usize = 30;

/// How many checks `conversations.mjs` has.
pub const NODE_CHECKS: usize = 29;

/// An API with the credentials of its owner.
#[derive(Debug, Clone, Copy)]
pub struct Api<'a> {
    /// The base URL.
    pub url: &'a str,
    /// The account's sid.
    pub account: &'a str,
    /// The account's token.
    pub token: &'a str,
}

/// A Python with the library installed, to run this script.
pub fn python(script: &str) -> Command {
    let home = installed("python", "requirements.txt");
    let mut command = Command::new(home.join("python/bin/python"));
    command.arg("-B").arg(path(script));
    command
}

/// A Node with the library installed, to run this script.
pub fn node(script: &str) -> Command {
    let home = installed("node", "package.json");
    let mut command = Command::new(home.join("bin/node"));
    command.env("NODE_PATH", home.join("node_modules")).arg(path(script));
    command
}

/// The directory with both: `python`, a virtual environment, and `node_modules`.
pub fn home() -> PathBuf {
    installed("python", "requirements.txt");
    installed("node", "package.json")
}

fn path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script)
}

/// The directory of the clients. Fails unless the stamp says that exactly the pinned ones are installed.
fn installed(name: &str, pins: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = tests.join("../target/test-clients");
    let stamp = std::fs::read(home.join(format!("{name}.stamp"))).ok();
    let pins = std::fs::read(tests.join("clients").join(pins)).unwrap();
    assert!(
        stamp == Some(pins),
        "the clients are not installed, or not as they are now pinned: run tests/clients/setup"
    );
    home
}

/// Runs a script against an API, with keys and certificates like those of push providers.
pub fn run(mut command: Command, api: Api<'_>) -> Output {
    let key = keys::p256();
    for name in DETOURS {
        command.env_remove(name);
    }
    command
        .env("REACHABILITY_URL", api.url)
        .env("REACHABILITY_ACCOUNT", api.account)
        .env("REACHABILITY_TOKEN", api.token)
        .env("REACHABILITY_CERTIFICATE", keys::certificate(&key, "/UID=com.example.app"))
        .env("REACHABILITY_CERTIFICATE_KEY", key)
        .env("REACHABILITY_SERVICE_ACCOUNT", keys::service_account(&keys::rsa()))
        .output()
        .expect("the client can be run: run tests/clients/setup")
}

/// Has a script validate webhooks that were signed with this token. Fails unless it agrees about each.
pub fn validate(mut script: Command, token: &str, webhooks: &[Value]) {
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("REACHABILITY_TOKEN", token);
    let mut child = script.spawn().expect("the client can be run: run tests/clients/setup");
    child.stdin.take().unwrap().write_all(json!(webhooks).to_string().as_bytes()).unwrap();
    passes(&child.wait_with_output().unwrap(), webhooks.len(), "");
}

/// Fails unless a script succeeded and printed `ok` this many times, so that a script which does nothing fails.
pub fn passes(output: &Output, checks: usize, logs: &str) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let passed = stdout.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(
        output.status.success() && passed == checks,
        "{}, {passed} of {checks} checks\n{logs}{stdout}{stderr}",
        output.status
    );
}
