//! `kill -9` under load, a hundred times: what was accepted is in the result.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reachability_tests::client::Client;
use reachability_tests::events;
use reachability_tests::server::Server;
use serde_json::Value;

const KILLS: u64 = 100;
const CLIENTS: u64 = 4;

/// The events of a user's connection that the server has accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Accepted {
    connect: bool,
    disconnect: bool,
    /// A request was sent and not answered: its events may have been accepted or not.
    unsure: bool,
}

type Ledger = Arc<Mutex<BTreeMap<String, Accepted>>>;

/// An event of a connection that outlives the test.
fn event(service: &str, identity: &str, kind: &str) -> Value {
    let mut event = events::event(service, identity, kind);
    event["lease_seconds"] = 86_400.into();
    event
}

/// Connects users and disconnects every other one again, until the server is gone.
async fn load(client: &Client, service: &str, ledger: &Ledger, next: &AtomicU64) {
    loop {
        let users: Vec<String> = (0..5).map(|_| format!("user-{}", next.fetch_add(1, Ordering::Relaxed))).collect();
        let kinds = [("connect", &users[..]), ("disconnect", &users[3..])];
        for (kind, users) in kinds {
            for user in users {
                ledger.lock().unwrap().entry(user.clone()).or_default().unsure = true;
            }
            let events: Vec<Value> = users.iter().map(|user| event(service, user, kind)).collect();
            let answer =
                client.try_post(&format!("/v1/Services/{service}/Events"), Value::from(events).to_string()).await;
            let Some(answer) = answer else { return };
            assert_eq!(answer["accepted"], users.len());
            let mut ledger = ledger.lock().unwrap();
            for user in users {
                let accepted = ledger.entry(user.clone()).or_default();
                accepted.unsure = false;
                accepted.connect |= kind == "connect";
                accepted.disconnect |= kind == "disconnect";
            }
        }
    }
}

/// The accepted events that are missing from what the server shows.
fn missing(ledger: &Ledger, found: &BTreeMap<String, Option<bool>>) -> Vec<String> {
    let ledger = ledger.lock().unwrap();
    let wrong = ledger.iter().filter(|(user, accepted)| {
        let online = found.get(*user).copied().flatten();
        match accepted {
            Accepted { connect: true, disconnect: true, .. } => online != Some(false),
            Accepted { connect: true, unsure: true, .. } => online.is_none(),
            Accepted { connect: true, .. } => online != Some(true),
            Accepted { connect: false, .. } => false,
        }
    });
    wrong.map(|(user, accepted)| format!("{user}: {accepted:?}, {:?}", found.get(user))).collect()
}

async fn settled(client: &Client, service: &str, ledger: &Ledger) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let missing = missing(ledger, &client.everybody(service).await);
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "lost: {missing:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many connects were accepted.
fn accepted_connects(ledger: &Ledger) -> usize {
    ledger.lock().unwrap().values().filter(|accepted| accepted.connect).count()
}

async fn accepted_more_than(count: usize, ledger: &Ledger) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while accepted_connects(ledger) <= count {
        assert!(Instant::now() < deadline, "nothing is accepted");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::default();
    let next = Arc::new(AtomicU64::new(0));
    let mut service = String::new();
    for kill in 0..KILLS {
        let server = Server::start(directory.path(), &[]);
        let client = Arc::new(Client::of(&server));
        if kill == 0 {
            service = client.enabled_service().await;
        } else if kill % 10 == 0 {
            settled(&client, &service, &ledger).await;
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (client, service, ledger, next) = (client.clone(), service.clone(), ledger.clone(), next.clone());
                tokio::spawn(async move { load(&client, &service, &ledger, &next).await })
            })
            .collect();
        // Other tests may keep the machine busy: every other time, wait until there is load.
        if kill % 2 == 1 {
            accepted_more_than(10 * (kill as usize + 1), &ledger).await;
        }
        // The moments differ: within an answer, a commit, or a checkpoint.
        tokio::time::sleep(Duration::from_micros(10_000 + kill * 7_919 % 120_000)).await;
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
    }
    let server = Server::start(directory.path(), &[]);
    settled(&Client::of(&server), &service, &ledger).await;
    let accepted = accepted_connects(&ledger);
    println!("{KILLS} kills, {accepted} accepted connects, none lost");
    assert!(accepted > 1_000, "only {accepted} events were accepted: there was no load");
}
