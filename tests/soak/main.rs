//! The soak: everything at once, against the server as its owner runs it, for as long as one likes. Events over REST, sockets
//! of both protocols, presence, webhooks, the stream of changes and pushes, under kills, a full disk, steps of the clock, a
//! flood by one service, and outages of the receiver and of the push providers. In the end everything that can be seen is
//! compared with what was acknowledged.
//!
//! Run by `cargo test --workspace --test soak`: 40 seconds of that, and up to a minute until all is quiet and compared.
//! `-- --seconds 600 --seed 7` says for how long, and which random course. A seed that failed makes the same choices again,
//! though not at the very same moments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "it is a test, which prints its figures"
)]

mod devices;
mod faults;
mod files;
mod flood;
mod gateway;
mod judge;
mod ledger;
mod listeners;
mod owner;
mod pushes;
mod report;
mod talkers;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use tokio::time::sleep;

use self::files::Sizes;
use self::world::{SERVICES, World};

/// For how long everything goes on, unless a duration is given: long enough for each fault to come once.
const SECONDS: u64 = 40;

/// The course, unless another one is wanted.
const SEED: u64 = 7;

/// What the arguments ask for: the seconds and the seed. `None`: a filter of tests that leaves this one out, or a list.
fn wanted() -> Option<(u64, u64)> {
    let (mut seconds, mut seed, mut filters) = (SECONDS, SEED, vec![]);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse().ok()).expect("a number follows");
        match argument.as_str() {
            "--seconds" => seconds = number(),
            "--seed" => seed = number(),
            "--list" => return None,
            // Of the harness that other tests have.
            flag if flag.starts_with('-') => {}
            filter => filters.push(filter.to_owned()),
        }
    }
    let is_wanted = filters.is_empty() || filters.iter().any(|filter| "soak".contains(filter.as_str()));
    is_wanted.then_some((seconds, seed))
}

fn main() -> ExitCode {
    let Some((seconds, seed)) = wanted() else { return ExitCode::SUCCESS };
    println!("the soak: {seconds} s, seed {seed}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if runtime.block_on(run(seconds, seed)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(seconds: u64, seed: u64) -> bool {
    let world = World::new(seed).await;
    owner::create_stars(&world).await;
    devices::create_devices(&world).await;
    talkers::create(&world).await;
    let phones = pushes::Phones::create(&world).await;
    let listeners = listeners::begin(&world).await;
    let sizes = Sizes::begin(&world);

    let services = || 0..SERVICES;
    let reports = join_all(services().map(|service| gateway::report(&world, service)));
    let owners = join_all(services().map(|service| owner::set(&world, service)));
    let (devices, talkers) = (devices::Devices::new(&world), talkers::Talkers::new(&world));
    let load = join(join(reports, owners), join(phones.load(&world), phones.come_and_go(&world)));
    let sockets = join(devices.live(&world), talkers.live(&world));
    let conduct = async {
        let until = Instant::now() + Duration::from_secs(seconds);
        world.say("everything begins");
        faults::strike(&world, until).await;
        world.is_over.set(true);
        world.say("the users are quiet");
        judge::settled(&world, &devices, &talkers, &phones).await;
        world.say("everything is judged");
        world.is_done.set(true);
        sleep(Duration::from_millis(200)).await;
    };
    join(join(load, sockets), join(join(listeners.listen(&world), sizes.watch(&world)), conduct)).await;
    judge::stopped(&world).await;
    report::print(&world, seconds, &sizes)
}
