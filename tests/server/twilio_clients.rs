//! The vendor's own helper libraries, as they are published, against the real server. Only their base URL is changed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::process::Command;

use reachability_tests::clients::{self, Api};
use reachability_tests::server::Server;

#[test]
fn python() {
    run(clients::python("conversations.py"), clients::PYTHON_CHECKS);
}

#[test]
fn node() {
    run(clients::node("conversations.mjs"), clients::NODE_CHECKS);
}

/// Runs a script against a new server.
fn run(script: Command, checks: usize) {
    let data_dir = tempfile::tempdir().unwrap();
    let server = Server::start(data_dir.path(), &[]);
    let output = clients::run(script, Api { url: &server.url, account: &server.account, token: &server.token });
    let (_, logs) = server.stop();
    // Keep only what went wrong in the thousand requests.
    let logs: String = logs.split_inclusive('\n').filter(|line| !line.contains(r#""level":"INFO""#)).collect();
    clients::passes(&output, checks, &logs);
}
