//! A thousand users who change within a second, each of them watched by ten.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::measure::{Durations, Used, resident_memory};
use tokio::time::sleep_until;

use crate::hearing::{Hearing, Tally};
use crate::peer::{Change, Client, Peer, Session, Who};

const USERS: usize = 1_000;

/// How many users a watcher watches, and how many watch the same.
const WATCHED: usize = 100;
const EACH: usize = 10;

const WATCHERS: usize = USERS / WATCHED * EACH;

/// Some more watch somebody else, who never comes.
const OTHERS: usize = 100;

/// How often all users come, say something, and leave.
const ROUNDS: usize = 5;

/// How often one of them does.
const EVERY: Duration = Duration::from_millis(1);

pub(crate) fn users() -> usize {
    USERS + 1
}

pub(crate) fn head() {
    println!(
        "\n| {USERS} users change within a second, each watched by {EACH}; {WATCHERS} sockets watch {WATCHED} each, {OTHERS} somebody else | connect → seen by the last of {EACH} | status → seen | goodbye → seen | CPU a change | memory | heard | unseen, heard twice or by others |"
    );
    println!("|---|---|---|---|---|---|---|---|");
}

pub(crate) async fn measure<P: Peer>(peer: &P) {
    let (heard, mut hearing) = Hearing::new();
    let watch = |number| {
        let begin = number / EACH * WATCHED;
        let users = if number < WATCHERS { begin..begin + WATCHED } else { USERS..USERS + 1 };
        peer.connect(Who::Watcher { number, users }, Some(&heard))
    };
    let mut watchers: Vec<Client> = Vec::new();
    for number in 0..WATCHERS + OTHERS {
        watchers.push(watch(number).await.unwrap());
    }
    hearing.settle(Duration::from_secs(2)).await;
    let memory = resident_memory(peer.pid()) / 1_024;
    let clients = RefCell::new(Vec::new());
    clients.borrow_mut().resize_with(USERS, || None::<Client>);
    let mut tally = Tally::of(hearing);
    let [mut came, mut said, mut left] = [const { Durations(Vec::new()) }; 3];
    let before = Used::by(peer.pid());
    for round in 0..ROUNDS {
        let come = async |user: usize| {
            let client = peer.device(user, 0).await.unwrap();
            clients.borrow_mut()[user] = Some(client);
        };
        all(&mut tally, &mut came, come).await;
        if P::Session::HAS_STATUS {
            let say = async |user: usize| {
                if let Some(client) = &clients.borrow()[user] {
                    client.status(format!("Round {round}"));
                }
            };
            all(&mut tally, &mut said, say).await;
        }
        let leave = async |user: usize| {
            if let Some(client) = clients.borrow_mut()[user].take() {
                client.goodbye();
            }
        };
        all(&mut tally, &mut left, leave).await;
    }
    let changes = ROUNDS * USERS * if P::Session::HAS_STATUS { 3 } else { 2 };
    let cpu = Used::by(peer.pid()).since(before).cpu.as_secs_f64() * 1e6 / changes as f64;
    let heard = tally.end(changes * EACH).await;
    let said = if said.0.is_empty() { "-".to_owned() } else { said.to_string() };
    println!("| {} | {came} | {said} | {left} | {cpu:.0} µs | {memory} MiB | {heard} |", peer.name());
}

/// Has all users do something within a second, and waits until all watchers have heard of it. Says for each user after how
/// long its last watcher did.
async fn all(tally: &mut Tally, took: &mut Durations, act: impl AsyncFn(usize)) {
    let begun = RefCell::new(vec![None::<Instant>; USERS]);
    let started = Instant::now() + Duration::from_millis(100);
    let one = async |user: usize| {
        sleep_until((started + EVERY * user as u32).into()).await;
        begun.borrow_mut()[user] = Some(Instant::now());
        act(user).await;
    };
    let (mut seen, mut counts) = (vec![false; USERS * EACH], vec![0; USERS]);
    let is_wanted = |change: &Change| {
        let user = change.user;
        // Which of the user's watchers it is.
        let place = change.watcher.checked_sub(user / WATCHED * EACH).filter(|place| *place < EACH);
        match (place.and_then(|place| seen.get_mut(user * EACH + place)), begun.borrow().get(user)) {
            (Some(seen), Some(Some(begun))) if !*seen => {
                *seen = true;
                counts[user] += 1;
                if counts[user] == EACH {
                    took.0.push(change.at - *begun);
                }
                true
            }
            _ => false,
        }
    };
    tokio::join!(join_all((0..USERS).map(one)), tally.hear(USERS * EACH, is_wanted));
}
