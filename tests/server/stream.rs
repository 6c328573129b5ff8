//! The stream of changes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use reachability_tests::changes::{Known, changes_after, shown};
use reachability_tests::client::Client;
use reachability_tests::clients;
use reachability_tests::events::event;
use reachability_tests::raw::encode;
use reachability_tests::relay::Relay;
use reachability_tests::server::{PATIENCE, Server};
use reachability_tests::stream::Stream;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Sends events of one kind for some users.
async fn send(client: &Client, service: &str, kind: &str, users: impl Iterator<Item = usize>) {
    let events: Vec<Value> = users.map(|user| event(service, &format!("user-{user}"), kind)).collect();
    client.post(&format!("/v1/Services/{service}/Events"), Value::from(events).to_string()).await;
}

/// Waits until the log has so many changes after a position. Returns them.
async fn logged(client: &Client, service: &str, after: u64, count: usize) -> Vec<Value> {
    let read = async || Some(changes_after(client, service, Some(after)).await.0).filter(|read| read.len() >= count);
    let read = wait("so many changes", read).await;
    assert_eq!(read.len(), count);
    read
}

#[tokio::test]
async fn it_has_every_change_as_the_log_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let other = client.enabled_service().await;
    let mut stream = Stream::open(&client, &service, "", None).await.unwrap();
    let start = stream.next().await.unwrap();
    assert_eq!((start.event.as_deref(), start.data.as_str()), (Some("cursor"), "{}"));
    let mut of_two = Stream::open(&client, &service, "Identity=user-1&Identity=user-2", None).await.unwrap();

    send(&client, &other, "connect", 0..3).await;
    send(&client, &service, "connect", 0..3).await;
    logged(&client, &service, start.id.unwrap(), 3).await;
    client.post(&format!("/v1/Services/{service}/Users/user-1"), "FriendlyName=%C3%9C%0Aber").await;
    logged(&client, &service, start.id.unwrap(), 4).await;
    send(&client, &service, "disconnect", 2..3).await;
    logged(&client, &service, start.id.unwrap(), 5).await;
    client.post(&format!("/v1/Services/{service}/Configuration"), "ReachabilityEnabled=false").await;
    let streamed = stream.changes(6).await;
    let log = logged(&client, &service, start.id.unwrap(), 6).await;
    assert_eq!(streamed, log);

    let expected: Vec<&Value> = log.iter().filter(|change| ["user-1", "user-2"].contains(&user(change))).collect();
    assert_eq!(of_two.changes(4).await.iter().collect::<Vec<_>>(), expected);
    // Each position can be continued from, and the same parameter that reads pages says where to begin.
    for (n, change) in log.iter().enumerate() {
        let id = change["id"].as_u64().unwrap();
        let mut rest = Stream::open(&client, &service, "", Some(id)).await.unwrap();
        assert_eq!(rest.changes(5 - n).await, log[n + 1..]);
        let mut rest = Stream::open(&client, &service, &format!("After={id}"), None).await.unwrap();
        assert_eq!(rest.changes(5 - n).await, log[n + 1..]);
    }
}

fn user(change: &Value) -> &str {
    change["identity"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--change-log-rows", "1000"]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let status = async |client: &Client, service: &str, query: &str, last: Option<u64>| {
        Stream::open(client, service, query, last).await.err()
    };
    assert_eq!(status(&client, &service, "", Some(u64::MAX / 2)).await, Some(410), "it was never there");
    assert_eq!(status(&client, &service, "After=x", None).await, Some(400));
    assert_eq!(status(&client, &service, "Identity=", None).await, Some(400));
    let many: String = (0..101).map(|user| format!("Identity=user-{user}&")).collect();
    assert_eq!(status(&client, &service, &many, None).await, Some(400));
    assert_eq!(status(&client, "IS00000000000000000000000000000000", "", None).await, Some(404));
    let stranger = client.with_credentials(&server.account, "x");
    assert_eq!(status(&stranger, &service, "", None).await, Some(401));
    let path = format!("/v1/Services/{service}/Changes");
    let request = client.request(Method::GET, &path).header("accept", "text/event-stream");
    let answer = request.header("last-event-id", "first").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    // Whoever accepts anything gets pages.
    let page = client.request(Method::GET, &path).header("accept", "*/*").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "application/json");

    // The log forgets.
    let (log, first) = changes_after(&client, &service, None).await;
    let forgotten = log[0]["id"].as_u64().unwrap() - 1;
    for round in 0..5 {
        send(&client, &service, "connect", round * 500..(round + 1) * 500).await;
    }
    let is_gone = async || (status(&client, &service, "", Some(forgotten)).await == Some(410)).then_some(());
    wait("the log forgets", is_gone).await;
    assert!(Stream::open(&client, &service, "", None).await.is_ok(), "after {first}");
}

#[tokio::test]
async fn it_ends_with_the_service_the_key_and_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let (service, doomed) = (client.enabled_service().await, client.enabled_service().await);
    let keys = format!("/2010-04-01/Accounts/{}/Keys.json", server.account);
    let (_, key) = client.send(Method::POST, &keys, &[]).await;
    let sid = key["sid"].as_str().unwrap();
    let by_key = client.with_credentials(sid, key["secret"].as_str().unwrap());
    let mut of_key = Stream::open(&by_key, &service, "", None).await.unwrap();
    let mut of_doomed = Stream::open(&client, &doomed, "", None).await.unwrap();
    let mut lasting = Stream::open(&client, &service, "Identity=nobody", None).await.unwrap();
    let first = lasting.next().await.unwrap();
    client.delete(&keys.replace(".json", &format!("/{sid}.json"))).await;
    client.delete(&format!("/v1/Services/{doomed}")).await;
    send(&client, &service, "connect", 0..1).await;
    while of_key.next().await.is_some() {}
    let mut told = vec![];
    while let Some(sent) = of_doomed.next().await {
        told.extend((sent.event.is_none() && sent.id.is_some()).then(|| sent.change()["reason"].clone()));
    }
    assert_eq!(told, ["deleted"]);
    // Whoever is told nothing still learns how far the log is, so that it does not fall behind.
    let moved = lasting.next().await.unwrap();
    assert_eq!(moved.event.as_deref(), Some("cursor"));
    assert!(first.id < moved.id, "{first:?}, {moved:?}");
    let idle = lasting.next().await.unwrap();
    assert_eq!((idle.id, idle.comment.as_deref()), (None, Some("heartbeat")));
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    assert_eq!(lasting.next().await, None);
    let (status, logs) = stopped.await.unwrap();
    assert!(status.success() && !logs.contains("did not finish"), "{status} {logs}");
}

/// The `eventsource` package, following a service.
struct NodeClient {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl NodeClient {
    fn start(relay: &Relay, server: &Server, service: &str) -> Self {
        let mut command = Command::from(clients::node("stream.mjs"));
        for name in clients::DETOURS {
            command.env_remove(name);
        }
        command
            .arg(service)
            .env("REACHABILITY_URL", relay.url())
            .env("REACHABILITY_ACCOUNT", &server.account)
            .env("REACHABILITY_TOKEN", &server.token)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, lines }
    }

    async fn next(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
        serde_json::from_str(&line.unwrap().expect("the client goes on")).unwrap()
    }

    /// So many changes, and how often the client lost its connection meanwhile.
    async fn changes(&mut self, count: usize) -> (Vec<Value>, usize) {
        let (mut changes, mut errors) = (vec![], 0);
        while changes.len() < count {
            let line = self.next().await;
            assert_ne!(line["closed"], true, "{line}");
            errors += usize::from(line.get("error").is_some());
            changes.extend(line["type"].is_string().then_some(line));
        }
        (changes, errors)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_client_resumes_without_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &[]);
    let mut client = Client::of(&server);
    let service = client.enabled_service().await;
    let relay = Relay::start(&server.url).await;
    let mut node = NodeClient::start(&relay, &server, &service);
    let start = node.next().await["cursor"].as_u64().expect("where it begins");
    let mut seen: Vec<Value> = vec![];
    let (mut sent, mut errors) = (0, 0);
    for round in 0..4 {
        send(&client, &service, "connect", sent..sent + 20).await;
        sent += 20;
        match round {
            // Before anything was seen, too.
            0 | 2 => relay.cut(),
            1 => {
                server.kill();
                server = Server::start(directory.path(), &[]);
            }
            _ => {
                server.stop();
                server = Server::start(directory.path(), &[]);
            }
        }
        relay.retarget(&server.url);
        client = Client::of(&server);
        send(&client, &service, "connect", sent..sent + 20).await;
        sent += 20;
        let (changes, lost) = node.changes(sent - seen.len()).await;
        seen.extend(changes);
        errors += lost;
    }
    assert!(errors >= 4, "it was cut off {errors} times");
    assert_eq!(seen, logged(&client, &service, start, sent).await);
    assert_eq!(seen.iter().map(user).collect::<BTreeSet<_>>().len(), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_and_one_asleep() {
    const READERS: usize = 1_000;
    const USERS: usize = 100;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let asleep = asleep(&server, &service).await;
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let mut reader = Stream::open(&client, &service, "", None).await.unwrap();
        let start = reader.next().await.unwrap().id.unwrap();
        readers.push((start, reader));
    }
    let start = readers[0].0;
    let before = memory(&server);
    let readers: Vec<_> = readers
        .into_iter()
        .map(|(_, mut reader)| {
            tokio::spawn(async move {
                // Each checks what it is told: nothing is missing, and nothing is told twice.
                let (mut known, mut last) = (Known::default(), 0);
                for _ in 0..2 * USERS {
                    let change = reader.next_change().await.expect("the stream goes on");
                    known.learn(&change);
                    last = change["id"].as_u64().unwrap();
                }
                (known, last, reader)
            })
        })
        .collect();
    for kind in ["connect", "disconnect"] {
        for first in (0..USERS).step_by(20) {
            send(&client, &service, kind, first..first + 20).await;
        }
        logged(&client, &service, start, if kind == "connect" { USERS } else { 2 * USERS }).await;
    }
    let shown = shown(&client, &service).await;
    let mut open = vec![];
    for reader in readers {
        let (known, last, reader) = timeout(PATIENCE, reader).await.expect("it hears everything").unwrap();
        assert_eq!(known.users(), shown);
        open.push((last, reader));
    }
    assert!(open.iter().all(|(last, _)| *last == open[0].0));

    let growth = memory(&server).saturating_sub(before);
    assert!(growth < 64 << 20, "{growth} bytes more than before");
    drop(asleep);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    const USERS: usize = 20;
    // More than the buffers between the two can hold.
    const CHANGES: usize = 1_600;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    send(&client, &service, "connect", 0..USERS).await;
    logged(&client, &service, 0, 1 + USERS).await;
    let mut reader = Stream::open(&client, &service, "", None).await.unwrap();
    let start = reader.next().await.unwrap().id.unwrap();
    let mut asleep = asleep(&server, &service).await;
    let heard = tokio::spawn(async move { reader.changes(CHANGES).await });
    // Each of a few users is renamed by one after the other.
    let rename = async |user: usize| {
        for n in 0..CHANGES / USERS {
            let attributes = encode(&json!(format!("{n} {}", "x".repeat(4_000))).to_string());
            let path = format!("/v1/Services/{service}/Users/user-{user}");
            client.post(&path, format!("Attributes={attributes}")).await;
        }
    };
    join_all((0..USERS).map(rename)).await;
    let heard = heard.await.unwrap();
    assert_eq!(heard, changes_after(&client, &service, Some(start)).await.0, "the other reader hears everything");
    wait("it is cut off", async || (!is_open(&asleep)).then_some(())).await;
    // What was on the way comes, and then no more.
    let (mut read, mut buffer) = (0, vec![0; 65_536]);
    while let Ok(length @ 1..) = asleep.read(&mut buffer).await {
        read += length;
    }
    assert!((1..CHANGES * 8_000).contains(&read), "{read} bytes were on the way");
}

/// Whether the server still has its end of a connection.
fn is_open(connection: &TcpStream) -> bool {
    let port = |address: std::io::Result<SocketAddr>| format!(":{:04X}", address.unwrap().port());
    let ends = [port(connection.peer_addr()), port(connection.local_addr())];
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    connections.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The state 01 is an open connection.
        fields[1].ends_with(&ends[0]) && fields[2].ends_with(&ends[1]) && fields[3] == "01"
    })
}

/// The server's memory, in bytes.
fn memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// A client that asks for the stream, and never reads it.
async fn asleep(server: &Server, service: &str) -> TcpStream {
    let credentials = format!("{}:{}", server.account, server.token);
    let credentials = STANDARD.encode(credentials);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut connection = socket.connect(server.address().parse().unwrap()).await.unwrap();
    let head = format!(
        "GET /v1/Services/{service}/Changes HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\
         Authorization: Basic {credentials}\r\n\r\n",
        server.address()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}
