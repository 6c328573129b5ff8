//! What checking registrations costs: through the client of APNs and that of FCM, with few devices and with many.
//!
//! Run by `cargo bench`. It prints a table and asserts nothing about times. The stand-ins run in a process of their
//! own, so that the processor time is that of the clients alone. On one machine the two share its processors.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::device::Address;
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::{Push, PushKind};
use reachability_domain::secret::Secret;
use reachability_infra::clock;
use reachability_infra::push::apns::{Apns, Identity};
use reachability_infra::push::fcm::{Fcm, ServiceAccount};
use reachability_infra::push::http::Roots;
use reachability_tests::providers::{Apple, Ca, Google};
use serde_json::{Value, json};

const DEVICES: [usize; 3] = [1, 100, 10_000];

/// How many checks are under way at a time.
const AT_ONCE: usize = 500;

/// For how long the same devices are checked repeatedly, so that a run with few devices also takes a while.
const AT_LEAST: Duration = Duration::from_secs(2);

/// The variable that makes this program run as the stand-ins.
const STAND_INS: &str = "stand-ins";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if std::env::args().any(|argument| argument == STAND_INS) {
        runtime.block_on(stand_ins());
    } else {
        runtime.block_on(bench());
    }
}

/// Prints where the stand-ins are; then, for every line of input, how many connections they have accepted.
async fn stand_ins() {
    let ca = Arc::new(Ca::new());
    let apple = Apple::start_with(ca.clone(), clock::now).await;
    let google = Google::start_with(ca.clone(), clock::now).await;
    apple.keep_no_requests();
    google.keep_no_requests();
    let about = json!({
        "roots": ca.pem(),
        "apns": apple.url(),
        "apns_key": apple.key().expose(),
        "fcm": google.url(),
        "fcm_token": google.token_url(),
        "fcm_key": Google::key().expose(),
    });
    println!("{about}");
    let lines = || std::io::stdin().lines().next();
    while tokio::task::block_in_place(lines).is_some() {
        println!("{}", json!({ "apns": apple.connections(), "fcm": google.connections() }));
    }
}

/// The stand-ins, in a process of their own. They end with their standard input.
struct StandIns {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    about: Value,
}

impl StandIns {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(STAND_INS).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut stand_ins = Self { child, input, output, about: Value::Null };
        stand_ins.about = stand_ins.read();
        stand_ins
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn connections(&mut self, of: &str) -> u64 {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
        self.read()[of].as_u64().unwrap()
    }

    fn about(&self, what: &str) -> &str {
        self.about[what].as_str().unwrap()
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

async fn bench() {
    let mut stand_ins = StandIns::start();
    let roots = Roots::from_pem(stand_ins.about("roots")).unwrap();
    let (apns_key, fcm_key) = (Secret::new(stand_ins.about("apns_key")), Secret::new(stand_ins.about("fcm_key")));
    println!("| what | devices | checks/s | CPU per check | connections |\n|---|---|---|---|---|");
    for devices in DEVICES {
        let identity = Identity::Key { pem: &apns_key, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
        let apns = Apns::new(identity, Apple::TOPIC, stand_ins.about("apns"), &roots, clock::now).unwrap();
        let apns = &apns;
        let check = move |number| async move {
            let device = Address::new(Channel::Apn, &format!("{number:064x}")).unwrap();
            apns.push(&device, &push(number, PushKind::Silent)).await
        };
        run("APNs, silent push", "apns", devices, check, &mut stand_ins).await;
    }
    for devices in DEVICES {
        let account = ServiceAccount {
            project_id: Google::PROJECT_ID,
            client_email: Google::CLIENT_EMAIL,
            private_key_id: Google::KEY_ID,
            private_key: &fcm_key,
        };
        let (url, token_url) = (stand_ins.about("fcm"), stand_ins.about("fcm_token"));
        let fcm = Fcm::new(account, url, token_url, &roots, clock::now).unwrap();
        let fcm = &fcm;
        let check = move |number| async move {
            let device = Address::new(Channel::Fcm, &format!("token:{number}")).unwrap();
            fcm.push(&device, &push(number, PushKind::DryRun)).await
        };
        run("FCM, dry run, with its access token", "fcm", devices, check, &mut stand_ins).await;
    }
}

fn push(number: usize, kind: PushKind) -> Push {
    Push { id: number as u128, collapse_id: format!("check-{number}"), expires_at: None, kind }
}

/// Checks all devices, repeatedly until [`AT_LEAST`] has passed.
async fn run<F>(what: &str, of: &str, devices: usize, check: impl Fn(usize) -> F, stand_ins: &mut StandIns)
where
    F: Future<Output = PushOutcome>,
{
    let connections = stand_ins.connections(of);
    let (started, cpu_before) = (Instant::now(), cpu());
    let mut checks = 0;
    while checks == 0 || started.elapsed() < AT_LEAST {
        let mut outcomes = stream::iter((0..devices).map(&check)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            assert!(matches!(outcome, PushOutcome::Accepted { .. }), "{outcome:?}");
            checks += 1;
        }
    }
    let rate = checks as f64 / started.elapsed().as_secs_f64();
    let cpu = (cpu() - cpu_before).as_secs_f64() * 1e6 / checks as f64;
    let connections = stand_ins.connections(of) - connections;
    println!("| {what} | {devices} | {rate:.0} | {cpu:.0} µs | {connections} |");
}

/// The processor time that this process has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat")).unwrap();
    // The name may hold spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // One tick is 10 ms on every Linux.
    Duration::from_millis(ticks * 10)
}
