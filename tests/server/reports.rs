//! Webhooks that report devices, of the real server to a real HTTP server: deliveries that were given up, and registrations
//! that cannot be reached any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::clients;
use reachability_tests::providers::{self, Answer, Apple, Ca, Google};
use reachability_tests::receiver::{Answer as Reply, Receiver, Webhook};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

const BOTH: [&str; 2] = ["onNotificationFailed", "onBindingDead"];

/// Providers, and the directory of a server that sends pushes to them.
struct Scene {
    directory: TempDir,
    apple: Apple,
    google: Google,
}

impl Scene {
    async fn new() -> Self {
        let ca = Arc::new(Ca::new());
        let apple = Apple::start_with(ca.clone(), clock::now).await;
        let google = Google::start_with(ca.clone(), clock::now).await;
        let directory = tempfile::tempdir().unwrap();
        ca.write(&directory.path().join("ca.pem"));
        Self { directory, apple, google }
    }

    fn serve(&self) -> Server {
        Server::start_with(&self.data(), &[], |command| {
            providers::send_to(command, &self.directory.path().join("ca.pem"), &self.apple, &self.google);
        })
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Creates a credential for each provider: devices of Google are checked when they register, those of Apple are not.
    /// Returns their sids.
    async fn credentials(&self, client: &Client) -> [String; 2] {
        let key = self.apple.key().expose().to_owned();
        let apn = [&Apple::credential(&key)[..], &[("RegistrationCheck", "none")]].concat();
        let account = Google::service_account(Google::key().expose());
        let fcm = [("Type", "fcm"), ("Secret", &*account)];
        [made(client, "/v1/Credentials", &apn).await, made(client, "/v1/Credentials", &fcm).await]
    }
}

/// Creates something. Returns its sid.
async fn made(client: &Client, path: &str, form: &[(&str, &str)]) -> String {
    let (status, made) = client.send(Method::POST, path, form).await;
    assert_eq!(status, 201, "{made}");
    made["sid"].as_str().unwrap().to_owned()
}

/// Has these webhooks of a service sent to this URL.
async fn send_to(client: &Client, service: &str, url: &str, events: &[&str]) {
    let mut form = vec![("PostWebhookUrl", url)];
    form.extend(events.iter().map(|event| ("Filters", *event)));
    let path = format!("/v1/Services/{service}/Configuration/Webhooks");
    let (status, answer) = client.send(Method::POST, &path, &form).await;
    assert_eq!(status, 200, "{answer}");
}

/// Registers a device of a user. Returns the sid of the binding.
async fn register(client: &Client, service: &str, identity: &str, channel: &str, token: &str) -> String {
    let form = [("Identity", identity), ("BindingType", channel), ("Address", token)];
    made(client, &format!("/v1/Services/{service}/Bindings"), &form).await
}

/// Sends a notification to a user. Returns its sid.
async fn notify(client: &Client, service: &str, identity: &str) -> String {
    let form = [("Identity", identity), ("Title", "Hello")];
    made(client, &format!("/v1/Services/{service}/Notifications"), &form).await
}

/// Waits for so many webhooks, and takes them, in the order of their events.
async fn take(receiver: &Receiver, count: usize) -> Vec<Webhook> {
    wait(&format!("{count} webhooks"), async || (receiver.inbox.count() >= count).then_some(())).await;
    let mut taken = receiver.inbox.take();
    assert_eq!(taken.len(), count, "{taken:#?}");
    taken.sort_by_key(|webhook| (webhook.get("EventType").to_owned(), webhook.get("BindingSid").to_owned()));
    taken
}

/// What a webhook tells, besides what is the same for all of a service, and the time.
fn own(webhook: &Webhook) -> BTreeMap<&str, &str> {
    let common = ["AccountSid", "ChatServiceSid", "InstanceSid", "DateUpdated"];
    let all = webhook.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.filter(|(name, _)| !common.contains(name)).collect()
}

/// Waits until a binding has this status.
async fn until(client: &Client, service: &str, binding: &str, status: &str) {
    wait(status, async || {
        let found = client.get(&format!("/v1/Services/{service}/Bindings/{binding}")).await;
        (found["status"] == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_becomes_of_devices_is_reported() {
    let (scene, receiver) = (Scene::new().await, Receiver::start().await);
    let server = scene.serve();
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let [apn, fcm] = scene.credentials(&client).await;
    send_to(&client, &service, &receiver.url("/hook"), &BOTH).await;
    scene.apple.answer("0001", Answer::apns(410, "Unregistered"));
    scene.apple.answer("0002", Answer::apns(400, "BadDeviceToken"));
    scene.apple.answer("0003", Answer::apns(413, "PayloadTooLarge"));
    scene.google.answer("gone", Answer::fcm(404, "NOT_FOUND", Some("UNREGISTERED")));

    // An answer to a notification: the delivery fails and the registration dies of it, is undeliverable, or stays as it is.
    let mut expected = Vec::new();
    let mut captured = Vec::new();
    let told = |webhooks: &[Webhook]| -> Vec<Value> { webhooks.iter().map(|webhook| json!(own(webhook))).collect() };
    for (token, reason, status) in [
        ("0001", "Unregistered", Some("dead")),
        ("0002", "BadDeviceToken", Some("undeliverable")),
        ("0003", "PayloadTooLarge", None),
    ] {
        let binding = register(&client, &service, "alice & bob", "apn", token).await;
        let notification = notify(&client, &service, "alice & bob").await;
        if let Some(status) = status {
            expected.push(json!({
                "EventType": "onBindingDead", "Identity": "alice & bob", "BindingSid": binding, "BindingType": "apn",
                "CredentialSid": apn, "Status": status, "Reason": reason,
            }));
        }
        expected.push(json!({
            "EventType": "onNotificationFailed", "Identity": "alice & bob", "BindingSid": binding,
            "BindingType": "apn", "NotificationSid": notification, "Status": "failed", "Reason": reason,
            "Attempts": "1",
        }));
        let taken = take(&receiver, expected.len()).await;
        assert_eq!(told(&taken), expected);
        expected.clear();
        captured.extend(taken);
        client.delete(&format!("/v1/Services/{service}/Bindings/{binding}")).await;
    }
    // A check finds it.
    let binding = register(&client, &service, "carol", "fcm", "gone").await;
    let died = json!({
        "EventType": "onBindingDead", "Identity": "carol", "BindingSid": binding, "BindingType": "fcm",
        "CredentialSid": fcm, "Status": "dead", "Reason": "UNREGISTERED",
    });
    captured.extend(take(&receiver, 1).await);
    assert_eq!(told(&captured[captured.len() - 1..]), std::slice::from_ref(&died));
    // It registers again, and dies again: that is another death.
    register(&client, &service, "carol", "fcm", "gone").await;
    captured.extend(take(&receiver, 1).await);
    assert_eq!(told(&captured[captured.len() - 1..]), [died]);

    let tokens: BTreeSet<&str> = captured.iter().map(Webhook::token).collect();
    assert_eq!(tokens.len(), captured.len(), "each has its own");
    for webhook in &captured {
        let (account, at) = (webhook.get("AccountSid"), webhook.get("DateUpdated"));
        assert_eq!((account, webhook.get("ChatServiceSid")), (server.account.as_str(), service.as_str()));
        assert!(at.parse::<Timestamp>().is_ok(), "{at}");
        assert!(!webhook.body.contains("gone") && !webhook.body.contains("=000"), "no token: {}", webhook.body);
    }
    // The vendor's library finds the signatures right.
    let valid = |webhook: &Webhook| {
        let signature = &webhook.headers["x-twilio-signature"];
        json!({ "url": webhook.url, "form": webhook.parameters, "signature": signature, "valid": true })
    };
    clients::validate(clients::python("webhooks.py"), &server.token, &captured.iter().map(valid).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_what_the_filters_name_is_reported() {
    let (scene, receiver) = (Scene::new().await, Receiver::start().await);
    scene.apple.answer_all(Answer::apns(410, "Unregistered"));
    let server = scene.serve();
    let client = Client::of(&server);
    scene.credentials(&client).await;
    // The filters of the service, if it has a URL, and else those of the account.
    let url = receiver.url("/account");
    let account = [("PostWebhookUrl", url.as_str()), ("Filters", BOTH[1])];
    let (status, answer) = client.send(Method::POST, "/v1/Configuration/Webhooks", &account).await;
    assert_eq!(status, 200, "{answer}");
    let mut services = Vec::new();
    for (n, events) in [None, Some(&["onUserAdded"][..]), Some(&BOTH[..1]), Some(&[])].into_iter().enumerate() {
        let service = client.enabled_service().await;
        if let Some(events) = events {
            send_to(&client, &service, &receiver.url(&format!("/{n}")), events).await;
        }
        let binding = register(&client, &service, "alice", "apn", &format!("{n:04x}")).await;
        notify(&client, &service, "alice").await;
        until(&client, &service, &binding, "dead").await;
        services.push(service);
    }
    let taken = take(&receiver, 3).await;
    let told: BTreeSet<(&str, &str)> = taken.iter().map(|it| (it.get("EventType"), it.get("ChatServiceSid"))).collect();
    let [of_account, users, failed, _] = &services[..] else { panic!("{services:?}") };
    assert_eq!(
        told,
        BTreeSet::from([
            ("onBindingDead", of_account.as_str()),
            ("onUserAdded", users.as_str()),
            ("onNotificationFailed", failed.as_str()),
        ])
    );
    // What nobody wants to be told of is not even written.
    let database = Connection::open(scene.data().join("reachability.db")).unwrap();
    let reports = "SELECT count(*) FROM feed WHERE report IS NOT NULL";
    assert_eq!(database.query_row(reports, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    assert_eq!(receiver.inbox.count(), 0);
}

/// What waits is due now, as if the time had passed.
fn pass_time(directory: &Path) {
    let database = Connection::open(directory.join("reachability.db")).unwrap();
    database.execute("UPDATE webhooks SET due_at = 0 WHERE due_at IS NOT NULL", []).unwrap();
}

/// The sids of the binding and, for a failed delivery, of the notification.
type Told = (String, String);

/// Everything that was stored and is to be reported; `None` while a delivery waits.
async fn stored(client: &Client, service: &str, notifications: &[String]) -> Option<BTreeSet<Told>> {
    let mut stored = BTreeSet::new();
    for notification in notifications {
        let found = client.get(&format!("/v1/Services/{service}/Notifications/{notification}/Deliveries")).await;
        for delivery in found["deliveries"].as_array().unwrap() {
            if delivery["status"] != "failed" {
                return None;
            }
            stored.insert((delivery["binding_sid"].as_str().unwrap().to_owned(), notification.clone()));
        }
    }
    let found = client.get(&format!("/v1/Services/{service}/Bindings?PageSize=100")).await;
    let dead = found["bindings"].as_array().unwrap().iter().filter(|binding| binding["status"] == "dead");
    stored.extend(dead.map(|binding| (binding["sid"].as_str().unwrap().to_owned(), String::new())));
    Some(stored)
}

/// What was told. Whatever was told again was told in the same words.
fn told(received: &[Webhook]) -> BTreeSet<Told> {
    let (mut told, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for webhook in received {
        let what = (webhook.get("BindingSid").to_owned(), webhook.get("NotificationSid").to_owned());
        assert_eq!(*told.entry(what).or_insert(webhook.token()), webhook.token(), "one token for each report");
        assert_eq!(*bodies.entry(webhook.token()).or_insert(&webhook.body), &webhook.body);
    }
    told.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_report_is_lost_by_a_kill_or_while_the_receiver_is_down() {
    const KILLS: u64 = 12;
    const DEVICES: u64 = 8;
    let (scene, receiver) = (Scene::new().await, Receiver::start().await);
    scene.apple.answer_all(Answer::apns(410, "Unregistered"));
    let (address, inbox, url) = (receiver.address, receiver.inbox.clone(), receiver.url("/"));
    let mut count = 0;
    inbox.answer(move |_| {
        count += 1;
        if count % 5 == 0 { Reply::Status(500) } else { Reply::Status(200) }
    });
    let mut receiver = Some(receiver);
    let (mut service, mut notifications) = (String::new(), Vec::new());
    for kill in 0..KILLS {
        if kill > 0 {
            pass_time(&scene.data());
        }
        let server = scene.serve();
        let client = Client::of(&server);
        if kill == 0 {
            service = client.enabled_service().await;
            scene.credentials(&client).await;
            send_to(&client, &service, &url, &BOTH).await;
        }
        let user = format!("user-{kill}");
        for n in 0..DEVICES {
            register(&client, &service, &user, "apn", &format!("{:08x}", kill << 8 | n)).await;
        }
        notifications.push(notify(&client, &service, &user).await);
        sleep(Duration::from_micros(kill * 7_919 % 60_000)).await;
        // The receiver is gone before the server, or with it.
        if kill % 3 == 0 {
            drop(receiver.take());
            sleep(Duration::from_micros(kill * 3_571 % 20_000)).await;
        }
        server.kill();
        if receiver.is_none() {
            receiver = Some(Receiver::start_at(address, inbox.clone()).await);
        }
    }
    inbox.answer(|_| Reply::Status(200));
    pass_time(&scene.data());
    let server = scene.serve();
    let client = Client::of(&server);
    let found = wait("everything is reported", async || {
        let stored = stored(&client, &service, &notifications).await?;
        (told(&inbox.all()) == stored).then_some(stored)
    })
    .await;
    println!("{} webhooks for {} reports", inbox.count(), found.len());
    let deliveries = found.iter().filter(|(_, notification)| !notification.is_empty()).count();
    assert_eq!(deliveries, usize::try_from(KILLS * DEVICES).unwrap());
    // One that was killed after it had stored that a delivery failed may not have stored what that says of the device.
    assert!(found.len() > deliveries + deliveries / 2, "{}", found.len());
}
