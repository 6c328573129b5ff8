//! The server restarts under many clients, who all come back: nobody hears of a change, since there is none.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::future::{join, join_all};
use reachability_tests::client::Client as Owner;
use reachability_tests::map_client::MapClient;
use reachability_tests::map_views::Views;
use reachability_tests::measure::Durations;
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use super::truth::Bounds;

const CLIENTS: usize = 300;

/// Some of them watch others.
const WATCHERS: usize = 20;
const WATCHED: usize = 30;

const BOUNDS: Bounds = Bounds { ping: 14, grace: 2, restart_grace: 10 };

/// What the clients share.
struct World {
    address: RefCell<String>,
    service: String,
    signer: Signer,
    /// How many clients have a session, and have heard of everybody they watch.
    present: Cell<usize>,
    /// What was heard after the first sessions began.
    heard: RefCell<Vec<String>>,
    first_view: RefCell<Durations>,
    is_done: Cell<bool>,
}

impl World {
    async fn client(&self, number: usize) {
        let (mut views, mut continuation, mut attempts) = (Views::default(), None::<String>, 0);
        while !self.is_done.get() {
            let token = self.signer.token(&self.service, &format!("user-{number}"));
            let (address, started) = (self.address.borrow().clone(), Instant::now());
            let opened = MapClient::open(&address, &token, continuation.as_deref()).await;
            let Ok(mut client) = opened else {
                // As the unmodified clients do: after about 1, 3, 7 and 15 seconds.
                sleep(backoff(number, attempts)).await;
                attempts += 1;
                continue;
            };
            attempts = 0;
            continuation = client.continuation.clone();
            let mut is_present = false;
            if self.resume(&mut client, number, &mut views).await.is_some() {
                while !self.is_done.get() {
                    if !is_present && views.0.values().all(|view| view.current_since.is_some()) {
                        is_present = true;
                        self.present.set(self.present.get() + 1);
                        self.first_view.borrow_mut().0.push(started.elapsed());
                    }
                    let Ok(packet) = client.hear(Instant::now() + Duration::from_millis(50)).await else { break };
                    for news in packet.map(|packet| views.apply(&packet.payload)).unwrap_or_default() {
                        self.heard.borrow_mut().push(format!("{number} heard {news:?}"));
                    }
                }
            }
            views.cut();
            if is_present && !self.is_done.get() {
                self.present.set(self.present.get() - 1);
            }
            sleep(backoff(number, 0)).await;
        }
    }

    async fn resume(&self, client: &mut MapClient, number: usize, views: &mut Views) -> Option<()> {
        if number >= WATCHERS || !views.0.is_empty() {
            return client.resume(views).await;
        }
        // There are users once they have come.
        while self.present.get() < CLIENTS - WATCHERS {
            client.request("GET", "/Client/v2/Configuration", None).await?;
            sleep(Duration::from_millis(100)).await;
        }
        for user in 0..WATCHED {
            let user = WATCHERS + (number * WATCHED + user) % (CLIENTS - WATCHERS);
            client.watch(views, user, &format!("user-{user}")).await?;
        }
        Some(())
    }
}

fn backoff(number: usize, attempts: u32) -> Duration {
    // Each client's own share of the randomness.
    let random = 800 + (number as u64 * 7_919) % 400;
    Duration::from_millis(random << attempts.min(7))
}

async fn restart(kills: bool) {
    let directory = tempfile::tempdir().unwrap();
    let arguments = BOUNDS.arguments();
    let path = directory.path().to_owned();
    let start = move || Server::start(&path, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let server = start();
    let owner = Owner::of(&server);
    let world = World {
        address: RefCell::new(server.address().to_owned()),
        service: owner.enabled_service().await,
        signer: Signer::new(&owner, &server.account).await,
        present: Cell::new(0),
        heard: RefCell::default(),
        first_view: RefCell::default(),
        is_done: Cell::new(false),
    };
    let all_present = async || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while world.present.get() < CLIENTS {
            assert!(Instant::now() < deadline, "only {} of {CLIENTS} are there", world.present.get());
            sleep(Duration::from_millis(20)).await;
        }
    };
    let conduct = async {
        all_present().await;
        world.heard.borrow_mut().clear();
        world.first_view.borrow_mut().0.clear();
        if kills {
            spawn_blocking(move || server.kill()).await.unwrap();
        } else {
            let (status, logs) = spawn_blocking(move || server.stop()).await.unwrap();
            assert!(status.success(), "{logs}");
        }
        let server = spawn_blocking(start).await.unwrap();
        let started = Instant::now();
        server.address().clone_into(&mut world.address.borrow_mut());
        while world.present.get() == CLIENTS {
            sleep(Duration::from_millis(20)).await;
        }
        all_present().await;
        // Whoever had not come back would be offline then.
        sleep_until(started + BOUNDS.restart_grace() + Duration::from_secs(2)).await;
        assert_eq!(world.present.get(), CLIENTS, "nobody is cut off");
        let everybody = Owner::of(&server).everybody(&world.service).await;
        assert!(everybody.len() == CLIENTS && everybody.values().all(|online| *online == Some(true)), "{everybody:?}");
        world.is_done.set(true);
    };
    join(join_all((0..CLIENTS).map(|number| world.client(number))), conduct).await;
    let heard = world.heard.borrow();
    assert!(heard.is_empty(), "{heard:#?}");
    println!("{CLIENTS} clients are back; from the connection to the first view: {}", world.first_view.borrow());
}

#[tokio::test]
async fn nobody_hears_of_a_stop() {
    restart(false).await;
}

#[tokio::test]
async fn nobody_hears_of_a_kill() {
    restart(true).await;
}
