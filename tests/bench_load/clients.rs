//! Many clients at once, each with a connection of its own.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::measure::{Durations, Used, peak_memory};
use reachability_tests::server::Server;
use tokio::time::sleep;

use crate::events::Service;
use crate::http::{Client, Target};
use crate::measure::Counts;

const CLIENTS: usize = 2_000;

/// For how long they ask.
const DURATION: Duration = Duration::from_secs(10);

/// They fetch users, send events, list, and ask whether the server is well.
pub(crate) async fn small_things() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let (service, target) = (Service::create(&server).await, Target::of(&server));
    let (counts, took) = (RefCell::new(Counts::default()), RefCell::new(Durations::default()));
    create(&target, &service).await;
    let before = Used::by(server.pid());
    let started = Instant::now();
    let one = async |n: usize| {
        let mut client = Client::of(&target);
        let (sid, mut turn) = (&service.sid, n);
        let mut json = String::new();
        service.add(&mut json, "connect", &format!("user-{n}"), "c");
        let user = format!("/v1/Services/{sid}/Users/user-{n}");
        while started.elapsed() < DURATION {
            turn += 1;
            let (request, expected) = match turn % 4 {
                0 => (target.post(&service.events, json.as_bytes()), 202),
                1 => (target.get(&user), 200),
                2 => (target.get(&format!("/v1/Services/{sid}/Users?PageSize=5&Reachability=true")), 200),
                _ => (target.get("/healthz"), 200),
            };
            let asked = Instant::now();
            let answer = client.ask(&request).await;
            took.borrow_mut().0.push(asked.elapsed());
            counts.borrow_mut().add(&answer, expected);
        }
    };
    join_all((0..CLIENTS).map(one)).await;
    let used = Used::by(server.pid()).since(before);
    println!("\n| clients at once | {CLIENTS} |\n|---|---|");
    println!("| answers | {} |", counts.borrow());
    println!("| took: p50 / p99 / max | {} |", took.borrow());
    println!("| processor time | {:.1} s in {:.1} s |", used.cpu.as_secs_f64(), started.elapsed().as_secs_f64());
    println!("| memory | {} MiB |", peak_memory(server.pid()));
}

/// Creates the users.
async fn create(target: &Target, service: &Service) {
    let (mut client, mut json) = (Client::of(target), String::new());
    for n in 0..CLIENTS {
        service.add(&mut json, "connect", &format!("user-{n}"), "first");
    }
    assert_eq!(client.post(&service.events, json.as_bytes()).await.unwrap().status, 202);
    for n in 0..CLIENTS {
        while !client.is_online(&service.sid, &format!("user-{n}")).await {
            sleep(Duration::from_millis(10)).await;
        }
    }
}
