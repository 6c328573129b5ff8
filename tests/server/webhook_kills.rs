//! `kill -9` of the server, and the end of the receiver, at any moment under load: every change is told, and of each user in
//! order. `REACHABILITY_WEBHOOK_KILLS` says how many of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reachability_infra::clock;
use reachability_tests::changes::changes_after;
use reachability_tests::client::Client;
use reachability_tests::receiver::{Answer, Receiver, Webhook};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;

const KILLS: u64 = 200;
const CLIENTS: u64 = 3;
const USERS: usize = 8;

/// What comes next of a user: one connection after the other, which is opened and closed.
#[derive(Debug, Clone, Copy, Default)]
struct Next {
    connection: u64,
    closes: bool,
}

/// A user by its number, and what comes next.
type Course = Arc<Mutex<Vec<Next>>>;

fn name(client: u64, user: usize) -> String {
    format!("user-{client}-{user}")
}

/// Opens and closes connections, until the server is gone. What was not answered is sent again.
async fn load(api: &Client, service: &str, client: u64, course: &Course) {
    let mut course = course.lock().await;
    for user in (0..USERS).cycle() {
        let Next { connection, closes } = course[user];
        let mut event = json!({
            "type": if closes { "disconnect" } else { "connect" },
            "service_sid": service,
            "identity": name(client, user),
            "connection_id": format!("c-{connection}"),
            "occurred_at": clock::now().to_string(),
        });
        if closes {
            event["reason"] = "client_closed".into();
        }
        if api.try_post(&format!("/v1/Services/{service}/Events"), event.to_string()).await.is_none() {
            return;
        }
        course[user] = Next { connection: connection + u64::from(closes), closes: !closes };
    }
}

/// What is due later is due now, as if the time had passed.
fn pass_time(directory: &Path) {
    let database = Connection::open(directory.join("reachability.db")).unwrap();
    database.execute("UPDATE webhooks SET due_at = 0 WHERE due_at IS NOT NULL", []).unwrap();
}

/// A webhook: the user, the revision, and the event.
type Told = (String, u64, &'static str);

/// What is to be told of these changes.
fn expected(changes: &[Value]) -> BTreeSet<Told> {
    let mut expected = BTreeSet::new();
    for change in changes.iter().filter(|change| change["type"] == "user") {
        let (identity, revision) = (change["identity"].as_str().unwrap(), change["revision"].as_u64().unwrap());
        if change["reasons"]["exists"].is_string() {
            expected.insert((identity.to_owned(), revision, "onUserAdded"));
        }
        if change["reasons"]["is_online"].is_string() {
            expected.insert((identity.to_owned(), revision, "onUserUpdated"));
        }
    }
    expected
}

fn told(webhook: &Webhook) -> Told {
    let event = if webhook.get("EventType") == "onUserAdded" { "onUserAdded" } else { "onUserUpdated" };
    (webhook.get("Identity").to_owned(), webhook.revision(), event)
}

/// Fails if a webhook came after a later one of the same user, or if a repetition is another than the first. Returns how many
/// were repeated.
fn judge(received: &[Webhook]) -> usize {
    let mut last: BTreeMap<String, &Webhook> = BTreeMap::new();
    let mut repeated = 0;
    for webhook in received {
        let (user, revision, event) = told(webhook);
        if let Some(before) = last.insert(user, webhook) {
            let (_, revision_before, event_before) = told(before);
            assert!((revision_before, event_before) <= (revision, event), "{before:#?}\nand then {webhook:#?}");
            if (revision_before, event_before) == (revision, event) {
                assert_eq!((before.token(), &before.body), (webhook.token(), &webhook.body));
                assert_eq!(before.headers["x-twilio-signature"], webhook.headers["x-twilio-signature"]);
                repeated += 1;
            }
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_webhook_is_lost_and_none_comes_after_a_later_one() {
    let kills = std::env::var("REACHABILITY_WEBHOOK_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let (address, inbox, url) = (receiver.address, receiver.inbox.clone(), receiver.url("/"));
    // Some answers take a while, and some are none.
    let mut count = 0;
    inbox.answer(move |_| {
        count += 1;
        match count % 10 {
            0 => Answer::Status(500),
            3 => Answer::After(Duration::from_millis(20)),
            _ => Answer::Status(200),
        }
    });
    let mut receiver = Some(receiver);
    let courses: Vec<Course> = (0..CLIENTS).map(|_| Arc::new(Mutex::new(vec![Next::default(); USERS]))).collect();
    let mut service = String::new();
    for kill in 0..kills {
        if kill > 0 {
            pass_time(directory.path());
        }
        let server = Server::start(directory.path(), &[]);
        let api = Arc::new(Client::of(&server));
        if kill == 0 {
            service = api.enabled_service().await;
            let form = format!("PostWebhookUrl={url}&Filters=onUserAdded&Filters=onUserUpdated");
            api.post(&format!("/v1/Services/{service}/Configuration/Webhooks"), form).await;
        }
        let clients: Vec<_> = courses
            .iter()
            .zip(0..)
            .map(|(course, client)| {
                let (api, service, course) = (api.clone(), service.clone(), course.clone());
                tokio::spawn(async move { load(&api, &service, client, &course).await })
            })
            .collect();
        // The moments differ: the receiver ends before the server, and is back before or after it.
        sleep(Duration::from_micros(20_000 + kill * 7_919 % 60_000)).await;
        drop(receiver.take());
        sleep(Duration::from_micros(kill * 3_571 % 20_000)).await;
        if kill % 2 == 0 {
            receiver = Some(Receiver::start_at(address, inbox.clone()).await);
            sleep(Duration::from_micros(kill * 5_563 % 40_000)).await;
        }
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
        if receiver.is_none() {
            receiver = Some(Receiver::start_at(address, inbox.clone()).await);
        }
    }
    inbox.answer(|_| Answer::Status(200));
    pass_time(directory.path());
    let server = Server::start(directory.path(), &[]);
    let api = Client::of(&server);
    wait("everything is told", async || {
        let (changes, _) = changes_after(&api, &service, None).await;
        let received: BTreeSet<Told> = inbox.all().iter().map(told).collect();
        let expected = expected(&changes);
        assert!(received.is_subset(&expected), "never happened: {:?}", received.difference(&expected));
        (received == expected).then_some(())
    })
    .await;
    let received = inbox.all();
    let repeated = judge(&received);
    println!("{kills} kills of each, {} webhooks, {repeated} of them repetitions", received.len());
    assert!(received.len() as u64 > 2 * kills, "only {}: there was no load", received.len());
}
