//! One user whom many watch.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reachability_tests::measure::{Durations, Used, resident_memory};

use crate::hearing::{Hearing, Tally};
use crate::peer::{Change, Client, Peer, Session, Who};

const WATCHERS: usize = 10_000;

/// Some more watch somebody else, who never comes.
const OTHERS: usize = 1_000;

/// How often the user comes and goes.
const TURNS: usize = 20;

pub(crate) fn users() -> usize {
    2
}

pub(crate) fn head() {
    println!(
        "\n| {WATCHERS} watch one user, {OTHERS} another | connect → seen by the first, p50 | by the last, p50 / max | status → seen by the last, p50 / max | goodbye → seen by the last, p50 / max | CPU a change | memory | heard | unseen, heard twice or by others |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
}

pub(crate) async fn measure<P: Peer>(peer: &P) {
    let (heard, mut hearing) = Hearing::new();
    let watchers = stream::iter(0..WATCHERS + OTHERS).map(async |number| {
        let users = if number < WATCHERS { 0..1 } else { 1..2 };
        peer.connect(Who::Watcher { number, users }, Some(&heard)).await.unwrap()
    });
    let _watchers: Vec<Client> = watchers.buffer_unordered(16).collect().await;
    hearing.settle(Duration::from_secs(3)).await;
    let memory = resident_memory(peer.pid()) / 1_024;
    let [mut first, mut came, mut said, mut left] = [const { Durations(Vec::new()) }; 4];
    let mut tally = Tally::of(hearing);
    let before = Used::by(peer.pid());
    for turn in 0..TURNS {
        let started = Instant::now();
        let client = peer.device(0, 0).await.unwrap();
        all(&mut tally, started, &mut first, &mut came).await;
        if P::Session::HAS_STATUS {
            let started = Instant::now();
            client.status(format!("Turn {turn}"));
            all(&mut tally, started, &mut Durations::default(), &mut said).await;
        }
        let started = Instant::now();
        client.goodbye();
        all(&mut tally, started, &mut Durations::default(), &mut left).await;
    }
    let changes = came.0.len() + said.0.len() + left.0.len();
    let cpu = Used::by(peer.pid()).since(before).cpu.as_secs_f64() * 1e3 / changes as f64;
    let heard = tally.end(changes * WATCHERS).await;
    let [came, said, left] = [came, said, left].map(|took| match took.0.as_slice() {
        [] => "-".to_owned(),
        _ => format!("{:.0} / {:.0} ms", took.quantile(0.5), took.quantile(1.0)),
    });
    println!(
        "| {} | {:.1} ms | {came} | {said} | {left} | {cpu:.0} ms | {memory} MiB | {heard} |",
        peer.name(),
        first.quantile(0.5)
    );
}

/// Waits until each watcher has heard of a change, and says after how long the first did and the last.
async fn all(tally: &mut Tally, since: Instant, first: &mut Durations, last: &mut Durations) {
    let (mut nearest, mut farthest) = (Duration::MAX, Duration::ZERO);
    let mut seen = vec![false; WATCHERS];
    let is_wanted = |change: &Change| {
        let is_wanted = match seen.get_mut(change.watcher) {
            Some(seen) if change.user == 0 => !std::mem::replace(seen, true),
            _ => false,
        };
        if is_wanted {
            nearest = nearest.min(change.at - since);
            farthest = farthest.max(change.at - since);
        }
        is_wanted
    };
    tally.hear(WATCHERS, is_wanted).await;
    first.0.push(nearest);
    last.0.push(farthest);
}
