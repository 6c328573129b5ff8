//! A thousand changes a second: users who come and go, each by a connection of its own.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::measure::{Durations, Used};
use tokio::time::{sleep, sleep_until};

use crate::hearing::Hearing;
use crate::peer::{Client, Peer, Who};

const USERS: usize = 900;
const WATCHERS: usize = 5;

/// How often somebody comes, and somebody leaves.
const EVERY: Duration = Duration::from_millis(2);

const DURATION: Duration = Duration::from_secs(60);

/// For how long a user stays.
const STAY: Duration = Duration::from_secs(1);

/// How many users are opening a connection at most. If they are more, the server does not keep up, and some are left out.
const AT_ONCE: usize = 500;

pub(crate) fn users() -> usize {
    USERS
}

pub(crate) fn head() {
    println!(
        "\n| 1,000 changes a second for a minute, {WATCHERS} watchers of {USERS} users | left out, failed | heard of those that were made | came → seen by the last | left → seen by the last | CPU | online at the end |"
    );
    println!("|---|---|---|---|---|---|---|");
}

/// What a user has done, and by how many watchers it was seen.
#[derive(Clone, Copy)]
struct Turn {
    at: Instant,
    seen: usize,
}

pub(crate) async fn measure(peer: &impl Peer) {
    let (heard, mut hearing) = Hearing::new();
    let watch = |number| peer.connect(Who::Watcher { number, users: 0..USERS }, Some(&heard));
    let _watchers: Vec<Client> = join_all((0..WATCHERS).map(watch)).await.into_iter().map(Result::unwrap).collect();
    hearing.settle(Duration::from_secs(2)).await;
    let turns = RefCell::new([vec![None::<Turn>; USERS], vec![None::<Turn>; USERS]]);
    let (busy, left_out, failed, made) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let started = Instant::now();
    let user = async |number: u32| {
        let due = started + EVERY * number;
        sleep_until(due.into()).await;
        if busy.get() >= AT_ONCE {
            left_out.set(left_out.get() + 1);
            return;
        }
        let user = number as usize % USERS;
        busy.set(busy.get() + 1);
        turns.borrow_mut()[1][user] = Some(Turn { at: due, seen: 0 });
        let client = peer.device(user, 0).await;
        busy.set(busy.get() - 1);
        let Ok(client) = client else {
            failed.set(failed.get() + 1);
            return;
        };
        sleep(STAY).await;
        turns.borrow_mut()[0][user] = Some(Turn { at: Instant::now(), seen: 0 });
        client.goodbye();
        made.set(made.get() + 2);
    };
    let before = Used::by(peer.pid());
    let count = (DURATION.as_millis() / EVERY.as_millis()) as u32;
    let mut took = [Durations::default(), Durations::default()];
    let mut heard = 0;
    let listen = async {
        while let Some(change) = hearing.next(Instant::now() + Duration::from_secs(5)).await {
            heard += 1;
            let kind = usize::from(change.online);
            let mut turns = turns.borrow_mut();
            let Some(turn) = &mut turns[kind][change.user] else { continue };
            turn.seen += 1;
            if turn.seen == WATCHERS {
                took[kind].0.push(change.at.saturating_duration_since(turn.at));
            }
        }
    };
    tokio::join!(join_all((0..count).map(user)), listen);
    let cpu = Used::by(peer.pid()).since(before).cpu.as_secs_f64() / DURATION.as_secs_f64() * 100.0;
    let [left, came] = &took;
    println!(
        "| {} | {}, {} | {heard} of {} | {came} | {left} | {cpu:.0} % of a core | {} |",
        peer.name(),
        left_out.get(),
        failed.get(),
        made.get() * WATCHERS,
        hearing.count_online()
    );
}
