//! What is done to the server, and to what it talks to.

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join;
use reachability_tests::providers::Answer as Push;
use reachability_tests::receiver::{Answer, Receiver};
use rlimit::{INFINITY, Resource, prlimit};
use tokio::time::sleep;

use crate::files::size;
use crate::flood::flood;
use crate::world::World;

/// By how many seconds the server's clock steps, for a short while. By no more, since after a step back what was written before
/// it counts as written in the future for so long, and somebody who reads a user in that time may not be told of its end.
const STEPS: [i64; 4] = [-5, -2, 2, 5];

/// For how long before the end the clock is right, for the same reason: what is written after that makes up for it.
const RIGHT: Duration = Duration::from_secs(12);

/// For how long a step, a full disk or an outage lasts, in milliseconds, at most.
const LASTS: u64 = 5_000;

/// What is done to the server's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Kill,
    Stop,
    /// No file may grow.
    FullDisk,
    /// The log of the database may grow by so much as fits between two pages: a write is cut.
    AlmostFullDisk,
    /// The disk is full, and the server is killed before there is room again.
    KillOnFullDisk,
}

/// What is done around it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Step,
    Flood,
    NoReceiver,
    NoProviders,
    BadProviders,
}

const BLOWS: [Blow; 7] = [
    Blow::Kill,
    Blow::FullDisk,
    Blow::Stop,
    Blow::AlmostFullDisk,
    Blow::Kill,
    Blow::KillOnFullDisk,
    Blow::AlmostFullDisk,
];

const TROUBLES: [Trouble; 7] = [
    Trouble::Step,
    Trouble::Flood,
    Trouble::NoReceiver,
    Trouble::Step,
    Trouble::NoProviders,
    Trouble::Step,
    Trouble::BadProviders,
];

/// Strikes until then, in a random order in which each comes before any comes again. In the end everything works.
pub(crate) async fn strike(world: &World, until: Instant) {
    let blows = async {
        let (mut dice, mut deck) = (world.dice("blows"), vec![]);
        while Instant::now() < until {
            sleep(Duration::from_millis(dice.u64(1_500..5_000))).await;
            let next = draw(&mut dice, &mut deck, &BLOWS);
            blow(world, &mut dice, next).await;
        }
    };
    let troubles = async {
        let (mut dice, mut deck) = (world.dice("troubles"), vec![]);
        while Instant::now() < until {
            sleep(Duration::from_millis(dice.u64(300..2_000))).await;
            let next = draw(&mut dice, &mut deck, &TROUBLES);
            if next == Trouble::Step && Instant::now() + RIGHT > until {
                continue;
            }
            trouble(world, &mut dice, next).await;
        }
    };
    // Some answers take a while, and some are none.
    let mut dice = world.dice("receiver");
    world.inbox.answer(move |_| match dice.u8(0..20) {
        0 => Answer::Status(500),
        1 => Answer::After(Duration::from_millis(20)),
        _ => Answer::Status(200),
    });
    join(blows, troubles).await;
    world.inbox.answer(|_| Answer::Status(200));
}

/// The next of a deck, which is all of them in a random order.
fn draw<T: Copy>(dice: &mut Rng, deck: &mut Vec<T>, all: &[T]) -> T {
    if deck.is_empty() {
        deck.extend(all);
        dice.shuffle(deck);
    }
    deck.pop().unwrap()
}

async fn blow(world: &World, dice: &mut Rng, blow: Blow) {
    world.say(&format!("{blow:?}"));
    match blow {
        Blow::Kill => {
            world.count("kills", 1);
            world.restart("KILL").await;
        }
        Blow::Stop => {
            world.count("stops", 1);
            world.restart("TERM").await;
        }
        Blow::FullDisk | Blow::AlmostFullDisk | Blow::KillOnFullDisk => {
            world.count("full disks", 1);
            let log = size(&world.data().join("reachability.db-wal"));
            let room = if blow == Blow::AlmostFullDisk { log + dice.u64(0..65_536) } else { 4_096 };
            limit_files(world, room);
            sleep(Duration::from_millis(dice.u64(500..LASTS))).await;
            if blow == Blow::KillOnFullDisk {
                world.count("kills", 1);
                world.restart("KILL").await;
            } else {
                limit_files(world, INFINITY);
            }
        }
    }
}

/// From now on no file of the server may grow over so many bytes.
fn limit_files(world: &World, bytes: u64) {
    let pid = world.pid().unwrap().try_into().unwrap();
    prlimit(pid, Resource::FSIZE, Some((bytes, INFINITY)), None).unwrap();
}

async fn trouble(world: &World, dice: &mut Rng, trouble: Trouble) {
    world.say(&format!("{trouble:?}"));
    let lasts = Duration::from_millis(dice.u64(500..LASTS));
    match trouble {
        Trouble::Step => {
            let Some(clock) = &world.clock else { return };
            world.count("steps of the clock", 2);
            clock.set(dice.choice(STEPS).unwrap());
            sleep(lasts).await;
            clock.set(0);
        }
        Trouble::Flood => {
            world.count("floods", 1);
            flood(world, lasts).await;
        }
        Trouble::NoReceiver => {
            world.count("outages of the receiver", 1);
            let address = world.receiver.take().unwrap().address;
            sleep(lasts).await;
            world.receiver.replace(Some(Receiver::start_at(address, world.inbox.clone()).await));
        }
        Trouble::NoProviders => {
            world.count("outages of the providers", 1);
            join(world.apple.down(), world.google.down()).await;
            sleep(lasts).await;
            join(world.apple.up(), world.google.up()).await;
        }
        Trouble::BadProviders => {
            world.count("outages of the providers", 1);
            for answer in [Push::apns(503, "ServiceUnavailable"), Push::reset(), Push::usual(), Push::close()] {
                world.apple.answer_next(answer);
            }
            for answer in [Push::fcm(503, "UNAVAILABLE", None), Push::reset(), Push::usual(), Push::close()] {
                world.google.answer_all(answer);
                sleep(lasts / 4).await;
            }
            world.google.answer_all(Push::usual());
        }
    }
}
