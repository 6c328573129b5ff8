//! A restart under many clients, who all come back as the unmodified ones do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::measure::Durations;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, sleep_until};

use crate::frames::{Frame, acknowledgement, split};
use crate::ours::{Ours, PATH, changes, init, subscribe, upgrade};
use crate::peer::{Line, Peer};

const CLIENTS: usize = 15_000;

/// Some of them watch others, so many each: everybody is watched by one.
const WATCHERS: usize = 150;
const WATCHED: usize = CLIENTS / WATCHERS;

/// How long it is listened after the server's start: those who had not come back would be offline then.
const LISTEN: Duration = Duration::from_secs(35);

pub(crate) async fn measure() {
    println!(
        "\n| {CLIENTS} clients, {WATCHERS} watch {WATCHED} each | stopped after | started after | back after: p50 / p99 / max | `init` → first view: p50 / p99 / max | back | changes heard | cut off |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for kills in [false, true] {
        restart(kills).await;
    }
}

struct World {
    address: Cell<SocketAddr>,
    /// The map of each user.
    maps: Vec<String>,
    present: Cell<usize>,
    /// When they came back, since this.
    back: RefCell<Durations>,
    since: Cell<Instant>,
    first_view: RefCell<Durations>,
    heard: Cell<usize>,
    /// Why connections failed or ended, and how often.
    failures: RefCell<BTreeMap<String, usize>>,
    is_done: Cell<bool>,
}

impl World {
    async fn client(&self, number: usize, token: String) {
        let (mut views, mut continuation, mut attempts) = (BTreeMap::new(), None, 0);
        // At first one after the other, so that it is no flood.
        sleep(Duration::from_micros(700) * number as u32).await;
        while !self.is_done.get() {
            let mut is_present = false;
            let end = self.session(number, &token, &mut continuation, &mut views, &mut is_present).await;
            if let Err(error) = end {
                // A refusal begins with the status line.
                let why = error.to_string().lines().next().unwrap_or_default().to_owned();
                *self.failures.borrow_mut().entry(why).or_default() += 1;
            }
            if is_present {
                self.present.set(self.present.get() - 1);
                attempts = 0;
            }
            // 1, 3, 7, 15 seconds, each a fifth more or less.
            let random = 800 + (number as u64 * 7_919) % 400;
            sleep(Duration::from_millis(random << attempts.min(7))).await;
            attempts += 1;
        }
    }

    async fn session(
        &self,
        number: usize,
        token: &str,
        continuation: &mut Option<String>,
        views: &mut BTreeMap<String, (u64, Option<bool>)>,
        is_present: &mut bool,
    ) -> io::Result<()> {
        let mut line = Line::open(self.address.get()).await?;
        upgrade(&mut line, PATH).await?;
        let started = Instant::now();
        if let Some(token) = init(&mut line, token, continuation.as_deref()).await? {
            *continuation = Some(token);
        }
        if number < WATCHERS && views.is_empty() {
            for map in &self.maps[number * WATCHED..][..WATCHED] {
                views.insert(map.clone(), (0, None));
            }
        }
        if !views.is_empty() {
            let known = views.clone();
            let maps: Vec<(&str, Option<u64>)> = known.iter().map(|(map, (id, _))| (map.as_str(), Some(*id))).collect();
            subscribe(&mut line, &maps, |payload| self.hear(views, payload)).await?;
        }
        *is_present = true;
        self.present.set(self.present.get() + 1);
        self.back.borrow_mut().0.push(self.since.get().elapsed());
        if !views.is_empty() {
            self.first_view.borrow_mut().0.push(started.elapsed());
        }
        loop {
            let answer = line.read(|received| -> Option<(Vec<u8>, usize)> {
                let (frame, length) = split(received)?;
                let answer = match frame {
                    Frame::Packet { header, payload } if header.method != "reply" => {
                        self.hear(views, payload);
                        acknowledgement(header.id)
                    }
                    Frame::Packet { .. } | Frame::Ping(_) | Frame::Close => Vec::new(),
                };
                Some((answer, length))
            });
            let answer = answer.await?;
            line.send(&answer).await?;
        }
    }

    fn hear(&self, views: &mut BTreeMap<String, (u64, Option<bool>)>, payload: &[u8]) {
        changes(payload, |map, id, online| {
            let view = views.get_mut(map).unwrap();
            if id > view.0 {
                self.heard.set(self.heard.get() + usize::from(online != view.1));
                *view = (id, online);
            }
        });
    }

    async fn all_present(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.present.get() < CLIENTS && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn restart(kills: bool) {
    let ours = Ours::start("ours", &[], CLIENTS).await;
    let world = World {
        address: Cell::new(ours.address()),
        maps: (0..CLIENTS).map(|user| ours.map(user).to_owned()).collect(),
        present: Cell::new(0),
        back: RefCell::default(),
        since: Cell::new(Instant::now()),
        first_view: RefCell::default(),
        heard: Cell::new(0),
        failures: RefCell::default(),
        is_done: Cell::new(false),
    };
    let clients = (0..CLIENTS).map(|number| world.client(number, ours.token(&format!("user-{number}"))));
    let clients: Vec<_> = clients.collect();
    let conduct = async {
        world.all_present().await;
        // Everybody has seen that everybody is there.
        sleep(Duration::from_secs(5)).await;
        world.back.borrow_mut().0.clear();
        world.first_view.borrow_mut().0.clear();
        world.heard.set(0);
        world.failures.take();
        let (server, start) = ours.into_server();
        let began = Instant::now();
        world.since.set(began);
        spawn_blocking(move || {
            if kills {
                server.kill();
            } else {
                assert!(server.stop().0.success());
            }
        })
        .await
        .unwrap();
        let stopped = began.elapsed();
        let (server, _start) = spawn_blocking(move || (start(), start)).await.unwrap();
        let (started, ready) = (began.elapsed() - stopped, Instant::now());
        world.address.set(server.address().parse().unwrap());
        sleep(Duration::from_secs(1)).await;
        world.all_present().await;
        let back = world.present.get();
        let failures = world.failures.take();
        sleep_until((ready + LISTEN).into()).await;
        world.is_done.set(true);
        println!(
            "| {} | {:.1} s | {:.1} s | {} | {} | {back} | {} | {} |",
            if kills { "`kill -9`" } else { "SIGTERM" },
            stopped.as_secs_f64(),
            started.as_secs_f64(),
            world.back.borrow(),
            world.first_view.borrow(),
            world.heard.get(),
            world.failures.borrow().values().sum::<usize>()
        );
        println!("  Before that, connections ended so: {failures:?}");
    };
    tokio::select! {
        _ = join_all(clients) => {}
        () = conduct => {}
    }
}
