//! The whole path: the server takes notifications over HTTP, queues them, sends to each device, and stores each result.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use reachability_tests::client::Client;
use reachability_tests::measure::{Used, peak_memory};
use reachability_tests::providers::{Apple, Google};
use reachability_tests::server::{Server, binary};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand_ins::StandIns;

pub(crate) const TITLE: &str = "Ada";
pub(crate) const BODY: &str = "The meeting is at ten, not at nine. Bring the drawings.";

/// How many users there are, each with one device.
const USERS: usize = 10_000;

/// How many users one request may name.
const A_REQUEST: usize = 100;

/// How many requests are under way at a time.
const REQUESTS_AT_ONCE: usize = 32;

/// The metric that counts what providers have accepted.
const ACCEPTED: &str = r#"reachability_pushes_total{outcome="accepted"} "#;

#[derive(Clone, Copy)]
enum Provider {
    Apns,
    Fcm,
}

struct Scene {
    stand_ins: StandIns,
    server: Server,
    owner: Client,
    notifications: String,
    _directory: tempfile::TempDir,
}

pub(crate) async fn bench() {
    // Built before anything is timed.
    println!("\n{}\n", binary().display());
    println!("| the whole path | notifications | deliveries/s | CPU per delivery | of the stand-in | memory |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, provider) in [("APNs", Provider::Apns), ("FCM", Provider::Fcm)] {
        let mut scene = Scene::new(provider).await;
        // The first answer about each registration is stored with it; later ones within a day tell nothing new.
        scene.run(&format!("{name}, the first to each device"), A_REQUEST, 1).await;
        scene.run(&format!("{name}, {A_REQUEST} users a notification"), A_REQUEST, 4).await;
        scene.run(&format!("{name}, one user a notification"), 1, 1).await;
    }
}

impl Scene {
    async fn new(provider: Provider) -> Self {
        let stand_ins = StandIns::start();
        let directory = tempfile::tempdir().unwrap();
        let roots = directory.path().join("roots.pem");
        std::fs::write(&roots, stand_ins.about("roots")).unwrap();
        let arguments = ["--metrics-listen", "127.0.0.1:0"];
        let server = Server::start_with(&directory.path().join("data"), &arguments, |command| {
            command
                .env("SSL_CERT_FILE", roots)
                .env_remove("SSL_CERT_DIR")
                .env("REACHABILITY_APNS_URL", stand_ins.about("apns"))
                .env("REACHABILITY_FCM_URL", stand_ins.about("fcm"))
                .env("REACHABILITY_FCM_TOKEN_URL", stand_ins.about("fcm_token"));
        });
        let owner = Client::of(&server);
        let service = owner.enabled_service().await;
        let account = json!({
            "type": "service_account",
            "project_id": Google::PROJECT_ID,
            "private_key_id": Google::KEY_ID,
            "private_key": stand_ins.about("fcm_key"),
            "client_email": Google::CLIENT_EMAIL,
        })
        .to_string();
        // Nothing but notifications is sent.
        let credential = match provider {
            Provider::Apns => vec![
                ("Type", "apn"),
                ("PrivateKey", stand_ins.about("apns_key")),
                ("KeyId", Apple::KEY_ID),
                ("TeamId", Apple::TEAM_ID),
                ("Topic", Apple::TOPIC),
                ("RegistrationCheck", "none"),
            ],
            Provider::Fcm => vec![("Type", "fcm"), ("Secret", account.as_str()), ("RegistrationCheck", "none")],
        };
        made(&owner, "/v1/Credentials", &credential).await;
        let bindings = format!("/v1/Services/{service}/Bindings");
        let bind = async |user: usize| {
            let (channel, token) = match provider {
                Provider::Apns => ("apn", format!("{user:064x}")),
                Provider::Fcm => ("fcm", format!("{user:0>142}")),
            };
            let identity = format!("user-{user}");
            made(&owner, &bindings, &[("Identity", &identity), ("BindingType", channel), ("Address", &token)]).await;
        };
        stream::iter(0..USERS).for_each_concurrent(REQUESTS_AT_ONCE, bind).await;
        let notifications = format!("/v1/Services/{service}/Notifications");
        Self { stand_ins, server, owner, notifications, _directory: directory }
    }

    /// Sends notifications to so many users each, to every user so often.
    async fn run(&mut self, what: &str, users: usize, rounds: usize) {
        let (server, stand_ins) = (self.server.pid(), self.stand_ins.pid());
        let already = self.accepted().await;
        let before = [Used::by(server), Used::by(stand_ins)];
        let (started, notifications) = (Instant::now(), rounds * USERS / users);
        let send = async |number: usize| {
            let first = number * users % USERS;
            let mut form = vec![("Title", TITLE.to_owned()), ("Body", BODY.to_owned())];
            form.extend((first..first + users).map(|user| ("Identity", format!("user-{user}"))));
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let sent = made(&self.owner, &self.notifications, &form).await;
            Ok::<_, ()>(sent["sid"].as_str().unwrap().to_owned())
        };
        let sent: Vec<String> =
            stream::iter(0..notifications).map(send).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await.unwrap();
        let deliveries = rounds * USERS;
        while self.accepted().await - already < deliveries {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rate = deliveries as f64 / started.elapsed().as_secs_f64();
        // The last of them are being stored.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let used = [Used::by(server).since(before[0]), Used::by(stand_ins).since(before[1])];
        let [cpu, of_stand_ins] = used.map(|used| used.cpu.as_secs_f64() * 1e6 / deliveries as f64);
        let memory = peak_memory(server);
        println!("| {what} | {notifications} | {rate:.0} | {cpu:.0} µs | {of_stand_ins:.0} µs | {memory} MiB |");
        let mut accepted = 0;
        for notification in sent.iter().step_by((sent.len() / 100).max(1)) {
            let path = format!("{}/{notification}/Deliveries?PageSize=100", self.notifications);
            let stored = self.owner.get(&path).await;
            let stored = stored["deliveries"].as_array().unwrap();
            assert!(stored.iter().all(|delivery| delivery["status"] == "accepted"), "{stored:?}");
            accepted += stored.len();
        }
        assert_eq!(accepted, sent.len().min(100) * users, "of some notifications, all deliveries");
    }

    /// How many pushes were accepted since the start.
    async fn accepted(&self) -> usize {
        let is_metrics = |word: &&str| word.starts_with("http://") && word.ends_with("/metrics");
        let url = self.server.greeting.split_whitespace().find(is_metrics).unwrap();
        let text = self.owner.request(Method::GET, url).send().await.unwrap().text().await.unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix(ACCEPTED));
        count.map_or(0, |count| count.parse::<f64>().unwrap() as usize)
    }
}

/// Posts a form, by which something must be made.
async fn made(owner: &Client, path: &str, form: &[(&str, &str)]) -> Value {
    let (status, made) = owner.send(Method::POST, path, form).await;
    assert_eq!(status, 201, "{made}");
    made
}
