//! The one-process server with stand-ins for Apple and Google: registrations over the API, dead ones among them,
//! secrets, which must not appear anywhere, and providers that do not answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::push::channel::Channel;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::SqliteStore;
use reachability_test_keys as keys;
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::harness::{SETTINGS, rules};
use reachability_tests::ids;
use reachability_tests::providers::{self, Answer, Apple, Ca, Google, Request};
use reachability_tests::queues::database;
use reachability_tests::registrations::Unconfirmed;
use reachability_tests::server::Server;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The server and its providers.
pub(crate) struct Scene {
    directory: TempDir,
    pub(crate) server: Server,
    arguments: &'static [&'static str],
    pub(crate) apple: Apple,
    google: Google,
    /// Every answer that was given.
    answers: Vec<String>,
}

impl Scene {
    async fn new() -> Self {
        let ca = Arc::new(Ca::new());
        Self::with(ca.clone(), &ca, &[]).await
    }

    /// Apple and Google have certificates of the first authority, while the server trusts the second, and has more arguments.
    pub(crate) async fn with(ca: Arc<Ca>, trusted: &Ca, arguments: &'static [&'static str]) -> Self {
        let apple = Apple::start_with(ca.clone(), clock::now).await;
        let google = Google::start_with(ca, clock::now).await;
        let directory = tempfile::tempdir().unwrap();
        let server = Self::serve(&directory, trusted, &apple, &google, arguments);
        Self { directory, server, arguments, apple, google, answers: vec![] }
    }

    fn serve(directory: &TempDir, trusted: &Ca, apple: &Apple, google: &Google, arguments: &[&str]) -> Server {
        trusted.write(&directory.path().join("ca.pem"));
        Server::start_with(&directory.path().join("data"), arguments, |command| {
            providers::send_to(command, &directory.path().join("ca.pem"), apple, google);
            command.env("RUST_LOG", "trace");
        })
    }

    /// Ends the server with `SIGKILL`, and starts it again.
    pub(crate) fn kill(self, trusted: &Ca) -> Self {
        let Self { directory, server, arguments, apple, google, answers } = self;
        server.kill();
        let server = Self::serve(&directory, trusted, &apple, &google, arguments);
        Self { directory, server, arguments, apple, google, answers }
    }

    /// The server's store, opened by the test as well.
    fn store(&self) -> SqliteStore {
        SqliteStore::new(database(&self.directory.path().join("data")))
    }

    /// Restarts the server, which then trusts this authority. Returns what it logged before.
    fn restart(self, trusted: &Ca) -> (Self, String) {
        let Self { directory, server, arguments, apple, google, answers } = self;
        let (status, logs) = server.stop();
        assert!(status.success());
        let server = Self::serve(&directory, trusted, &apple, &google, arguments);
        (Self { directory, server, arguments, apple, google, answers }, logs)
    }

    /// Creates a service. Returns its sid.
    async fn service(&mut self) -> String {
        self.made("/v1/Services", &[("FriendlyName", "test")]).await["sid"].as_str().unwrap().to_owned()
    }

    /// Creates a credential for Apple. Returns its sid.
    pub(crate) async fn apn_credential(&mut self) -> String {
        let key = self.apple.key().expose().to_owned();
        self.made("/v1/Credentials", &Apple::credential(&key)).await["sid"].as_str().unwrap().to_owned()
    }

    /// Creates a credential for Google. Returns its sid.
    async fn fcm_credential(&mut self) -> String {
        let account = Google::service_account(Google::key().expose());
        let form = [("Type", "fcm"), ("Secret", account.as_str())];
        self.made("/v1/Credentials", &form).await["sid"].as_str().unwrap().to_owned()
    }

    async fn ask(&mut self, request: RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.unwrap();
        self.answers.push(format!("{headers:?}{body}"));
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        let request = Client::of(&self.server).request(Method::GET, path);
        self.ask(request).await.1
    }

    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let request = Client::of(&self.server).request(Method::POST, path).form(form);
        self.ask(request).await
    }

    pub(crate) async fn made(&mut self, path: &str, form: &[(&str, &str)]) -> Value {
        let (status, made) = self.post(path, form).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    /// Gets a path until a condition holds, for at most two minutes: a failure is retried within half a minute, unless
    /// another attempt is pending just then.
    pub(crate) async fn until(&mut self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let found = self.get(path).await;
            if is(&found) {
                return found;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The log lines about outages of a credential, at `info` and above: level, message, reason and the whole line.
fn outages(logs: &str, credential: &str) -> Vec<(String, String, String, Value)> {
    let lines = logs.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| line["level"] != "DEBUG" && line["credential.sid"] == credential)
        .filter(|line| text(line, "message").contains("push provider"))
        .map(|line| (text(&line, "level"), text(&line, "message"), text(&line, "reason"), line))
        .collect()
}

const BEGINS: &str = "a push provider is unavailable";
const ENDS: &str = "a push provider is available again";

/// The secret parts of a PEM file: its lines, and the bytes that they encode.
fn of_pem(pem: &str) -> Vec<Vec<u8>> {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64_STANDARD.decode(lines.concat()).unwrap();
    // The first bytes are the same for all keys of a kind, so only the second half counts.
    let mut parts = vec![der[der.len() / 2..].to_vec()];
    parts.extend(lines.iter().filter(|line| line.len() > 30).map(|line| line.as_bytes().to_vec()));
    parts
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_appear_nowhere() {
    let mut scene = Scene::new().await;
    let service = scene.service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    scene.post(&at("Configuration"), &[("ReachabilityEnabled", "true")]).await;

    // Credentials of all kinds, good and bad, in both APIs.
    let (p8, rsa) = (scene.apple.key().expose().to_owned(), Google::key().expose().to_owned());
    let apn = scene.made("/v1/Credentials", &Apple::credential(&p8)).await["sid"].as_str().unwrap().to_owned();
    let account = Google::service_account(&rsa);
    let fcm = scene.made("/v2/Credentials", &[("Type", "fcm"), ("Secret", &account)]).await;
    let fcm = fcm["sid"].as_str().unwrap().to_owned();
    let both = scene.apple.certificate().expose().to_owned();
    let (certificate, certificate_key) = both.split_at(both.find("-----BEGIN PRIVATE KEY").unwrap());
    let form = [("Type", "apn"), ("Certificate", certificate), ("PrivateKey", certificate_key), ("Sandbox", "true")];
    let by_certificate = scene.made("/v1/Credentials", &form).await["sid"].as_str().unwrap().to_owned();
    let (other_key, other_rsa) = (keys::p256(), keys::rsa());
    scene.post(&format!("/v1/Credentials/{apn}"), &Apple::credential(&other_key)).await;
    let legacy = "AAAAexample:APA91bThisIsAKeyOfTheServerAsItWasBefore2024";
    let other_account = Google::service_account(&other_rsa);
    for form in [
        &[
            ("Type", "apn"),
            ("PrivateKey", &other_key[..other_key.len() / 2]),
            ("KeyId", "ABC123DEFG"),
            ("TeamId", "ABC123DEFG"),
            ("Topic", "a.b"),
        ][..],
        &[
            ("Type", "apn"),
            ("PrivateKey", &other_rsa),
            ("KeyId", "ABC123DEFG"),
            ("TeamId", "ABC123DEFG"),
            ("Topic", "a.b"),
        ],
        &[("Type", "apn"), ("Certificate", certificate), ("PrivateKey", &other_key)],
        &[("Type", &other_key), ("PrivateKey", &other_key)],
        &[("Type", "fcm"), ("Secret", legacy)],
        &[("Type", "fcm"), ("Secret", &other_account[..other_account.len() - 9])],
        &[("Type", "fcm"), ("Secret", &other_key)],
    ] {
        let (status, refused) = scene.post("/v1/Credentials", form).await;
        assert_eq!(status, 400, "{refused}");
    }
    for path in
        ["/v1/Credentials", "/v2/Credentials", &format!("/v1/Credentials/{apn}"), &format!("/v2/Credentials/{fcm}")]
    {
        scene.get(path).await;
    }

    // A device whose credential is at first wrong and then good, a dead device, and a notification.
    let bind = |identity, channel, token, credential| {
        [("Identity", identity), ("BindingType", channel), ("Address", token), ("CredentialSid", credential)]
    };
    let (phone, android, tablet) =
        ("00ffee11223344556677889900aabbcc", "android:token-of-a-device", "00ffee112233445566778899deadbeef");
    scene.apple.in_sandbox(tablet);
    scene.made(&at("Bindings"), &bind("alice", "apn", phone, &apn)).await;
    let credential = format!("/v1/Credentials/{apn}");
    scene.until(&credential, |it| it["status"] == "rejected" && it["status_reason"] == "InvalidProviderToken").await;
    scene.post(&credential, &Apple::credential(&p8)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let binding = scene.made(&at("Bindings"), &bind("alice", "apn", phone, &apn)).await;
    let binding = at(&format!("Bindings/{}", binding["sid"].as_str().unwrap()));
    scene.until(&binding, |it| it["status"] == "confirmed").await;
    assert_eq!(scene.get(&credential).await["status"], "accepted");
    scene.google.answer(android, Answer::fcm(404, "NOT_FOUND", Some("UNREGISTERED")));
    scene.made(&at("Bindings"), &bind("bob", "gcm", android, &fcm)).await;
    scene.until(&at("Users/bob"), |it| it["is_notifiable"] == false).await;
    let dead = scene.get(&at("Bindings?Identity=bob")).await;
    assert_eq!(dead["bindings"][0]["status_reason"], "UNREGISTERED");
    scene.made(&at("Bindings"), &bind("carol", "apn", tablet, &by_certificate)).await;
    scene.until(&at("Bindings?Identity=carol"), |it| it["bindings"][0]["status"] == "confirmed").await;
    let shown = scene.get(&format!("/v1/Credentials/{by_certificate}")).await;
    assert!(shown["certificate_expires"].is_string() && shown["certificate_status"].is_string(), "{shown}");
    assert_eq!(scene.get(&credential).await["certificate_status"], Value::Null);
    let form = [("Identity", "alice"), ("Identity", "carol"), ("Title", "Hello"), ("Body", "World")];
    let sent = scene.made(&at("Notifications"), &form).await["sid"].as_str().unwrap().to_owned();
    let sent = at(&format!("Notifications/{sent}/Deliveries"));
    let all_accepted = |list: &Value| {
        let deliveries = list["deliveries"].as_array().unwrap();
        deliveries.len() == 2 && deliveries.iter().all(|it| it["status"] == "accepted")
    };
    scene.until(&sent, all_accepted).await;
    assert_eq!(scene.apple.shown(phone).len(), 1);
    assert_eq!(scene.get(&at("Users/alice")).await["is_notifiable"], true);

    // The secrets of all that.
    let data = scene.directory.path().join("data");
    let key = std::fs::read_to_string(data.join("credentials.key")).unwrap().trim().to_owned();
    let mut secrets: Vec<Vec<u8>> = vec![scene.server.token.clone().into(), key.clone().into(), legacy.into()];
    for pem in [&p8, &rsa, &certificate_key.to_owned(), &other_key, &other_rsa] {
        secrets.extend(of_pem(pem));
    }
    let authorizations = scene.apple.requests().into_iter().chain(scene.google.requests());
    let tokens = authorizations.filter_map(|it| it.header("authorization").split(' ').nth(1).map(str::to_owned));
    secrets.extend(tokens.map(String::into_bytes));
    secrets.extend(scene.google.assertions().into_iter().map(String::into_bytes));
    assert!(secrets.len() > 60 && secrets.iter().all(|secret| secret.len() > 15), "{}", secrets.len());

    let Scene { server, answers, directory, .. } = scene;
    let (status, logs) = server.stop();
    assert!(status.success());
    for (name, content) in files(&data) {
        let path = data.join(&name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{name} is for its owner only");
        if name.starts_with("reachability.db") {
            secrets
                .iter()
                .for_each(|secret| assert!(!contains(&content, secret), "{name}: {}", String::from_utf8_lossy(secret)));
        }
    }
    // A registration's answer repeats the device's token, as the vendor's does, and nothing else shows it.
    let device_tokens = [phone, android, tablet];
    let mut echoes = 0;
    let mut answers = answers;
    for answer in &mut answers {
        for token in device_tokens {
            let without = answer.replacen(&format!("\"address\":\"{token}\""), "", 1);
            echoes += usize::from(without != *answer);
            *answer = without;
        }
    }
    assert_eq!(echoes, 4, "as many as there were registrations");
    let device_tokens = device_tokens.map(|token| token.as_bytes().to_vec());
    for secret in secrets.iter().chain(&device_tokens) {
        let shown = String::from_utf8_lossy(secret);
        assert!(!contains(logs.as_bytes(), secret), "in the logs: {shown}");
        for answer in &answers {
            assert!(!contains(answer.as_bytes(), secret), "in an answer: {shown}\n{answer}");
        }
    }
    let details = |target: &str| logs.lines().filter(|line| line.contains(&format!("\"target\":\"{target}"))).count();
    assert_eq!(["h2", "hyper", "rustls"].map(details), [0; 3], "what is sent to providers, in detail");
    // The search would find them: there are logs, answers and data.
    assert!(contains(logs.as_bytes(), b"a credential is rejected") && logs.contains("DEBUG"));
    assert!(answers.iter().any(|answer| answer.contains(Apple::KEY_ID)));
    let database: Vec<u8> = files(&data)
        .into_iter()
        .filter(|(name, _)| name.starts_with("reachability.db"))
        .flat_map(|(_, content)| content)
        .collect();
    assert!(
        contains(&database, Apple::KEY_ID.as_bytes())
            && contains(&database, b"v1:")
            && contains(&database, phone.as_bytes())
    );
    drop(directory);
}

/// Checks of other devices with the same credential do not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_provider_that_does_not_answer() {
    let mut scene = Scene::new().await;
    let service = scene.service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    scene.apn_credential().await;
    scene.apple.answer("0bad", Answer::stall());
    scene.made(&at("Bindings"), &[("Identity", "alice"), ("BindingType", "apn"), ("Address", "0bad")]).await;
    while scene.apple.requests_to("0bad").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.made(&at("Bindings"), &[("Identity", "bob"), ("BindingType", "apn"), ("Address", "00ff")]).await;
    scene.until(&at("Bindings?Identity=bob"), |it| it["bindings"][0]["status"] == "confirmed").await;
    // The check of bob's device did not wait for that of alice's, which is still pending.
    assert_eq!(scene.apple.requests_to("0bad").len(), 1);
    assert_eq!(scene.get(&at("Bindings?Identity=alice")).await["bindings"][0]["status"], "unconfirmed");
}

/// The log has two lines for each credential, even if many pushes fail. The API shows the reason, on the credential and
/// on queued deliveries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_logged_when_it_begins_and_when_it_ends() {
    let mut scene = Scene::new().await;
    let service = scene.service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    scene.apple.down().await;
    scene.google.down().await;
    let apn = scene.apn_credential().await;
    let (p8, rsa) = (scene.apple.key().expose().to_owned(), Google::key().expose().to_owned());
    let account = Google::service_account(&rsa);
    let fcm = scene.made("/v1/Credentials", &[("Type", "fcm"), ("Secret", &account)]).await;
    let fcm = fcm["sid"].as_str().unwrap().to_owned();
    for credential in [&apn, &fcm] {
        let new = scene.get(&format!("/v1/Credentials/{credential}")).await;
        assert_eq!((&new["status"], &new["status_reason"]), (&json!("unproven"), &Value::Null));
    }
    let mut tokens: Vec<String> = (0..8).map(|n| format!("00ffee11223344556677889900aabb{n:02}")).collect();
    tokens.extend((0..8).map(|n| format!("android:token-of-device-{n}")));
    for token in &tokens {
        let (identity, channel) = if token.starts_with("android") { ("bob", "fcm") } else { ("alice", "apn") };
        let form = [("Identity", identity), ("BindingType", channel), ("Address", token)];
        scene.made(&at("Bindings"), &form).await;
    }
    // With FCM the request for an access token fails.
    let mut since = Vec::new();
    for credential in [&apn, &fcm] {
        let down = scene.until(&format!("/v1/Credentials/{credential}"), |it| it["status"] == "unreachable").await;
        assert_eq!(down["status_reason"], "NotConnected");
        since.push(down["status_date"].as_str().unwrap().to_owned());
    }
    let form = [("Identity", "alice"), ("Identity", "bob"), ("Body", "Hello")];
    let sent = scene.made(&at("Notifications"), &form).await["sid"].as_str().unwrap().to_owned();
    let sent = at(&format!("Notifications/{sent}/Deliveries"));
    let all = |status: &'static str, reason: Value| {
        move |list: &Value| {
            let deliveries = list["deliveries"].as_array().unwrap();
            let is_due = |it: &Value| it["next_attempt"].is_string() == (status == "queued");
            let is = |it: &Value| {
                it["status"] == status && it["reason"] == reason && it["attempts"].as_u64() > Some(0) && is_due(it)
            };
            deliveries.len() == 16 && deliveries.iter().all(is)
        }
    };
    scene.until(&sent, all("queued", json!("NotConnected"))).await;
    for (credential, since) in [&apn, &fcm].into_iter().zip(since) {
        let down = scene.get(&format!("/v1/Credentials/{credential}")).await;
        assert_eq!((&down["status"], &down["status_date"]), (&json!("unreachable"), &json!(since)));
    }
    scene.apple.up().await;
    scene.google.up().await;
    scene.until(&sent, all("accepted", Value::Null)).await;
    for credential in [&apn, &fcm] {
        let up = scene.until(&format!("/v1/Credentials/{credential}"), |it| it["status"] == "accepted").await;
        assert_eq!((&up["status_reason"], &up["status_date"]), (&Value::Null, &Value::Null));
    }

    let hosts = [scene.apple.url(), scene.google.url()].map(|url| url.replace("https://", ""));
    let mut secrets = [of_pem(&p8), of_pem(&rsa)].concat();
    secrets.extend(scene.google.assertions().into_iter().map(String::into_bytes));
    secrets.extend(tokens.into_iter().map(String::into_bytes));
    let (status, logs) = scene.server.stop();
    assert!(status.success());
    for (credential, host) in [&apn, &fcm].into_iter().zip(hosts) {
        let lines = outages(&logs, credential);
        let [(warn, begins, reason, begin), (info, ends, ended, end)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((warn.as_str(), begins.as_str(), reason.as_str()), ("WARN", BEGINS, "NotConnected"));
        assert_eq!((info.as_str(), ends.as_str(), ended.as_str()), ("INFO", ENDS, "NotConnected"));
        let error = begin["error"].as_str().unwrap();
        assert!(error.starts_with(&host) && error.contains("Connection refused"), "{error}");
        assert!(end["failed_attempts"].as_u64().unwrap() > 1 && end["seconds"].is_u64(), "{end}");
    }
    assert!(!logs.contains("Paused"));
    for answer in &scene.answers {
        assert!(!answer.contains("Paused"), "{answer}");
    }
    for secret in &secrets {
        assert!(!contains(logs.as_bytes(), secret), "in the logs: {}", String::from_utf8_lossy(secret));
    }
}

/// An untrusted certificate has its own reason, other than a closed port. The stored outage survives a restart. A
/// replaced credential starts without an outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_certificate_is_reported_until_it_is_trusted() {
    let (ca, other) = (Arc::new(Ca::new()), Ca::new());
    let mut scene = Scene::with(ca.clone(), &other, &[]).await;
    let service = scene.service().await;
    let bindings = format!("/v1/Services/{service}/Bindings");
    let sid = scene.apn_credential().await;
    let credential = format!("/v1/Credentials/{sid}");
    let phone = "00ffee11223344556677889900aabbcc";
    let form = [("Identity", "alice"), ("BindingType", "apn"), ("Address", phone)];
    scene.made(&bindings, &form).await;
    let down = |it: &Value| it["status"] == "unreachable" && it["status_reason"] == "CertificateRefused";
    scene.until(&credential, down).await;
    let (_, replaced) = scene.post(&credential, &Apple::credential(&keys::p256())).await;
    assert_eq!((&replaced["status"], &replaced["status_reason"]), (&json!("unproven"), &Value::Null));
    scene.made(&bindings, &form).await;
    scene.until(&credential, down).await;

    let (mut scene, logs) = scene.restart(&ca);
    let lines = outages(&logs, &sid);
    let told: Vec<(&str, &str, &str)> = lines.iter().map(|(a, b, c, _)| (a.as_str(), b.as_str(), c.as_str())).collect();
    let begins = ("WARN", BEGINS, "CertificateRefused");
    let between = ("INFO", "a credential was replaced whose push provider was unavailable", "CertificateRefused");
    assert_eq!(told, [begins, between, begins]);
    assert!(lines[0].3["error"].as_str().unwrap().contains("UnknownIssuer"), "{}", lines[0].3);
    assert!(!logs.contains(phone));

    assert_eq!(scene.get(&credential).await["status"], "unreachable");
    scene.made(&bindings, &form).await;
    // The provider can be reached now, and rejects the key.
    let rejected = |it: &Value| it["status"] == "rejected" && it["status_reason"] == "InvalidProviderToken";
    scene.until(&credential, rejected).await;
    let (status, logs) = scene.server.stop();
    assert!(status.success());
    assert!(outages(&logs, &sid).is_empty(), "this process has seen none");
}

/// Stores a registration from forty days ago that nobody has confirmed.
async fn register_long_ago(store: &SqliteStore, user: &UserKey, token: &str, credential: &str) {
    let registration = Unconfirmed {
        user: user.clone(),
        channel: Channel::Fcm,
        token: token.to_owned(),
        credential: Some(credential.parse().unwrap()),
        at: Timestamp::from_millis(clock::now().as_millis() - 40 * 86_400_000),
        generation: Generation(1),
    };
    registration.store(store).await;
}

/// The requests to Google about this token.
fn asked(google: &Google, token: &str) -> Vec<Request> {
    google.requests().into_iter().filter(|request| request.json()["message"]["token"] == token).collect()
}

/// From then on, the old registration is the only way to reach the user. Whenever the process dies, the provider is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_does_not_prevent_the_check_of_a_user_who_goes_offline() {
    let ca = Arc::new(Ca::new());
    let mut scene = Scene::with(ca.clone(), &ca, &[]).await;
    let service = scene.service().await;
    scene.post(&format!("/v1/Services/{service}/Configuration"), &[("ReachabilityEnabled", "true")]).await;
    let credential = scene.fcm_credential().await;
    let events = format!("/v1/Services/{service}/Events");
    // The moments differ: before the disconnect is handled, before its row of the feed is delivered, and after that.
    for round in 0..12 {
        let (identity, token) = (format!("user-{round}"), format!("00ffee{round:02}"));
        let user = UserKey { service: service.parse().unwrap(), identity: identity.parse().unwrap() };
        register_long_ago(&scene.store(), &user, &token, &credential).await;
        let client = Client::of(&scene.server);
        client.post(&events, event(&service, &identity, "connect").to_string()).await;
        scene.until(&format!("/v1/Services/{service}/Users/{identity}"), |it| it["is_online"] == true).await;
        assert!(asked(&scene.google, &token).is_empty(), "it is not asked while there is another way");
        client.post(&events, event(&service, &identity, "disconnect").to_string()).await;
        tokio::time::sleep(Duration::from_millis(round)).await;
        scene = scene.kill(&ca);
        scene.until(&format!("/v1/Services/{service}/Users/{identity}"), |it| it["is_online"] == false).await;
        let bindings = format!("/v1/Services/{service}/Bindings?Identity={identity}");
        scene.until(&bindings, |it| it["bindings"][0]["status"] == "confirmed").await;
        assert!(!asked(&scene.google, &token).is_empty());
    }

    // The worst moment of all: the state is stored, and nothing else was done.
    let user = UserKey { service: service.parse().unwrap(), identity: "last".parse().unwrap() };
    register_long_ago(&scene.store(), &user, "00ffeeff", &credential).await;
    let client = Client::of(&scene.server);
    client.post(&events, event(&service, "last", "connect").to_string()).await;
    scene.until(&format!("/v1/Services/{service}/Users/last"), |it| it["is_online"] == true).await;
    let Scene { directory, server, arguments, apple, google, answers } = scene;
    server.kill();
    let store = SqliteStore::new(database(&directory.path().join("data")));
    let now = clock::now();
    let mut news = News::new(rules(SETTINGS));
    let end = Event::parse(event(&service, "last", "disconnect").to_string().as_bytes()).unwrap();
    news.add(&end, Acceptance::In(Generation(1)), now);
    store.join(&User::new(ids::sid(), user, None, now), &news, &[], now).await.unwrap();
    drop(store);
    assert!(asked(&google, "00ffeeff").is_empty());
    let server = Scene::serve(&directory, &ca, &apple, &google, arguments);
    let mut scene = Scene { directory, server, arguments, apple, google, answers };
    let bindings = format!("/v1/Services/{service}/Bindings?Identity=last");
    scene.until(&bindings, |it| it["bindings"][0]["status"] == "confirmed").await;
    assert_eq!(asked(&scene.google, "00ffeeff").len(), 1);
}
