//! The command, as its owner uses it: its output, its settings, its files, its end and its logs.

mod backup;
mod check;
mod credentials_key;
mod data_dir;
mod dead_letters;
mod key_secrets;
mod listen;
mod logs;
mod replay;
mod settings;
mod shutdown;
mod start;
mod time;
mod token;
mod urls;

use std::path::Path;
use std::process::{Command, Stdio};

use reachability_tests::client::{Client, answer_to};
use reachability_tests::command::reachability;
use reachability_tests::server::Server;
use reqwest::Method;
use serde_json::Value;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "a-token-that-the-owner-chose";

/// Starts a server with a data directory, and with no settings but these.
fn serve(data_dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
    Server::start_with(data_dir, &[], |command| {
        *command = reachability(arguments);
        command.envs(variables.iter().copied());
    })
}

/// The command in a shell, which runs this script first.
fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script} exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Sends an event.
async fn hand_in(client: &Client, event: &Value) {
    let path = format!("/v1/Services/{}/Events", event["service_sid"].as_str().unwrap());
    let (status, answer) = answer_to(client.request(Method::POST, &path).json(event)).await.unwrap();
    assert_eq!(status, 202, "{answer}");
}

/// Stops a server, which must end well and without a panic. Returns what it logged.
#[track_caller]
fn stop(server: Server) -> String {
    let (status, logs) = server.stop();
    assert!(status.success(), "{status}: {logs}");
    assert!(!logs.contains("panicked"), "{logs}");
    logs
}
