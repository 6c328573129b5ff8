//! A restart under many of our own clients: all come back, and restore all that they watch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use reachability_client::{Client, Connection, Event, QueryOptions, Watch};
use reachability_tests::measure::{Durations, Used, peak_memory, resident_memory};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{timeout, timeout_at};

use crate::clients::{Told, connect, frames, listen};
use crate::ours::Ours;
use crate::peer::Peer;
use crate::process::free_address;

const CLIENTS: usize = 10_000;

/// How many others each watches, who all come back as well.
const WATCHED: usize = 10;

/// How long it is listened after the server's start: those who had not come back would be offline then.
const LISTEN: Duration = Duration::from_secs(32);

pub(crate) async fn measure() {
    println!(
        "\n| {CLIENTS} clients, each of which watches {WATCHED} others | stopped after | started after | back after: p50 / p99 / max | connect → restored: p50 / p99 / max | back | attempts that failed | CPU a client | memory connected, watching, restored, at most | messages a client | messages of changes, changes told |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for kills in [false, true] {
        restart(kills).await;
    }
}

async fn restart(kills: bool) {
    // Clients come back to where they were.
    let ours = Ours::start("ours", &["--listen", &free_address().to_string()], 0).await;
    let connected = stream::iter(0..CLIENTS).map(|number| {
        let ours = &ours;
        async move { connect(ours, &identity(number)).await }
    });
    let clients: Vec<Client> = connected.buffered(16).collect().await;
    let mut memory = vec![resident_memory(ours.pid())];
    let watches: Vec<Watch> = stream::iter(clients.iter().enumerate()).map(watch).buffer_unordered(16).collect().await;
    memory.push(resident_memory(ours.pid()));
    let (tell, mut told) = unbounded_channel();
    for (number, client) in clients.iter().enumerate() {
        listen(client, number, &tell);
    }
    // Everybody has seen that everybody is there.
    while timeout(Duration::from_secs(2), told.recv()).await.is_ok() {}

    let before = frames(&clients);
    let (server, start) = ours.into_server();
    let began = Instant::now();
    let stop = move || if kills { server.kill() } else { assert!(server.stop().0.success()) };
    spawn_blocking(stop).await.unwrap();
    let stopped = Instant::now();
    let (server, _start) = spawn_blocking(move || (start(), start)).await.unwrap();
    let ready = Instant::now();
    let mut storm = Storm::default();
    storm.hear(&mut told, ready + Duration::from_secs(60), began, true).await;
    let cpu = Used::by(server.pid()).cpu.as_secs_f64() * 1e6 / CLIENTS as f64;
    memory.extend([resident_memory(server.pid()), peak_memory(server.pid()) * 1_024]);
    storm.hear(&mut told, ready + LISTEN, began, false).await;
    let after = frames(&clients);
    let memory: Vec<String> = memory.iter().map(|memory| (memory / 1_024).to_string()).collect();
    println!(
        "| {} | {:.1} s | {:.1} s | {} | {} | {} | {} | {cpu:.0} µs | {} MiB | {:.2} | {}, {} |",
        if kills { "`kill -9`" } else { "SIGTERM" },
        (stopped - began).as_secs_f64(),
        (ready - stopped).as_secs_f64(),
        storm.back,
        storm.restored,
        storm.came_back,
        // Each connection has ended once.
        storm.failures.values().sum::<usize>().saturating_sub(CLIENTS),
        memory.join(", "),
        (after.received - before.received) as f64 / CLIENTS as f64,
        after.events - before.events,
        storm.changes
    );
    println!("  Connections and attempts ended so: {:?}", storm.failures);
    drop(watches);
    join_all(clients.iter().map(Client::disconnect)).await;
}

/// How all come back.
#[derive(Default)]
struct Storm {
    /// When each that is not back began to try last.
    attempts: BTreeMap<usize, Instant>,
    came_back: usize,
    /// After how long, since the server began to stop.
    back: Durations,
    /// From the beginning of the attempt until all watches were restored.
    restored: Durations,
    /// Why connections ended, or did not come about.
    failures: BTreeMap<String, usize>,
    /// What they told besides.
    changes: usize,
}

impl Storm {
    /// Hears what the clients tell until then, or until all are back.
    async fn hear(&mut self, told: &mut UnboundedReceiver<Told>, end: Instant, began: Instant, until_back: bool) {
        while let Ok(Some(Told { client, at, event })) = timeout_at(end.into(), told.recv()).await {
            match event {
                Event::ConnectionChanged(Connection::Offline { why, retry_in }) => {
                    *self.failures.entry(why.to_string()).or_default() += 1;
                    self.attempts.insert(client, at + retry_in);
                }
                Event::ConnectionChanged(Connection::Online { .. }) => {
                    if let Some(attempt) = self.attempts.remove(&client) {
                        self.restored.0.push(at.saturating_duration_since(attempt));
                    }
                    self.back.0.push(at - began);
                    self.came_back += 1;
                    if until_back && self.came_back == CLIENTS {
                        return;
                    }
                }
                Event::ConnectionChanged(Connection::Closed { why }) => {
                    *self.failures.entry(format!("for good: {why}")).or_default() += 1;
                }
                _ => self.changes += 1,
            }
        }
    }
}

fn identity(number: usize) -> String {
    format!("user-{number}")
}

/// Has a client watch those who come after it.
async fn watch((number, client): (usize, &Client)) -> Watch {
    let users: Vec<String> = (1..=WATCHED).map(|more| identity((number + more) % CLIENTS)).collect();
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let found = client.query_users(json!({"id": {"$in": users}}), Value::Null, options).await.unwrap();
    assert_eq!(found.users.len(), WATCHED);
    found.watch.unwrap()
}
