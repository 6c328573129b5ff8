//! Our own client for JavaScript, as it is published, in Node and in a browser.

use std::io::Write;
use std::process::{Child, Stdio};

use reachability_tests::clients;
use reachability_tests::live::Said;
use reachability_tests::server::Server;
use serde_json::{Value, json};

use super::story::{ARGUMENTS, begin, go_on};

/// How many checks the story has.
const CHECKS: usize = 32;

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays the story of `tests/clients/presence`.
async fn play(arguments: &[&str]) {
    let (mut setup, relay) = begin().await;
    let tokens = ["jane", "john", "jack", "joe"].map(|user| (user.to_owned(), setup.token(user).into()));
    let tokens = Value::Object(tokens.into_iter().collect());
    let mut command = clients::node("presence/main.mjs");
    for name in clients::DETOURS {
        command.env_remove(name);
    }
    command
        // Node 20 has a WebSocket only so.
        .env("NODE_OPTIONS", "--experimental-websocket")
        .env("REACHABILITY_CHROMIUM", clients::home().join("bin/chromium"))
        .args([relay.url(), tokens.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut story = Running(command.spawn().expect("Node can be run: run tests/clients/setup"));
    let said = Said::by(story.0.stdout.take().unwrap());
    let mut input = story.0.stdin.take().unwrap();
    let is_asked = async |command: &str| {
        let is_asked = |lines: &[Value]| lines.contains(&json!({"owner": command})).then_some(());
        said.find(&format!("it has the owner {command} the server"), is_asked).await;
    };
    is_asked("stop").await;
    let (status, logs) = setup.server.stop();
    assert!(status.success(), "{logs}");
    relay.refuse();
    writeln!(input, "done").unwrap();
    is_asked("start").await;
    setup.server = Server::start(setup.directory.path(), &ARGUMENTS);
    go_on(&mut setup, &relay).await;
    writeln!(input, "done").unwrap();
    said.find("the story ends well", |lines| lines.contains(&json!({"done": true})).then_some(())).await;
    let checks = said.read(|lines| lines.iter().filter(|line| line["passed"].is_string()).count());
    assert_eq!(checks, CHECKS, "{}", said.text(None));
}

#[tokio::test]
async fn in_node() {
    play(&[]).await;
}

#[tokio::test]
async fn in_a_browser() {
    play(&["browser"]).await;
}
