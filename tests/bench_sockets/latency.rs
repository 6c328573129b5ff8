//! How soon a watcher sees that a user came or left, what that costs the server, and whether it is true.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reachability_tests::measure::{Durations, Used};

use crate::hearing::Hearing;
use crate::peer::{Client, Peer, Who};

/// How many users come and go, one after the other: about as many as one client may watch.
const USERS: usize = 900;

/// How many of them then come with two devices.
const PAIRS: usize = 200;

/// How many then connect at once.
const AT_ONCE: usize = 64;

/// After this, a change that was not heard is not heard any more.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) fn users() -> usize {
    USERS
}

pub(crate) fn head() {
    println!(
        "\n| one after the other, p50 / p99 / max | connect → seen | goodbye → seen | drop → seen | CPU a connect | CPU a connect, {AT_ONCE} at once | CPU a drop | unseen | false offlines | ghosts |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

pub(crate) async fn measure(peer: &impl Peer) {
    let (heard, mut hearing) = Hearing::new();
    let _watcher = peer.connect(Who::Watcher { number: 0, users: 0..USERS }, Some(&heard)).await.unwrap();
    hearing.settle(QUIET).await;
    let mut run = Run { peer, hearing, clients: Vec::new(), unseen: 0 };
    // The first round warms the server up.
    run.connect_all().await;
    run.leave_all(Client::goodbye).await;
    let before = Used::by(peer.pid());
    let connected = run.connect_all().await;
    let connects = Used::by(peer.pid()).since(before).cpu;
    let left = run.leave_all(Client::goodbye).await;
    let at_once = run.connect_at_once().await;
    let before = Used::by(peer.pid());
    let dropped = run.leave_all(Client::kill).await;
    let drops = Used::by(peer.pid()).since(before).cpu;
    let (false_offlines, ghosts) = run.pairs().await;
    let [connects, at_once, drops] = [connects, at_once, drops].map(|cpu| cpu.as_secs_f64() * 1e6 / USERS as f64);
    let [connected, left, dropped] = [connected, left, dropped]
        .map(|took| format!("{:.2} / {:.2} / {:.2} ms", took.quantile(0.5), took.quantile(0.99), took.quantile(1.0)));
    let (name, unseen) = (peer.name(), run.unseen);
    println!(
        "| {name} | {connected} | {left} | {dropped} | {connects:.0} µs | {at_once:.0} µs | {drops:.0} µs | {unseen} | {false_offlines} | {ghosts} |"
    );
}

struct Run<'a, P> {
    peer: &'a P,
    hearing: Hearing,
    clients: Vec<Client>,
    unseen: usize,
}

impl<P: Peer> Run<'_, P> {
    async fn connect_all(&mut self) -> Durations {
        let mut took = Durations::default();
        for user in 0..USERS {
            let started = Instant::now();
            self.clients.push(self.peer.device(user, 0).await.unwrap());
            self.seen(user, true, started, &mut took).await;
        }
        took
    }

    /// Returns the processor time that it took.
    async fn connect_at_once(&mut self) -> Duration {
        let before = Used::by(self.peer.pid());
        let devices = stream::iter(0..USERS).map(async |user| self.peer.device(user, 0).await.unwrap());
        self.clients = devices.buffered(AT_ONCE).collect().await;
        while self.hearing.count_online() < USERS {
            if self.hearing.next(Instant::now() + QUIET).await.is_none() {
                self.unseen += USERS - self.hearing.count_online();
                break;
            }
        }
        Used::by(self.peer.pid()).since(before).cpu
    }

    async fn leave_all(&mut self, leave: impl Fn(Client)) -> Durations {
        let mut took = Durations::default();
        for (user, client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let started = Instant::now();
            leave(client);
            self.seen(user, false, started, &mut took).await;
        }
        took
    }

    async fn seen(&mut self, user: usize, online: bool, since: Instant, took: &mut Durations) {
        match self.hearing.wait(user, online).await {
            Some(at) => took.0.push(at - since),
            None => self.unseen += 1,
        }
    }

    /// Users come with two devices, and lose one, then the other. Returns how many were shown offline too early, and how
    /// many too long.
    async fn pairs(&mut self) -> (usize, usize) {
        let mut devices = [Vec::new(), Vec::new()];
        for user in 0..PAIRS {
            for (number, devices) in devices.iter_mut().enumerate() {
                devices.push(self.peer.device(user, number).await.unwrap());
            }
        }
        self.hearing.settle(QUIET).await;
        let online = self.hearing.count_online();
        self.unseen += PAIRS.abs_diff(online);
        self.hearing.offline = 0;
        let [first, second] = devices;
        first.into_iter().for_each(Client::kill);
        self.hearing.settle(QUIET).await;
        let false_offlines = self.hearing.offline;
        second.into_iter().for_each(Client::kill);
        self.hearing.settle(QUIET).await;
        (false_offlines, self.hearing.count_online())
    }
}
