//! The vendor's own helper libraries, as they are published, against the real server: all that is changed is the base
//! URL they are told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use reachability_tests::server::Server;

/// Settings of the environment that would send the libraries elsewhere.
const DETOURS: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "TWILIO_EDGE",
    "TWILIO_REGION",
];

#[test]
fn python() {
    let home = installed("python", "requirements.txt");
    run(Command::new(home.join("python/bin/python")).arg("-B"), "conversations.py", 21);
}

#[test]
fn node() {
    let home = installed("node", "package.json");
    run(Command::new("node").env("NODE_PATH", home.join("node_modules")), "conversations.mjs", 20);
}

/// Where `tests/clients/setup` has installed the clients: these ones, as its stamp says.
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

/// Runs a script against a server of its own. It has to print `ok` so many times: one that does nothing is no good.
fn run(command: &mut Command, script: &str, checks: usize) {
    let data_dir = tempfile::tempdir().unwrap();
    let server = Server::start(data_dir.path(), &[]);
    for name in DETOURS {
        command.env_remove(name);
    }
    let output = command
        .arg(format!("{}/clients/{script}", env!("CARGO_MANIFEST_DIR")))
        .env("REACHABILITY_URL", &server.url)
        .env("REACHABILITY_ACCOUNT", &server.account)
        .env("REACHABILITY_TOKEN", &server.token)
        .output()
        .expect("the client can be run: run tests/clients/setup");
    let (_, logs) = server.stop();
    // Of the thousand requests only what went wrong.
    let logs: String = logs.split_inclusive('\n').filter(|line| !line.contains(r#""level":"INFO""#)).collect();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let passed = stdout.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(
        output.status.success() && passed == checks,
        "{script}: {}, {passed} of {checks} checks\n{logs}{stdout}{stderr}",
        output.status
    );
}
