//! What the flood of one service does to the user of another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use reachability_tests::measure::{Durations, peak_memory};
use reachability_tests::server::Server;
use tokio::time::{sleep, timeout};

use crate::events::{Batch, Service};
use crate::http::{Client, Target};
use crate::measure::{Counts, disk};

/// For how long the flood lasts.
const FLOOD: Duration = Duration::from_secs(12);

/// How many requests of the flood are sent at a time.
const AT_ONCE: usize = 4;

/// How many events each of them has.
const EVENTS: usize = 40_000;

/// How often the other user connects.
const EVERY: Duration = Duration::from_millis(100);

/// How long it may take until that is seen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each event is of another user.
pub(crate) async fn many_users() {
    flood("40,000 renewals a request", |batch, n| (format!("user-{}", batch * EVENTS + n), "c".to_owned())).await;
}

/// There are 300 users, with 2,000 connections each.
pub(crate) async fn many_connections() {
    let of = |batch: usize, n: usize| {
        let n = batch * EVENTS + n;
        (format!("user-{}", n / 2_000 % 300), format!("c-{}", n % 2_000))
    };
    flood("300 users with 2,000 connections each", of).await;
}

async fn flood(what: &str, of: impl Fn(usize, usize) -> (String, String)) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let (loud, quiet) = (Service::create(&server).await, Service::create(&server).await);
    let target = Target::of(&server);
    let idle = Quiet::default();
    idle.connect_for(&target, &quiet, "idle", Duration::from_secs(2)).await;

    // The flood is made before, since making it takes longer than sending it.
    let batches: VecDeque<Batch> = (0..15)
        .map(|batch| {
            let mut json = String::new();
            for n in 0..EVENTS {
                let (user, connection) = of(batch, n);
                loud.add(&mut json, "renew", &user, &connection);
            }
            Batch::of(target.post(&loud.events, json.as_bytes()))
        })
        .collect();
    let (started, batches) = (Instant::now(), RefCell::new(batches));
    let (answers, busy) = (RefCell::new(Counts::default()), Quiet::default());
    let shout = async || {
        let mut client = Client::of(&target);
        while started.elapsed() < FLOOD {
            let Some(mut batch) = batches.borrow_mut().pop_front() else { return };
            batch.renew();
            let answer = client.ask(&batch.request).await;
            answers.borrow_mut().add(&answer, 202);
            batches.borrow_mut().push_back(batch);
        }
    };
    let sizes = Cell::new((0, 0));
    let watch = async {
        loop {
            let (all, log) = (disk(directory.path(), ""), disk(directory.path(), "-wal"));
            sizes.set((sizes.get().0.max(all), sizes.get().1.max(log)));
            sleep(Duration::from_millis(50)).await;
        }
    };
    let shouts = join_all((0..AT_ONCE).map(|_| shout()));
    let both = join(shouts, busy.connect_for(&target, &quiet, "busy", FLOOD));
    tokio::select! {
        _ = both => {}
        () = watch => {}
    }
    println!("\n| flood | {what} |\n|---|---|");
    println!("| answers to the flood | {} |", answers.borrow());
    println!("| answers to the quiet user | {} |", busy.answers.borrow());
    println!("| seen online, idle: p50 / p99 / max | {} |", idle.seen.borrow());
    println!("| seen online, under the flood | {} |", busy.seen.borrow());
    println!("| never seen | {} |", busy.unseen.get());
    let (all, log) = sizes.get();
    println!("| disk, of it the log | {all} MiB, {log} MiB |");
    println!("| memory | {} MiB |", peak_memory(server.pid()));
}

/// What the users of a quiet service saw.
#[derive(Default)]
struct Quiet {
    answers: RefCell<Counts>,
    /// How long it took from sending a connect until its user was seen online.
    seen: RefCell<Durations>,
    unseen: Cell<usize>,
}

impl Quiet {
    /// Lets new users connect again and again, and waits until each is seen.
    async fn connect_for(&self, target: &Target, service: &Service, name: &str, duration: Duration) {
        let count = (duration.as_millis() / EVERY.as_millis()) as u32;
        let one = async |n: u32| {
            sleep(EVERY * n).await;
            if timeout(PATIENCE, self.connect(target, service, &format!("{name}-{n}"))).await.is_err() {
                self.unseen.set(self.unseen.get() + 1);
            }
        };
        join_all((0..count).map(one)).await;
    }

    async fn connect(&self, target: &Target, service: &Service, identity: &str) {
        let (mut client, started) = (Client::of(target), Instant::now());
        let mut json = String::new();
        service.add(&mut json, "connect", identity, "c");
        loop {
            let answer = client.post(&service.events, json.as_bytes()).await;
            let is_accepted = answer.as_ref().is_ok_and(|answer| answer.status == 202);
            self.answers.borrow_mut().add(&answer, 202);
            if is_accepted {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        while !client.is_online(&service.sid, identity).await {
            // Often at first, and less so the longer it takes, so that asking is no load.
            sleep((started.elapsed() / 20).clamp(Duration::from_millis(3), Duration::from_millis(200))).await;
        }
        self.seen.borrow_mut().0.push(started.elapsed());
    }
}
