//! Our own client for JavaScript, as it is published, in Node and in a browser.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

use reachability_tests::clients;
use reachability_tests::live::Said;
use reachability_tests::relay::Relay;
use reachability_tests::server::Server;
use serde_json::{Value, json};

use super::Setup;
use super::story::{ARGUMENTS, WITH_FAULTS, begin, go_on};

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays a story of `tests/clients/presence` with so many checks, on a server with these arguments.
async fn play(server: &[&str], client: &[&str], checks: usize) {
    let (mut setup, relay) = begin(server).await;
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
        .args(client)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut story = Running(command.spawn().expect("Node can be run: run tests/clients/setup"));
    let said = Said::by(story.0.stdout.take().unwrap());
    let mut input = story.0.stdin.take().unwrap();
    for asked in 0.. {
        // What the owner is to do next, or the end.
        let next = |lines: &[Value]| {
            let next = lines.iter().filter_map(|line| line["owner"].as_str()).nth(asked).map(str::to_owned);
            let has_ended = lines.iter().any(|line| line["done"] == true || line.get("fault").is_some());
            next.map(Some).or_else(|| has_ended.then_some(None))
        };
        let Some(command) = said.find("the story goes on", next).await else { break };
        let answer = own(&mut setup, server, &relay, &command).await;
        writeln!(input, "{answer}").unwrap();
    }
    let passed = said.read(|lines| lines.iter().filter(|line| line["passed"].is_string()).count());
    let is_done = said.read(|lines| lines.contains(&json!({"done": true})));
    assert_eq!((passed, is_done), (checks, true), "{}", said.text(None));
}

/// Does what the owner is asked to do. Returns the answer.
async fn own(setup: &mut Setup, arguments: &[&str], relay: &Relay, command: &str) -> String {
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["stop"] => {
            assert!(setup.server.end("TERM").success());
            relay.refuse();
        }
        ["kill"] => {
            setup.server.end("KILL");
            relay.refuse();
        }
        ["start"] => {
            setup.server = Server::start(setup.directory.path(), arguments);
            go_on(setup, relay).await;
        }
        ["freeze"] => relay.freeze(),
        ["thaw"] => relay.thaw(),
        // As the owner sees a user.
        ["online", user] => {
            let path = format!("/v1/Services/{}/Presence/{user}", setup.service);
            return setup.client.get(&path).await["online"].to_string();
        }
        ["status", user, text] => {
            let path = format!("/v1/Services/{}/Presence/{user}", setup.service);
            setup.client.post(&path, format!("Status={text}")).await;
        }
        ["token", user, seconds] => {
            let life = Duration::from_secs(seconds.parse().unwrap());
            return setup.signer.token_for(&setup.service, user, life);
        }
        _ => panic!("no owner can {command}"),
    }
    "done".to_owned()
}

#[tokio::test]
async fn in_node() {
    play(&ARGUMENTS, &["scenario"], 31).await;
}

#[tokio::test]
async fn in_a_browser() {
    play(&ARGUMENTS, &["scenario", "browser"], 31).await;
}

#[tokio::test]
async fn faults_in_node() {
    play(&WITH_FAULTS, &["faults"], 12).await;
}
