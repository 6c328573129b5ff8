//! Connections that are lost without a word: each is shown offline within the stated bound, and nobody else is.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::future::{join_all, join3};
use reachability_tests::client::Client as Owner;
use reachability_tests::map_client::MapClient;
use reachability_tests::map_views::Views;
use reachability_tests::server::Server;
use reachability_tests::tokens::Signer;
use tokio::time::{Instant, sleep, sleep_until};

use super::truth::Bounds;

const LOST: usize = 200;
const LIVING: usize = 100;

/// The shortest bound that is advised: ten seconds.
const BOUNDS: Bounds = Bounds { ping: 4, grace: 4, restart_grace: 30 };

#[tokio::test]
async fn every_lost_connection_is_found_in_time_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = BOUNDS.arguments();
    let server = Server::start(directory.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let owner = Owner::of(&server);
    let (service, signer) = (owner.enabled_service().await, Signer::new(&owner, &server.account).await);
    let open = async |identity: String| {
        MapClient::open(server.address(), &signer.token(&service, &identity), None).await.expect("a session")
    };
    // They answer while they wait for the others.
    let (start, is_done, late) = (Cell::new(None), Cell::new(false), Cell::new(Duration::ZERO));
    let frozen = RefCell::new(vec![None; LOST]);
    let connected = Cell::new(0);
    let client = async |user: usize| {
        let mut client = open(format!("user-{user}")).await;
        connected.set(connected.get() + 1);
        // The moments are spread over the time in which the server asks and waits.
        let at = (user < LOST).then(|| BOUNDS.silence() * user as u32 / LOST as u32);
        loop {
            let due = start.get().zip(at).map(|(start, at): (Instant, Duration)| start + at);
            if is_done.get() || due.is_some_and(|due| due <= Instant::now()) {
                break;
            }
            let until = Instant::now() + Duration::from_millis(50);
            client.hear(due.unwrap_or(until).min(until)).await.expect("who answers is not cut");
        }
        if let Some(frozen) = frozen.borrow_mut().get_mut(user) {
            *frozen = Some(Instant::now());
        }
        while !is_done.get() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let offline = RefCell::new(vec![None; LOST + LIVING]);
    let watcher = async {
        let mut watcher = open("watcher".to_owned()).await;
        while connected.get() < LOST + LIVING {
            sleep(Duration::from_millis(20)).await;
        }
        let mut views = Views::default();
        for user in 0..LOST + LIVING {
            watcher.watch(&mut views, user, &format!("user-{user}")).await.unwrap();
        }
        assert!(views.0.values().all(|view| view.reachability.0 == Some(true)));
        start.set(Some(Instant::now()));
        let end = Instant::now() + BOUNDS.silence() + BOUNDS.lost() + Duration::from_secs(3);
        while let Some(packet) = watcher.hear(end).await.expect("the watcher answers") {
            for news in views.apply(&packet.payload) {
                assert_eq!(news.online, Some(false), "nobody comes");
                offline.borrow_mut()[news.user] = Some(Instant::now());
            }
        }
        is_done.set(true);
    };
    let lateness = async {
        while !is_done.get() {
            let due = Instant::now() + Duration::from_millis(50);
            sleep_until(due).await;
            late.set(late.get().max(due.elapsed()));
        }
    };
    join3(join_all((0..LOST + LIVING).map(client)), watcher, lateness).await;
    let mut longest = Duration::ZERO;
    for (user, offline) in offline.borrow().iter().enumerate() {
        let Some(Some(frozen)) = frozen.borrow().get(user).copied() else {
            assert_eq!(*offline, None, "user {user} lives");
            continue;
        };
        let took = offline.unwrap_or_else(|| panic!("user {user} is a ghost")) - frozen;
        assert!(took >= BOUNDS.grace(), "user {user} was shown offline after {took:?}");
        longest = longest.max(took);
    }
    let bound = BOUNDS.lost() + Duration::from_secs(1) + late.get();
    assert!(longest <= bound, "{longest:?} is longer than {bound:?}");
    println!("{LOST} connections were lost, and shown offline after {longest:?} at most");
}
