//! One user whom many watch.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reachability_tests::measure::{Durations, Used};

use crate::hearing::Hearing;
use crate::peer::{Client, Peer, Who};

const WATCHERS: usize = 10_000;

/// How often the user comes and goes.
const TURNS: usize = 20;

pub(crate) fn head() {
    println!(
        "\n| {WATCHERS} watch one user | connect → seen by the first, p50 | by the last, p50 / max | goodbye → seen by the last, p50 / max | CPU a change | unseen |"
    );
    println!("|---|---|---|---|---|---|");
}

pub(crate) async fn measure(peer: &impl Peer) {
    let (heard, mut hearing) = Hearing::new();
    let watchers = stream::iter(0..WATCHERS)
        .map(async |number| peer.connect(Who::Watcher { number, users: 0..1 }, Some(&heard)).await.unwrap());
    let _watchers: Vec<Client> = watchers.buffer_unordered(16).collect().await;
    hearing.settle(Duration::from_secs(3)).await;
    let (mut first, mut last, mut gone) = (Durations::default(), Durations::default(), Durations::default());
    let (mut unseen, before) = (0, Used::by(peer.pid()));
    for _ in 0..TURNS {
        let started = Instant::now();
        let client = peer.device(0, 0).await.unwrap();
        let (nearest, farthest) = all(&mut hearing, started, &mut unseen).await;
        first.0.push(nearest);
        last.0.push(farthest);
        let started = Instant::now();
        client.goodbye();
        gone.0.push(all(&mut hearing, started, &mut unseen).await.1);
    }
    let cpu = Used::by(peer.pid()).since(before).cpu.as_secs_f64() * 1e3 / (2 * TURNS) as f64;
    println!(
        "| {} | {:.1} ms | {:.0} / {:.0} ms | {:.0} / {:.0} ms | {cpu:.0} ms | {unseen} |",
        peer.name(),
        first.quantile(0.5),
        last.quantile(0.5),
        last.quantile(1.0),
        gone.quantile(0.5),
        gone.quantile(1.0)
    );
}

/// After how long the first watcher and the last one heard.
async fn all(hearing: &mut Hearing, since: Instant, unseen: &mut usize) -> (Duration, Duration) {
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    for seen in 0..WATCHERS {
        let Some(change) = hearing.next(Instant::now() + Duration::from_secs(5)).await else {
            *unseen += WATCHERS - seen;
            break;
        };
        first = first.min(change.at - since);
        last = last.max(change.at - since);
    }
    (first, last)
}
