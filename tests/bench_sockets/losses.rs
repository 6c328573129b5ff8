//! Connections that are lost without a word, at several bounds: when each is shown offline, whether any that lives is, and
//! what the bound costs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reachability_tests::measure::{Durations, Used};
use tokio::time::sleep;

use crate::hearing::Hearing;
use crate::ours::Ours;
use crate::peer::{CLOSED, Client, FRAMES, Peer, Who};

const LOST: usize = 5_000;
const LIVING: usize = 1_000;

/// How many users a watcher watches.
const WATCHED: usize = 750;

/// The settings of a bound: seconds until a ping, for its answer, and of grace.
const BOUNDS: [[u64; 3]; 3] = [[4, 2, 4], [14, 6, 10], [70, 10, 40]];

/// For how long they are idle, to see what that costs.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) async fn measure() {
    println!(
        "\n| bound | ping + answer + grace | of {LOST} frozen, shown offline | after: p50 / p99 / max | of {LIVING} that live, shown offline | closed | frames a second and connection | CPU a second and connection |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for bound in BOUNDS {
        at_bound(bound).await;
    }
}

async fn at_bound([ping, answer, grace]: [u64; 3]) {
    let (ping_setting, grace_setting) = (ping.to_string(), grace.to_string());
    let arguments = ["--ping-seconds", &ping_setting, "--grace-seconds", &grace_setting];
    let ours = Ours::start("ours", &arguments, LOST + LIVING).await;
    let devices = stream::iter(0..LOST + LIVING).map(async |user| ours.device(user, 0).await.unwrap());
    let mut frozen: Vec<Client> = devices.buffered(16).collect().await;
    let living = frozen.split_off(LOST);
    let (heard, mut hearing) = Hearing::new();
    let mut watchers = Vec::new();
    for number in 0..(LOST + LIVING) / WATCHED {
        let users = number * WATCHED..(number + 1) * WATCHED;
        watchers.push(ours.connect(Who::Watcher { number, users }, Some(&heard)).await.unwrap());
    }
    sleep(Duration::from_secs(ping + answer)).await;
    let (before, frames, closed) =
        (Used::by(ours.pid()), FRAMES.load(Ordering::Relaxed), CLOSED.load(Ordering::Relaxed));
    sleep(IDLE).await;
    let each = |count: f64| count / IDLE.as_secs_f64() / (LOST + LIVING) as f64;
    let cpu = each(Used::by(ours.pid()).since(before).cpu.as_secs_f64() * 1e6);
    let frames = each((FRAMES.load(Ordering::Relaxed) - frames) as f64);
    hearing.settle(Duration::from_millis(100)).await;
    let early = hearing.offline;

    // The moments are spread over the time in which the server asks and waits.
    let (started, spread) = (Instant::now(), Duration::from_secs(ping + answer));
    let mut moments = Vec::new();
    let freeze = async {
        for (client, number) in frozen.iter().zip(0..) {
            let due = started + spread * number / LOST as u32;
            tokio::time::sleep_until(due.into()).await;
            moments.push(Instant::now());
            client.freeze();
        }
    };
    let mut offline = BTreeMap::new();
    let listen = async {
        let end = started + spread + Duration::from_secs(ping + answer + grace + 5);
        while let Some(change) = hearing.next(end).await {
            if !change.online {
                offline.entry(change.user).or_insert(change.at);
            }
        }
    };
    tokio::join!(freeze, listen);
    let took = offline.iter().filter_map(|(user, at)| Some(*at - *moments.get(*user)?)).collect();
    let took = Durations(took);
    let false_offlines = early + offline.range(LOST..).count();
    let closed = CLOSED.load(Ordering::Relaxed) - closed;
    println!(
        "| {} s | {ping} + {answer} + {grace} s | {} | {took} | {false_offlines} | {closed} | {frames:.2} | {cpu:.2} µs |",
        ping + answer + grace,
        took.0.len()
    );
    drop((frozen, living, watchers));
}
