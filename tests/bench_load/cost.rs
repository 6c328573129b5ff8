//! What requests and events cost the server, in processor time, against an answer that is always the same.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use reachability_tests::measure::Used;
use reachability_tests::server::Server;

use crate::events::Service;
use crate::http::{Client, Target};
use crate::measure::Counts;

/// How many requests at most prepare the server for a measurement.
const WARM_UP: usize = 2_000;

/// How often each is measured, in turn. The least counts: whatever else runs on the machine only adds to it.
const ROUNDS: usize = 5;

/// How many users are active where not all are.
const ACTIVE: usize = 1_000;

/// How many events a batch has.
const BATCH: usize = 100;

/// What a run took.
struct Cost {
    used: Used,
    /// From the first request to the last answer.
    wall: Duration,
    /// How many requests it had.
    count: usize,
}

impl Cost {
    /// Processor time for each request, in microseconds.
    fn each(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 1e6 / self.count as f64
    }
}

/// Processor time for each request, with few users and with many, and with many connections and with one.
pub(crate) async fn requests(users: &[usize]) {
    println!("\n| users | connections | what | CPU each | against the constant | switches each | each second |");
    println!("|---|---|---|---|---|---|---|");
    for users in users {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &["--lease-seconds", "86400"]);
        let load = Load::with_users(&server, *users).await;
        for (connections, reads, events) in [(64, 20_000, 8_000), (1, 6_000, 1_500)] {
            let mut least: [Option<Cost>; 3] = [None, None, None];
            for _ in 0..ROUNDS {
                let round = [
                    load.run(connections, reads, 200, |_| load.target.get("/healthz")).await,
                    load.run(connections, reads, 200, |n| load.fetch(n)).await,
                    load.run_events(connections, events, 1).await,
                ];
                for (least, cost) in least.iter_mut().zip(round) {
                    if least.as_ref().is_none_or(|least| cost.each() < least.each()) {
                        *least = Some(cost);
                    }
                }
            }
            let [Some(constant), Some(fetch), Some(event)] = least else { return };
            for (what, cost) in [("constant", &constant), ("fetch of a user", &fetch), ("one event", &event)] {
                let (each, ratio) = (cost.each(), cost.each() / constant.each());
                let switches = cost.used.switches as f64 / cost.count as f64;
                let rate = cost.count as f64 / cost.wall.as_secs_f64();
                println!(
                    "| {users} | {connections} | {what} | {each:.1} µs | {ratio:.1} | {switches:.2} | {rate:.0} |"
                );
            }
        }
        for active in [*users, ACTIVE] {
            load.active.set(active);
            let each = load.run_events(8, 200_000, BATCH).await.each() / BATCH as f64;
            println!(
                "| {users}, {active} of them active | 8 | an event, {BATCH} a request | {each:.1} µs: {:.0} a second of a core | | | |",
                1e6 / each
            );
            let fetch = load.run(64, 20_000, 200, |n| load.fetch(n)).await.each();
            println!("| {users}, {active} of them active | 64 | fetch of a user | {fetch:.1} µs | | | |");
        }
    }
}

/// Processor time for each event, by the number of other live connections of its user.
pub(crate) async fn connections() {
    const USERS: usize = 500;
    println!("\n| other live connections of the user | CPU for each event, {BATCH} a request |\n|---|---|");
    for others in [1, 10, 99] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &["--lease-seconds", "86400"]);
        let load = Load::with_users(&server, USERS).await;
        for other in 1..others {
            load.connect_all(USERS, &format!("other-{other}")).await;
        }
        let cost = load.run_events(8, 50_000, BATCH).await;
        println!("| {others} | {:.1} µs |", cost.each() / BATCH as f64);
    }
}

/// A server with users.
struct Load {
    target: Target,
    service: Service,
    /// How many of the users do something.
    active: Cell<usize>,
    pid: u32,
    /// How many connects and disconnects were sent.
    sent: Cell<usize>,
    /// How often the end of the queue was marked.
    marks: Cell<usize>,
}

impl Load {
    async fn with_users(server: &Server, users: usize) -> Self {
        let service = Service::create(server).await;
        let (target, pid) = (Target::of(server), server.pid());
        let load = Self { target, service, active: Cell::new(users), pid, sent: Cell::new(0), marks: Cell::new(0) };
        load.connect_all(users, "first").await;
        load
    }

    /// Lets every user connect with a connection of this name.
    async fn connect_all(&self, users: usize, connection: &str) {
        let mut client = Client::of(&self.target);
        let all: Vec<usize> = (0..users).collect();
        for some in all.chunks(2_000) {
            let mut json = String::new();
            for user in some {
                self.service.add(&mut json, "connect", &format!("user-{user}"), connection);
            }
            // One that is refused is sent again.
            while client.post(&self.service.events, json.as_bytes()).await.unwrap().status != 202 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        self.wait().await;
    }

    /// Waits until everything that was sent is handled: the server then rests.
    async fn wait(&self) {
        let mut client = Client::of(&self.target);
        let identity = format!("mark-{}", self.marks.replace(self.marks.get() + 1));
        let mut json = String::new();
        self.service.add(&mut json, "connect", &identity, "mark");
        while client.post(&self.service.events, json.as_bytes()).await.unwrap().status != 202 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while !client.is_online(&self.service.sid, &identity).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        loop {
            let before = Used::by(self.pid).cpu;
            tokio::time::sleep(Duration::from_millis(250)).await;
            if Used::by(self.pid).cpu - before <= Duration::from_millis(10) {
                break;
            }
        }
    }

    /// One of the active users, in a scrambled order, each as often as the others.
    fn user(&self, n: usize) -> String {
        format!("user-{}", n.wrapping_mul(7_919) % self.active.get())
    }

    fn fetch(&self, n: usize) -> Vec<u8> {
        self.target.get(&format!("/v1/Services/{}/Users/{}", self.service.sid, self.user(n)))
    }

    /// Sends connects and disconnects of the users, so many in each request, and waits until they are handled.
    async fn run_events(&self, connections: usize, events: usize, batch: usize) -> Cost {
        let request = |_| {
            let mut json = String::new();
            for _ in 0..batch {
                let event = self.sent.replace(self.sent.get() + 1);
                let kind = if event.is_multiple_of(2) { "connect" } else { "disconnect" };
                let pair = event / 2;
                self.service.add(&mut json, kind, &self.user(pair), &format!("c-{pair}"));
            }
            self.target.post(&self.service.events, json.as_bytes())
        };
        self.run(connections, events / batch, 202, request).await
    }

    /// Sends so many requests on so many connections, and waits until all is handled. Each must be answered so.
    async fn run(&self, connections: usize, count: usize, expected: u16, request: impl Fn(usize) -> Vec<u8>) -> Cost {
        self.send(connections, WARM_UP.min(count / 4), expected, &request).await;
        if expected == 202 {
            self.wait().await;
        }
        let (before, started) = (Used::by(self.pid), Instant::now());
        self.send(connections, count, expected, &request).await;
        let wall = started.elapsed();
        if expected == 202 {
            self.wait().await;
        }
        Cost { used: Used::by(self.pid).since(before), wall, count }
    }

    async fn send(&self, connections: usize, count: usize, expected: u16, request: &impl Fn(usize) -> Vec<u8>) {
        let (next, counts) = (Cell::new(0), RefCell::new(Counts::default()));
        let send = async || {
            let mut client = Client::of(&self.target);
            while next.get() < count {
                let request = request(next.replace(next.get() + 1));
                let answer = client.ask(&request).await;
                counts.borrow_mut().add(&answer, expected);
            }
        };
        futures_util::future::join_all((0..connections).map(|_| send())).await;
        let counts = counts.into_inner().to_string();
        if counts != format!("{expected}: {count}") {
            println!("answers: {counts}");
        }
    }
}
