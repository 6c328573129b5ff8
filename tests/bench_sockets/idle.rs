//! What an idle connection costs: the slope between few of them and many.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reachability_tests::measure::{Used, resident_memory};
use tokio::time::sleep;

use crate::peer::{CLOSED, Client, FRAMES, Peer, Who};

/// How many connections there are. A process may open 20,000 files at most where this was written.
const COUNTS: [usize; 2] = [2_000, 18_000];

/// How long the server rests first: two rounds of pings.
const REST: Duration = Duration::from_secs(40);

/// For how long they are idle.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) fn head() {
    println!(
        "\n| idle, {COUNTS:?} connections | memory at each | memory a connection | CPU a second and connection | frames a second and connection | closed |"
    );
    println!("|---|---|---|---|---|---|");
}

pub(crate) async fn measure(peer: &impl Peer) {
    let closed = CLOSED.load(Ordering::Relaxed);
    let mut clients: Vec<Client> = Vec::new();
    let (mut memory, mut cpu, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for count in COUNTS {
        let more = stream::iter(clients.len()..count)
            .map(async |user| peer.connect(Who::Device { user, device: 0, fully: true }, None).await.unwrap());
        clients.extend(more.buffer_unordered(16).collect::<Vec<_>>().await);
        sleep(REST).await;
        let before = (Used::by(peer.pid()), FRAMES.load(Ordering::Relaxed));
        sleep(IDLE).await;
        cpu.push(Used::by(peer.pid()).since(before.0).cpu.as_secs_f64());
        frames.push((FRAMES.load(Ordering::Relaxed) - before.1) as f64);
        memory.push(resident_memory(peer.pid()));
    }
    let more = (COUNTS[1] - COUNTS[0]) as f64;
    let each = memory[1].saturating_sub(memory[0]) as f64 / more;
    let cpu = (cpu[1] - cpu[0]) * 1e6 / more / IDLE.as_secs_f64();
    let frames = (frames[1] - frames[0]) / more / IDLE.as_secs_f64();
    let memory: Vec<String> = memory.iter().map(|memory| format!("{} MiB", memory / 1_024)).collect();
    let closed = CLOSED.load(Ordering::Relaxed) - closed;
    println!("| {} | {} | {each:.1} KiB | {cpu:.2} µs | {frames:.2} | {closed} |", peer.name(), memory.join(", "));
    // They end before the server does, which would count as closed by the next one.
    drop(clients);
    sleep(Duration::from_secs(1)).await;
}
