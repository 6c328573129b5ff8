//! Whether the server says that it can do its work.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::time::{Duration, Instant};

use reachability_tests::client::{Client, answer_to};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rlimit::{INFINITY, Resource, prlimit};
use serde_json::{Value, json};

/// What a path answers to somebody without credentials.
async fn ask(server: &Server, path: &str) -> Option<(u16, String)> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("{}{path}", server.url)).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.unwrap()))
}

async fn readiness(server: &Server) -> (u16, Value) {
    let (status, body) = ask(server, "/readyz").await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// Waits until it is ready or not, for this reason.
async fn becomes(server: &Server, reason: Option<&str>) -> Value {
    let ask = async || Some(readiness(server).await).filter(|(_, body)| body["reason"].as_str() == reason);
    let (status, body) = wait(&format!("the reason becomes {reason:?}"), ask).await;
    assert_eq!(status, if reason.is_none() { 200 } else { 503 });
    body
}

fn ready() -> Value {
    json!({"ready": true, "reason": null, "checked": ["stop", "write"], "oldest_waiting_event_seconds": null})
}

fn unready(reason: &str) -> Value {
    json!({"ready": false, "reason": reason, "checked": ["stop", "write"], "oldest_waiting_event_seconds": null})
}

#[tokio::test]
async fn a_server_that_works_is_ready() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    assert_eq!(readiness(&server).await, (200, ready()));
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let request = Client::of(&server).request(method, "/readyz");
        let (status, error) = answer_to(request).await.unwrap();
        assert_eq!((status, &error["code"]), (405, &20004.into()));
    }
    assert!(server.stop().0.success());
}

/// No file may grow, until there is room again.
#[tokio::test]
async fn a_server_on_a_full_disk_is_not_ready_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[], |command| {
        let mut shell = std::process::Command::new("sh");
        // Otherwise the signal ends it that comes with a write over the limit.
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.stdin(std::process::Stdio::null());
        shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        *command = shell;
    });
    let client = Client::of(&server);
    assert_eq!(readiness(&server).await.0, 200);
    let limit = |bytes| {
        let pid = server.pid().try_into().unwrap();
        prlimit(pid, Resource::FSIZE, Some((bytes, INFINITY)), None).unwrap();
    };
    limit(4_096);
    assert_eq!(becomes(&server, Some("write_failed")).await, unready("write_failed"));
    let (status, _) = client.send(Method::POST, "/v1/Services", &[("FriendlyName", "a")]).await;
    assert_eq!(status, 503);
    assert_eq!(ask(&server, "/healthz").await.unwrap().0, 200, "it is alive");
    limit(INFINITY);
    assert_eq!(becomes(&server, None).await, ready());
    client.enabled_service().await;
    let (status, logs) = server.stop();
    assert!(status.success() && !logs.contains("panicked"), "{logs}");
}

/// Another process holds the lock of the database.
#[tokio::test]
async fn a_server_that_cannot_write_in_time_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let other = rusqlite::Connection::open(directory.path().join("reachability.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(becomes(&server, Some("write_timed_out")).await, unready("write_timed_out"));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(becomes(&server, None).await, ready());
    assert!(server.stop().0.success());
}

#[tokio::test]
async fn a_server_that_is_about_to_stop_is_not_ready_and_serves() {
    let directory = tempfile::tempdir().unwrap();
    let delay = Duration::from_secs(5);
    let server = Server::start(directory.path(), &["--stop-delay-seconds", "5"]);
    let client = Client::of(&server);
    let started = Instant::now();
    server.signal("TERM");
    let stopping = becomes(&server, Some("stopping")).await;
    assert_eq!((&stopping["ready"], &stopping["checked"]), (&json!(false), &json!(["stop"])));
    assert_eq!(ask(&server, "/healthz").await.unwrap().0, 200);
    client.enabled_service().await;
    let (status, logs) = server.ended();
    assert!(status.success() && logs.contains("SIGTERM"), "{status}: {logs}");
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_the_delay() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--stop-delay-seconds", "60"]);
    server.signal("TERM");
    becomes(&server, Some("stopping")).await;
    server.signal("INT");
    // It waits for less than the delay.
    let (status, logs) = server.ended();
    assert!(status.success() && logs.contains("at once"), "{status}: {logs}");
}
