//! The server, what it talks to, and what all of the soak shares.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::external::clock::SteppingClock;
use reachability_tests::external::skip;
use reachability_tests::model::Settings;
use reachability_tests::providers::{self, Apple, Ca, Google};
use reachability_tests::receiver::{Inbox, Receiver};
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::ledger::{Key, Ledger};

/// The services whose users are judged.
pub(crate) const SERVICES: usize = 2;

/// The grace period of lost connections, in seconds.
const GRACE: u64 = 2;

/// The lease of connections that a gateway reports without one, in seconds.
pub(crate) const LEASE: u64 = 12;

/// How many changes the log keeps.
pub(crate) const LOG_ROWS: usize = 5_000;

/// How many events of a service may wait.
pub(crate) const WAITING_EVENTS: usize = 20_000;

/// By how much the clocks of Apple and Google are ahead, in seconds: more than the server's ever is. Otherwise they refuse its
/// tokens as made in the future.
const PROVIDERS_AHEAD: u64 = 60;

/// Ignores the signal that comes with a write over the limit of a file, and becomes the server.
const TRAP: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

pub(crate) struct World {
    pub(crate) seed: u64,
    began: Instant,
    directory: TempDir,
    /// The host and port of every server of this soak.
    pub(crate) address: String,
    pub(crate) server: RefCell<Option<Server>>,
    pub(crate) owner: Client,
    pub(crate) signer: Signer,
    /// `None`: there is no such library here, and clocks do not step.
    pub(crate) clock: Option<SteppingClock>,
    pub(crate) apple: Apple,
    pub(crate) google: Google,
    pub(crate) receiver: RefCell<Option<Receiver>>,
    pub(crate) inbox: Inbox,
    /// The sids of the services whose users are judged, and then of the one that floods.
    pub(crate) services: Vec<String>,
    pub(crate) ledger: Ledger,
    /// Of each service, what the stream has told.
    pub(crate) changes: Vec<RefCell<Vec<Value>>>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    checks: RefCell<BTreeMap<&'static str, u64>>,
    wrong: RefCell<Vec<String>>,
    /// The users act no more; those who are to be there in the end are there.
    pub(crate) is_over: Cell<bool>,
    /// Everything is judged.
    pub(crate) is_done: Cell<bool>,
}

/// The time of Apple and Google.
fn ahead() -> Timestamp {
    clock::now().plus(Duration::from_secs(PROVIDERS_AHEAD))
}

impl World {
    /// A server with services that have nobody yet.
    pub(crate) async fn new(seed: u64) -> Self {
        let ca = Arc::new(Ca::new());
        let (apple, google) = (Apple::start_with(ca.clone(), ahead).await, Google::start_with(ca.clone(), ahead).await);
        let directory = tempfile::tempdir().unwrap();
        ca.write(&directory.path().join("ca.pem"));
        let clock = SteppingClock::new().map_err(|reason| skip(&format!("the clock steps of the soak: {reason}"))).ok();
        let start = Start::of(&directory, &apple, &google, clock.as_ref(), "127.0.0.1:0");
        let server = start.run().await;
        let owner = Client::of(&server);
        let mut services = vec![];
        for _ in 0..=SERVICES {
            services.push(owner.enabled_service().await);
        }
        let receiver = Receiver::start().await;
        for service in &services[..SERVICES] {
            let form = format!("PostWebhookUrl={}&Filters=onUserAdded&Filters=onUserUpdated", receiver.url("/"));
            owner.post(&format!("/v1/Services/{service}/Configuration/Webhooks"), form).await;
        }
        Self {
            seed,
            began: Instant::now(),
            address: server.address().to_owned(),
            signer: Signer::new(&owner, &server.account).await,
            server: RefCell::new(Some(server)),
            owner,
            directory,
            clock,
            apple,
            google,
            inbox: receiver.inbox.clone(),
            receiver: RefCell::new(Some(receiver)),
            ledger: Ledger::new(&services, Settings { grace: GRACE as i64 * 1_000, lease: Some(LEASE as i64 * 1_000) }),
            services,
            changes: (0..SERVICES).map(|_| RefCell::default()).collect(),
            counts: RefCell::default(),
            checks: RefCell::default(),
            wrong: RefCell::default(),
            is_over: Cell::new(false),
            is_done: Cell::new(false),
        }
    }

    /// Random numbers of somebody, which depend on nothing but the seed and the name.
    pub(crate) fn dice(&self, name: &str) -> Rng {
        let bytes = name.bytes().chain(self.seed.to_le_bytes());
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Rng::with_seed(bytes.fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// Where the server has its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Ends the server, and starts it again. What it logged is searched for what must not be there.
    pub(crate) async fn restart(&self, signal: &'static str) {
        self.end(signal).await;
        self.start().await;
    }

    /// Ends the server.
    pub(crate) async fn end(&self, signal: &'static str) {
        let server = self.server.take().unwrap();
        server.signal(signal);
        let (status, logs) = spawn_blocking(move || server.ended()).await.unwrap();
        if signal == "TERM" && !status.success() {
            let last: Vec<&str> = logs.lines().rev().take(5).collect();
            self.complain(format!("the server ended with {status}: {last:#?}"));
        }
        for line in logs.lines().filter(|line| line.contains("panicked")) {
            self.complain(format!("a part of the server panicked: {line}"));
        }
        self.count("errors in the log", logs.lines().filter(|line| line.contains("\"ERROR\"")).count() as u64);
    }

    /// Starts the server at its address.
    pub(crate) async fn start(&self) {
        let start = Start::of(&self.directory, &self.apple, &self.google, self.clock.as_ref(), &self.address);
        self.server.replace(Some(start.run().await));
    }

    /// The process of the server, if one is to be running.
    pub(crate) fn pid(&self) -> Option<u32> {
        let pid = self.server.borrow().as_ref().map(Server::pid)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        if status.contains("VmRSS:") {
            return Some(pid);
        }
        // Nothing goes on without it.
        let (status, logs) = self.server.take().unwrap().ended();
        panic!("seed {}: the server has ended by itself: {status}: {logs}", self.seed)
    }

    /// Waits for about so many milliseconds, or until it is over.
    pub(crate) async fn pause(&self, millis: u64) {
        let due = Instant::now() + Duration::from_millis(millis);
        while !self.is_over.get() && Instant::now() < due {
            sleep((due - Instant::now()).min(Duration::from_millis(50))).await;
        }
    }

    pub(crate) fn count(&self, what: &'static str, more: u64) {
        *self.counts.borrow_mut().entry(what).or_default() += more;
    }

    /// So many things were compared.
    pub(crate) fn checked(&self, what: &'static str, count: usize) {
        self.checks.borrow_mut().insert(what, count as u64);
    }

    pub(crate) fn checks(&self) -> BTreeMap<&'static str, u64> {
        self.checks.borrow().clone()
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.borrow().clone()
    }

    /// Something is not as it should be.
    pub(crate) fn complain(&self, what: String) {
        let line = format!("after {:.1} s: {what}", self.began.elapsed().as_secs_f64());
        println!("WRONG {line}");
        self.wrong.borrow_mut().push(line);
    }

    /// Something is not as it should be with a user.
    pub(crate) fn complain_of(&self, key: &Key, what: &str) {
        let changes = self.changes[key.0].borrow();
        let of_user = changes.iter().rev().filter(|change| change["identity"] == *key.1);
        let told: Vec<String> = of_user.take(5).map(|change| format!("\n      told {change}")).collect();
        let history = self.ledger.history(key);
        self.complain(format!("{} in service {}: {what}\n      {history}{}", key.1, key.0, told.concat()));
    }

    pub(crate) fn wrong(&self) -> usize {
        self.wrong.borrow().len()
    }

    /// Tells what goes on.
    pub(crate) fn say(&self, what: &str) {
        println!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }
}

/// How a server is started.
struct Start {
    data: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Start {
    fn of(directory: &TempDir, apple: &Apple, google: &Google, clock: Option<&SteppingClock>, address: &str) -> Self {
        let settings = [
            ("--listen", address.to_owned()),
            ("--grace-seconds", GRACE.to_string()),
            ("--restart-grace-seconds", "4".to_owned()),
            ("--ping-seconds", "2".to_owned()),
            ("--lease-seconds", LEASE.to_string()),
            ("--change-log-rows", LOG_ROWS.to_string()),
            ("--max-waiting-events-per-service", WAITING_EVENTS.to_string()),
        ];
        let mut wound = std::process::Command::new("server");
        if let Some(clock) = clock {
            clock.wind(&mut wound);
        }
        providers::send_to(&mut wound, &directory.path().join("ca.pem"), apple, google);
        let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
        Self {
            data: directory.path().join("data"),
            arguments: settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect(),
            variables: wound.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect(),
        }
    }

    async fn run(self) -> Server {
        let start = move || {
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            Server::start_under(&["sh", "-c", TRAP], &self.data, &arguments, |command| {
                command.env_remove("SSL_CERT_DIR").envs(self.variables);
            })
        };
        spawn_blocking(start).await.unwrap()
    }
}
