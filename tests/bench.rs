//! What an event costs: through `replay` and through the HTTP door, with few users and with many.
//!
//! Run by `cargo bench`. It prints a table and asserts nothing about times.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::server::{Server, binary};

const USERS: [usize; 2] = [1_000, 1_000_000];
const CLIENTS: usize = 8;

/// What a run took.
struct Cost {
    events: usize,
    wall: Duration,
    /// Processor time of the server or the replay alone, in user and kernel mode.
    cpu: Duration,
}

fn main() {
    // Built before anything is timed.
    binary();
    println!("| what | users | events/s | CPU per event |\n|---|---|---|---|");
    for users in USERS {
        let (short, long) = (replay(users, 2_000_000), replay(users, 4_000_000));
        show("`replay`, two million events", users, &short);
        let more = Cost {
            events: long.events - short.events,
            wall: long.wall.saturating_sub(short.wall),
            cpu: long.cpu.saturating_sub(short.cpu),
        };
        show("`replay`, two million more", users, &more);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for users in USERS {
        runtime.block_on(door(users));
    }
}

fn show(what: &str, users: usize, cost: &Cost) {
    let rate = cost.events as f64 / cost.wall.as_secs_f64();
    let cpu = cost.cpu.as_secs_f64() * 1e6 / cost.events as f64;
    println!("| {what} | {users} | {rate:.0} | {cpu:.1} µs |");
    std::io::stdout().flush().unwrap();
}

fn line(json: &mut String, service: &str, kind: &str, user: usize, connection: usize, at: Timestamp) {
    let end = if kind == "disconnect" { r#","reason":"client_closed""# } else { "" };
    writeln!(
        json,
        r#"{{"type":"{kind}","service_sid":"{service}","identity":"user-{user}","connection_id":"c-{connection}","occurred_at":"{at}"{end}}}"#
    )
    .unwrap();
}

fn replay(users: usize, events: usize) -> Cost {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.jsonl");
    let mut json = String::new();
    for pair in 0..events / 2 {
        let at = Timestamp::from_millis(1_795_132_800_000 + pair as i64);
        for kind in ["connect", "disconnect"] {
            line(&mut json, "IS00000000000000000000000000000001", kind, pair % users, pair, at);
        }
    }
    std::fs::write(&path, json).unwrap();

    let started = Instant::now();
    let mut child = Command::new(binary()).arg("replay").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = 0;
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = Vec::new();
    while std::io::BufRead::read_until(&mut output, b'\n', &mut line).unwrap() > 0 {
        lines += 1;
        line.clear();
    }
    let wall = started.elapsed();
    // It has written its last line, but it is still a zombie, so that its times can be read.
    let cpu = cpu(child.id());
    assert!(child.wait().unwrap().success());
    assert_eq!(lines, users);
    Cost { events, wall, cpu }
}

async fn door(users: usize) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--lease-seconds", "86400"]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let run = async |events: usize, batch: usize, round: usize, kinds: &[&'static str]| {
        let before = cpu(server.pid());
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let kinds: Arc<[&'static str]> = kinds.into();
        let senders: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (client, service, next, kinds) = (client.clone(), service.clone(), next.clone(), kinds.clone());
                tokio::spawn(async move {
                    let path = format!("/v1/Services/{service}/Events");
                    loop {
                        let first = next.fetch_add(batch, Ordering::Relaxed);
                        if first >= events {
                            break;
                        }
                        let mut json = String::new();
                        for event in first..first + batch {
                            let pair = event / kinds.len();
                            // Users in a scrambled order, each as often as the others.
                            let user = pair.wrapping_mul(7_919) % users;
                            let connection = round * 10_000_000 + pair;
                            line(&mut json, &service, kinds[event % kinds.len()], user, connection, clock::now());
                        }
                        client.post(&path, json).await;
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        // The queue keeps the order: once the last event is handled, all are.
        let mut last = String::new();
        line(&mut last, &service, "connect", users + round, 0, clock::now());
        client.post(&format!("/v1/Services/{service}/Events"), last).await;
        let path = format!("/v1/Services/{service}/Users/user-{}", users + round);
        while client.get(&path).await["is_online"] != true {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Cost { events, wall: started.elapsed(), cpu: cpu(server.pid()) - before }
    };
    show("HTTP, 100 a request, first connects", users, &run(users, 100, 1, &["connect"]).await);
    show("HTTP, 100 a request, connect and disconnect", users, &run(200_000, 100, 2, &["connect", "disconnect"]).await);
    show("HTTP, 1 a request, connect and disconnect", users, &run(20_000, 1, 3, &["connect", "disconnect"]).await);
}

/// The processor time that a process has used.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap();
    // The name may hold spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // One tick is 10 ms on every Linux.
    Duration::from_millis(ticks * 10)
}
