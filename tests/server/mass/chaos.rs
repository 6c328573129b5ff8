//! Random clients of several services, and a gateway that reports connections beside them: once all is quiet, each client has
//! seen the truth of everybody it watches, and until then nobody was shown online for longer than is stated, nor offline while
//! connected.

mod device;
mod gateway;
mod world;

use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::{join_all, join4};
use reachability_tests::client::Client as Owner;
use reachability_tests::server::{PATIENCE, Server};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use self::device::Device;
use self::world::World;
use super::plan::{Blow, Plan, Sizes, Visit};
use super::truth::Bounds;

const SERVICES: usize = 3;

/// In each service.
const USERS: usize = 6;

/// More than users: some have two devices.
const CLIENTS: usize = 30;

/// How many users have connections that a gateway reports.
const REPORTED: usize = 7;

/// Everything is quicker than it should be for people, so that more happens.
const BOUNDS: Bounds = Bounds { ping: 2, grace: 2, restart_grace: 4 };

/// For how long the clients come and go after the last restart.
const AFTER: Duration = Duration::from_secs(4);

/// Does to the server what is planned.
async fn strike(world: &World, blows: &[(u64, Blow)]) {
    for (after, blow) in blows {
        sleep(Duration::from_millis(*after)).await;
        match *blow {
            Blow::Switch { service, off } => {
                switch(world, service, false).await;
                sleep(Duration::from_millis(off)).await;
                switch(world, service, true).await;
            }
            Blow::Stop | Blow::Kill => {
                let server = world.server.take().unwrap();
                world.truth.borrow_mut().stopped();
                if matches!(blow, Blow::Kill) {
                    spawn_blocking(move || server.kill()).await.unwrap();
                } else {
                    let (status, logs) = spawn_blocking(move || server.stop()).await.unwrap();
                    assert!(status.success(), "{logs}");
                }
                world.truth.borrow_mut().started();
                let (path, arguments) = (world.directory.path().to_owned(), world.arguments.clone());
                let start = move || Server::start(&path, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
                let server = spawn_blocking(start).await.unwrap();
                server.address().clone_into(&mut world.address.borrow_mut());
                world.owner.replace(Owner::of(&server));
                world.server.replace(Some(server));
                world.truth.borrow_mut().ready();
            }
        }
    }
    sleep(AFTER).await;
    // In one service it stays off.
    switch(world, 0, false).await;
}

async fn switch(world: &World, service: usize, on: bool) {
    let owner = world.owner.borrow().clone();
    world.enabled.borrow_mut()[service] = None;
    let path = format!("/v1/Services/{}/Configuration", world.services[service]);
    owner.post(&path, format!("ReachabilityEnabled={on}")).await;
    world.enabled.borrow_mut()[service] = on.then(Instant::now);
}

async fn run(seed: u64) {
    println!("seed {seed}");
    let (grace, lost) = (BOUNDS.grace().as_millis() as u64, BOUNDS.lost().as_millis() as u64);
    let sizes = Sizes { clients: CLIENTS, services: SERVICES, users: USERS, reported: REPORTED };
    let plan = Plan::of(seed, &sizes, grace, lost);
    let world = World::new().await;
    let device = |(number, visits): (usize, &Vec<Visit>)| {
        let (world, visits) = (&world, visits.clone());
        async move { Device::new(world, number).live(&visits).await }
    };
    let devices = join_all(plan.clients.iter().enumerate().map(device));
    let reported = plan.reported.iter().enumerate();
    let gateway = join_all(reported.map(|(user, stays)| gateway::report(&world, user, stays)));
    let conduct = async {
        strike(&world, &plan.blows).await;
        world.is_over.set(true);
        let settled = async {
            while !world.differences().await.is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, settled).await.is_err() {
            for difference in world.differences().await {
                world.complain(difference);
            }
        }
        world.is_done.set(true);
    };
    join4(devices, gateway, conduct, world.look()).await;
    world.judge();
    let wrong = world.wrong.borrow();
    let (changes, expired) = (world.changes.get(), world.expired.get());
    println!(
        "{changes} changes were seen, {expired} tokens expired; this program was {:?} late at most",
        world.late.get()
    );
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert!(changes > 200 && expired > 0, "too little happened");
}

#[tokio::test]
async fn clients_see_the_truth_whatever_happens() {
    // More with `REACHABILITY_CHAOS_RUNS`, or a certain one with `REACHABILITY_CHAOS_SEED`.
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let runs = number("REACHABILITY_CHAOS_RUNS").unwrap_or(1);
    let first = number("REACHABILITY_CHAOS_SEED").unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_micros() as u64);
    for seed in first..first + runs {
        run(seed).await;
    }
}
