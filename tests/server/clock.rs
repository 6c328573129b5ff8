//! A server whose clock steps: back, and ahead and back again. What is promised then is in `docs/presence.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::external::clock::SteppingClock;
use reachability_tests::external::skip;
use reachability_tests::server::Server;
use reachability_tests::socket::JsonSocket;
use reachability_tests::tokens::Signer;
use reachability_tests::wait::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

const HOUR: i64 = 3_600;

/// A server with a service, and its clock.
struct Place {
    clock: SteppingClock,
    offset: i64,
    directory: TempDir,
    server: Server,
    client: Client,
    signer: Signer,
    service: String,
}

impl Place {
    /// `None` if there is no such clock here.
    async fn new(arguments: &[&str]) -> Option<Self> {
        let clock = match SteppingClock::new() {
            Ok(clock) => clock,
            Err(reason) => {
                skip(&reason);
                return None;
            }
        };
        let directory = tempfile::tempdir().unwrap();
        let server = start(&clock, directory.path(), arguments);
        let client = Client::of(&server);
        let signer = Signer::new(&client, &server.account).await;
        let service = client.enabled_service().await;
        Some(Self { clock, offset: 0, directory, server, client, signer, service })
    }

    /// Sets the clock of the server, and of the gateway beside it, to so many seconds ahead.
    fn set(&mut self, seconds: i64) {
        self.offset = seconds;
        self.clock.set(seconds);
    }

    /// Waits until the server has said that its clock was set so often.
    async fn noticed(&self, direction: &str, times: usize) {
        let said = async || self.log().matches(&format!("the clock was set {direction}")).count();
        wait("the step is noticed", async || (said().await >= times).then_some(())).await;
        assert_eq!(said().await, times, "{}", self.log());
    }

    /// What the server has logged, in all its runs.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn restart(&mut self, arguments: &[&str]) {
        assert!(self.server.end("TERM").success());
        self.server = start(&self.clock, self.directory.path(), arguments);
        self.client = Client::of(&self.server);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(clock::now().as_millis() + self.offset * 1_000)
    }

    fn event(&self, identity: &str, connection: &str, kind: &str) -> Value {
        json!({
            "type": kind,
            "service_sid": self.service,
            "identity": identity,
            "connection_id": connection,
            "occurred_at": self.now().to_string(),
        })
    }

    async fn post(&self, events: &[Value]) {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let taken = self.client.post(&format!("/v1/Services/{}/Events", self.service), lines).await;
        assert_eq!(taken["accepted"], events.len(), "{taken}");
    }

    async fn connect(&self, identity: &str, connection: &str) {
        self.post(&[self.event(identity, connection, "connect")]).await;
    }

    async fn connect_for(&self, identity: &str, connection: &str, seconds: u32) {
        let mut event = self.event(identity, connection, "connect");
        event["lease_seconds"] = seconds.into();
        self.post(&[event]).await;
    }

    async fn disconnect(&self, identity: &str, connection: &str, reason: &str) {
        let mut event = self.event(identity, connection, "disconnect");
        event["reason"] = reason.into();
        self.post(&[event]).await;
    }

    async fn socket(&self, identity: &str) -> JsonSocket {
        let life = Duration::from_secs(3_600);
        let token = self.signer.token_at(&self.service, identity, life, self.now());
        JsonSocket::open(self.server.address(), &token, json!({})).await
    }

    /// A socket of a user who watches these, who exist from then on.
    async fn watcher(&self, identity: &str, watched: &[&str]) -> JsonSocket {
        for user in watched {
            self.client.post(&format!("/v1/Services/{}/Users", self.service), format!("Identity={user}")).await;
        }
        let mut socket = self.socket(identity).await;
        socket.watch(watched).await;
        socket
    }

    /// Whether this user is online, wherever that can be read.
    async fn is_online(&self, identity: &str) -> Option<bool> {
        let of_service = format!("/v1/Services/{}", self.service);
        let user = self.client.get(&format!("{of_service}/Users/{identity}")).await;
        let presence = self.client.get(&format!("{of_service}/Presence/{identity}")).await;
        let index = self.client.get(&format!("{of_service}/Presence?Online=true")).await;
        let indexed = index["users"].as_array().unwrap().iter().any(|user| user["id"] == identity);
        let has_connections = presence["connections"].as_array().is_some_and(|all| !all.is_empty());
        let online = user["is_online"].as_bool();
        assert_eq!((presence["online"].as_bool(), indexed, has_connections), (online, online == Some(true), indexed));
        online
    }

    async fn comes(&self, identity: &str) {
        self.becomes(identity, true).await;
    }

    async fn goes(&self, identity: &str) {
        self.becomes(identity, false).await;
    }

    async fn becomes(&self, identity: &str, online: bool) {
        let path = format!("/v1/Services/{}/Users/{identity}", self.service);
        let is_so = async || (self.client.get(&path).await["is_online"] == online).then_some(());
        wait(&format!("{identity} becomes online: {online}"), is_so).await;
        assert_eq!(self.is_online(identity).await, Some(online));
    }

    /// How many rows there are in the database.
    fn rows(&self, of: &str) -> u64 {
        let database = rusqlite::Connection::open(self.directory.path().join("reachability.db")).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).unwrap()
    }
}

fn start(clock: &SteppingClock, directory: &Path, arguments: &[&str]) -> Server {
    let log = OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    Server::start_with(directory, arguments, |command| {
        clock.wind(command);
        command.stderr(log);
    })
}

/// Hears what a watcher is told until a user is this. Returns all of it: the users, and whether they are online.
async fn hear(watcher: &mut JsonSocket, identity: &str, online: bool) -> Vec<(String, bool)> {
    let mut heard = Vec::new();
    while heard.last() != Some(&(identity.to_owned(), online)) {
        let message = watcher.next().await.expect("news");
        let (id, online) = (message["user"]["id"].as_str(), message["user"]["online"].as_bool());
        heard.extend(id.zip(online).map(|(id, online)| (id.to_owned(), online)));
    }
    heard
}

#[tokio::test]
async fn who_has_left_stays_away_when_the_clock_is_set_back() {
    let arguments = ["--grace-seconds", "1"];
    let Some(mut place) = Place::new(&arguments).await else { return };
    let gone = ["alice", "lena", "leo", "bob"];
    let mut watcher = place.watcher("wendy", &["alice", "lena", "leo", "bob", "carol"]).await;
    place.connect("alice", "a-1").await;
    place.disconnect("alice", "a-1", "client_closed").await;
    place.connect("lena", "l-1").await;
    place.disconnect("lena", "l-1", "connection_lost").await;
    place.connect_for("leo", "l-1", 1).await;
    place.socket("bob").await.goodbye().await;
    let carol = place.socket("carol").await;
    let mut last = BTreeMap::new();
    while gone.iter().any(|id| last.get(*id) != Some(&false)) || !last.contains_key("carol") {
        let message = watcher.next().await.unwrap();
        last.insert(message["user"]["id"].as_str().unwrap().to_owned(), message["user"]["online"] == true);
    }

    place.set(-2 * HOUR);
    for identity in gone {
        assert_eq!(place.is_online(identity).await, Some(false), "{identity}");
    }
    assert_eq!(place.is_online("carol").await, Some(true));
    // Who comes now, comes and goes as ever.
    let mut dora = place.socket("dora").await;
    place.connect("alice", "a-2").await;
    assert_eq!(hear(&mut watcher, "alice", true).await, [("alice".to_owned(), true)], "nobody flickered");
    place.disconnect("alice", "a-2", "client_closed").await;
    carol.goodbye().await;
    let mut heard = hear(&mut watcher, "carol", false).await;
    if heard.len() == 1 {
        heard.splice(0..0, hear(&mut watcher, "alice", false).await);
    }
    assert_eq!(heard, [("alice".to_owned(), false), ("carol".to_owned(), false)]);
    dora.ask("query_users", json!({"filter": {}, "limit": 1})).await.ok();

    place.noticed("back", 1).await;
    place.restart(&arguments);
    for identity in gone.into_iter().chain(["carol"]) {
        assert_eq!(place.is_online(identity).await, Some(false), "{identity}");
    }
    place.goes("dora").await;
}

#[tokio::test]
async fn an_hour_ahead_and_back_harms_nobody_for_long() {
    let Some(mut place) = Place::new(&[]).await else { return };
    let watched = ["dave", "erin", "frank", "gus", "hank", "ivy"];
    let mut watcher = place.watcher("wendy", &watched).await;
    let dave = place.socket("dave").await;
    place.connect("erin", "e-1").await;
    let mut told = hear(&mut watcher, "erin", true).await;

    place.set(HOUR);
    // Her lease has run out, by the clock as it is.
    told.extend(hear(&mut watcher, "erin", false).await);
    place.noticed("ahead", 1).await;
    place.connect("frank", "f-1").await;
    place.disconnect("frank", "f-1", "client_closed").await;
    // More than a record remembers.
    for n in 0..40 {
        place.connect("gus", &format!("g-{n}")).await;
        place.disconnect("gus", &format!("g-{n}"), "client_closed").await;
    }
    place.connect("ivy", "i-1").await;
    told.extend(hear(&mut watcher, "ivy", true).await);
    place.client.delete(&format!("/v1/Services/{}/Users/ivy", place.service)).await;
    place.connect_for("hank", "h-1", 6).await;
    told.extend(hear(&mut watcher, "hank", true).await);

    place.set(0);
    for identity in ["frank", "gus"] {
        assert_eq!(place.is_online(identity).await, Some(false), "{identity}");
    }
    place.post(&[place.event("erin", "e-1", "renew")]).await;
    for identity in ["frank", "gus", "ivy"] {
        place.connect(identity, "now").await;
    }
    for identity in ["erin", "frank", "gus", "ivy"] {
        place.comes(identity).await;
    }
    // His lease is as long as it was.
    place.goes("hank").await;
    place.disconnect("erin", "e-1", "client_closed").await;
    told.extend(hear(&mut watcher, "erin", false).await);
    dave.goodbye().await;
    told.extend(hear(&mut watcher, "dave", false).await);
    let of = |identity: &str| -> Vec<bool> {
        told.iter().filter(|(id, _)| id == identity).map(|(_, online)| *online).collect()
    };
    assert_eq!(of("dave"), [true, false]);
    assert_eq!(of("erin"), [true, false, true, false]);
    assert_eq!(of("hank"), [true, false]);
    place.noticed("ahead", 1).await;
    place.noticed("back", 1).await;
}

/// Many events were accepted, with the gateway's agreement, by a clock that is a month ahead.
#[tokio::test]
async fn what_was_accepted_a_month_ahead_does_not_wait_for_a_month() {
    const USERS: usize = 20_000;
    let Some(mut place) = Place::new(&["--lease-seconds", "5"]).await else { return };
    place.set(30 * 24 * HOUR);
    place.noticed("ahead", 1).await;
    let connects: Vec<Value> = (0..USERS).map(|n| place.event(&format!("user-{n}"), "c-1", "connect")).collect();
    place.post(&connects).await;
    place.set(0);
    wait("all are handled", async || (place.rows("messages WHERE lane = 0 AND due_at = 0") == 0).then_some(())).await;
    assert_eq!(place.rows("users"), USERS as u64);
    place.connect_for("user-7", "c-1", 3_600).await;
    // Nobody renews: the leases end, and only timers of one who does are left.
    wait("all timers have run", async || (place.rows("messages WHERE lane = 0") <= 2).then_some(())).await;
    assert_eq!(place.rows("dead_letters"), 0);
    for (identity, online) in [("user-0", false), ("user-7", true), ("user-19999", false)] {
        assert_eq!(place.is_online(identity).await, Some(online), "{identity}");
    }
    // One line for each user who came and went, and few others.
    let others: Vec<_> =
        place.log().lines().filter(|line| !line.contains("a user changed")).map(str::to_owned).collect();
    assert!(others.len() < 500, "{others:?}");
}

/// The clock is set back while no server runs.
#[tokio::test]
async fn a_clock_that_is_set_back_between_two_runs_delays_no_end_for_long() {
    let Some(mut place) = Place::new(&[]).await else { return };
    place.connect_for("leo", "l-1", 6).await;
    place.comes("leo").await;
    place.set(-2 * HOUR);
    place.restart(&[]);
    assert!(place.log().contains("the clock was set back since the last run"), "{}", place.log());
    place.goes("leo").await;
}
