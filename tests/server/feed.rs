//! The feed: every change is told, whenever the process dies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::identity::UserKey;
use reachability_domain::push::channel::Channel;
use reachability_infra::clock;
use reachability_infra::sqlite::SqliteStore;
use reachability_tests::changes::{Known, changes_after, shown};
use reachability_tests::client::{Client, answer_to};
use reachability_tests::events;
use reachability_tests::queues::database;
use reachability_tests::registrations::Unconfirmed;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

const KILLS: u64 = 60;
const CLIENTS: u64 = 4;
const USERS: u64 = 25;

/// Sends a request, which may find nothing, or that somebody else was first. Returns the answer; `None` if none came.
async fn ask(client: &Client, method: Method, path: &str, form: &[(&str, &str)]) -> Option<Value> {
    let request = client.request(method.clone(), path);
    let (status, answer) = answer_to(if method == Method::POST { request.form(form) } else { request }).await?;
    assert!([200, 201, 202, 204, 404, 409].contains(&status), "{method} {path}: {status}, {answer}");
    Some(answer)
}

/// Changes all that can be changed of a few users, until the server is gone.
async fn load(client: &Client, service: &str, next: &AtomicU64) -> Option<()> {
    let path = |rest: &str| format!("/v1/Services/{service}/{rest}");
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let event = |kind: &str, user: u64| {
            let mut event = events::event(service, &format!("user-{}", user % USERS), kind);
            (event["connection_id"], event["lease_seconds"]) = (json!(format!("c-{}", n % 3)), json!(86_400));
            if kind == "disconnect" {
                event["reason"] = json!(["client_closed", "connection_lost", "server_closed"][(n % 3) as usize]);
            }
            event
        };
        let kind = if n % 5 < 3 { "connect" } else { "disconnect" };
        let events: Vec<Value> = (0..5).map(|more| event(kind, n * 7 + more)).collect();
        client.try_post(&path("Events"), Value::from(events).to_string()).await?;
        let identity = format!("user-{}", n * 11 % USERS);
        match n % 8 {
            0..4 => {
                // A device changes hands now and then.
                let token = format!("token-{}", n % 40);
                let form = [("Identity", identity.as_str()), ("BindingType", "fcm"), ("Address", &token)];
                ask(client, Method::POST, &path("Bindings"), &form).await?;
            }
            4 => {
                let bindings = ask(client, Method::GET, &path(&format!("Bindings?Identity={identity}")), &[]).await?;
                for binding in bindings["bindings"].as_array().unwrap() {
                    let binding = path(&format!("Bindings/{}", binding["sid"].as_str().unwrap()));
                    ask(client, Method::DELETE, &binding, &[]).await?;
                }
            }
            5 => {
                let form = [("FriendlyName", format!("name {n}"))];
                let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
                ask(client, Method::POST, &path(&format!("Users/{identity}")), &form).await?;
            }
            6 => drop(ask(client, Method::DELETE, &path(&format!("Users/{identity}")), &[]).await?),
            _ => {
                let on = if n % 16 == 7 { "false" } else { "true" };
                ask(client, Method::POST, &path("Configuration"), &[("ReachabilityEnabled", on)]).await?;
            }
        }
    }
}

/// Waits until the log of changes tells what the server shows: it never does as long as a change is not told. Returns the
/// log.
async fn settled(client: &Client, service: &str) -> Vec<Value> {
    let agree = async || {
        let (log, cursor) = changes_after(client, service, None).await;
        let shown = shown(client, service).await;
        // Both are read at different times.
        let is_still = changes_after(client, service, Some(cursor)).await.0.is_empty();
        let known = Known::of(&log);
        (is_still && known.users() == shown).then_some(log)
    };
    wait("the log of changes tells what is shown", agree).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_no_change_untold() {
    let directory = tempfile::tempdir().unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let (mut service, mut cursor, mut read) = (String::new(), None, vec![]);
    for kill in 0..KILLS {
        let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
        let client = Arc::new(Client::of(&server));
        if kill == 0 {
            service = client.enabled_service().await;
        } else if kill % 8 == 0 {
            settled(&client, &service).await;
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (client, service, next) = (client.clone(), service.clone(), next.clone());
                tokio::spawn(async move { load(&client, &service, &next).await })
            })
            .collect();
        // A client that reads on meanwhile, and is cut off too.
        if kill % 2 == 1 {
            let (more, end) = changes_after(&client, &service, cursor).await;
            read.extend(more);
            cursor = Some(end);
        }
        tokio::time::sleep(Duration::from_micros(20_000 + kill * 7_919 % 200_000)).await;
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
    }

    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    let client = Client::of(&server);
    client.post(&format!("/v1/Services/{service}/Configuration"), "ReachabilityEnabled=true").await;
    let log = settled(&client, &service).await;
    assert!(Known::of(&log).is_on());
    // Whoever reads on with the cursor has read the same as whoever reads it all at once.
    read.extend(changes_after(&client, &service, cursor).await.0);
    assert!(read.len() >= log.len(), "{} of {}", read.len(), log.len());
    for (one, other) in read.iter().zip(&log) {
        assert_eq!(one, other);
    }
    let count = |word: &str| log.iter().filter(|change| change.to_string().contains(word)).count();
    let words = [
        "\"is_online\":\"connect\"",
        "client_closed",
        "connection_lost",
        "server_closed",
        "\"is_notifiable\":\"registered\"",
        "unregistered",
        "\"is_notifiable\":\"switched\"",
        "\"type\":\"profile\"",
        "\"type\":\"service\"",
        "\"exists\":\"deleted\"",
    ];
    for word in words {
        assert!(count(word) > 0, "there was no load: no {word} in {} changes", log.len());
    }
    // What is told now is the end: reachability is on, and whoever connects is online.
    client.post(&format!("/v1/Services/{service}/Events"), events::event(&service, "new", "connect").to_string()).await;
    wait("the next one is told", async || {
        let known = Known::of(&changes_after(&client, &service, None).await.0);
        (known.users().get("new") == Some(&json!([true, null]))).then_some(())
    })
    .await;
    println!("{KILLS} kills, {} changes, {} requests", log.len(), next.load(Ordering::Relaxed));
    assert!(server.stop().0.success());
}

/// Registers a device in the server's database, as of this generation.
async fn register(directory: &Path, user: UserKey, generation: u32) {
    let store = SqliteStore::new(database(directory));
    let token = format!("token-of-{}", user.identity.as_str());
    let generation = Generation(generation);
    let at = clock::now();
    Unconfirmed { user, channel: Channel::Fcm, token, credential: None, at, generation }.store(&store).await;
}

/// Somebody reads the configuration, and registers a device after reachability was switched on again and all users were
/// announced. The process dies before it is told.
#[tokio::test]
async fn a_registration_of_an_earlier_generation_is_announced_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let configuration = format!("/v1/Services/{service}/Configuration");
    for on in [false, true, false, true] {
        client.post(&configuration, format!("ReachabilityEnabled={on}")).await;
    }
    let (_, cursor) = changes_after(&client, &service, None).await;
    server.kill();
    let user = |identity: &str| UserKey { service: service.parse().unwrap(), identity: identity.parse().unwrap() };
    for (identity, generation) in [("never", 0), ("first", 1), ("second", 2), ("third", 3)] {
        register(directory.path(), user(identity), generation).await;
    }

    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let all = async || {
        let (log, _) = changes_after(&client, &service, None).await;
        let users = Known::of(&log).users();
        (users.len() == 4 && users.values().all(|value| *value == json!([null, true]))).then_some(users)
    };
    assert_eq!(wait("all are told", all).await, shown(&client, &service).await);
    let (new, _) = changes_after(&client, &service, Some(cursor)).await;
    for (identity, expected) in
        [("never", &["registered", "switched"][..]), ("first", &["registered", "switched"]), ("third", &["registered"])]
    {
        let reasons: Vec<&str> = new
            .iter()
            .filter(|change| change["identity"] == identity)
            .flat_map(|change| change["reasons"].as_object().unwrap().values().map(|reason| reason.as_str().unwrap()))
            .collect();
        let mut reasons = reasons;
        reasons.dedup();
        assert_eq!(reasons, expected, "{identity}");
    }

    // While it is off nobody is told, and afterwards everybody is.
    client.post(&configuration, "ReachabilityEnabled=false").await;
    server.kill();
    register(directory.path(), user("fourth"), 2).await;
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let users = shown(&client, &service).await;
    assert!(users.len() == 5 && users.values().all(|value| *value == json!([null, null])), "{users:?}");
    client.post(&configuration, "ReachabilityEnabled=true").await;
    let all = async || {
        let users = Known::of(&changes_after(&client, &service, None).await.0).users();
        (users.len() == 5 && users.values().all(|value| *value == json!([null, true]))).then_some(())
    };
    wait("all are told again", all).await;
    assert!(server.stop().0.success());
}
