//! What live connections cost the one-process server, and how soon a change is seen, beside other servers of presence that
//! are driven with the same shape. It prints tables and asserts nothing about times.
//!
//! Run by `cargo bench --bench sockets`, or only parts of it and some of the servers: `-- latency idle ours`. The parts are
//! `latency`, `idle`, `wide`, `many`, `flips`, and about ours only `losses`, `restart`, `channel` and `restored`. The servers are
//! `mosquitto`, `ejabberd`, and ours by each of its protocols: `ours` is Twilsock, and `json` is `/v1/Socket`, of which `channel`
//! and `restored` are too. The server runs on one processor and this program on another. Servers that are not installed are
//! skipped.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

mod channel;
mod clients;
mod ejabberd;
mod flips;
mod frames;
mod hearing;
mod idle;
mod json;
mod latency;
mod losses;
mod many;
mod mosquitto;
mod ours;
mod peer;
mod process;
mod restart;
mod restored;
mod wide;

use std::process::Command;

use reachability_tests::server::binary;
use tokio::task::coop::unconstrained;

use crate::ejabberd::Ejabberd;
use crate::json::Json;
use crate::mosquitto::Mosquitto;
use crate::ours::Ours;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (servers, parts): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| ["ours", "json", "mosquitto", "ejabberd"].contains(word));
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    // Built before anything is timed.
    println!("{}", binary().display());
    pin();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = Servers(servers);
    // All clients are one task. With the budget that a task has between two turns, some of them would wait behind the others
    // for seconds, with what the server answered in their buffers.
    runtime.block_on(unconstrained(async {
        if wanted("latency") {
            latency::head();
            if servers.wanted("ours") {
                // A lost connection is shown at once, as the others do.
                let ours = Ours::start("ours", &["--grace-seconds", "0"], latency::users()).await;
                latency::measure(&ours).await;
                latency::measure(&ours.fully("ours, with its first five requests")).await;
            }
            if servers.wanted("json") {
                latency::measure(&Json(Ours::start("ours", &["--grace-seconds", "0"], latency::users()).await)).await;
            }
            each!(servers, latency::measure);
        }
        if wanted("idle") {
            idle::head();
            if servers.wanted("ours") {
                idle::measure(&Ours::start("ours", &[], 0).await).await;
            }
            if servers.wanted("json") {
                idle::measure(&Json(Ours::start("ours", &[], 0).await)).await;
            }
            each!(servers, idle::measure);
        }
        if wanted("wide") {
            wide::head();
            if servers.wanted("ours") {
                wide::measure(&Ours::start("ours", &[], wide::users()).await).await;
            }
            if servers.wanted("json") {
                wide::measure(&Json(Ours::start("ours", &[], wide::users()).await)).await;
            }
            each!(servers, wide::measure);
        }
        if wanted("many") {
            many::head();
            if servers.wanted("ours") {
                many::measure(&Ours::start("ours", &[], many::users()).await).await;
            }
            if servers.wanted("json") {
                many::measure(&Json(Ours::start("ours", &[], many::users()).await)).await;
            }
            each!(servers, many::measure);
        }
        if wanted("flips") {
            flips::head();
            if servers.wanted("ours") {
                flips::measure(&Ours::start("ours", &[], flips::users()).await).await;
            }
            if servers.wanted("json") {
                flips::measure(&Json(Ours::start("ours", &[], flips::users()).await)).await;
            }
            each!(servers, flips::measure);
        }
        if wanted("losses") {
            losses::measure().await;
        }
        if wanted("restart") {
            restart::measure().await;
        }
        if wanted("channel") {
            channel::measure().await;
        }
        if wanted("restored") {
            restored::measure().await;
        }
    }));
}

/// The servers that were named; all if none was.
struct Servers<'a>(Vec<&'a str>);

impl Servers<'_> {
    fn wanted(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.contains(&name)
    }
}

/// Measures the other servers, each freshly started.
macro_rules! each {
    ($servers:expr, $measure:path) => {
        if $servers.wanted("mosquitto") {
            match Mosquitto::start().await {
                Some(peer) => $measure(&peer).await,
                None => println!("| mosquitto | skipped: it is not installed |"),
            }
        }
        if $servers.wanted("ejabberd") {
            match Ejabberd::start().await {
                Some(peer) => $measure(&peer).await,
                None => println!("| ejabberd | skipped: it is not installed |"),
            }
        }
    };
}
use each;

/// Moves this program to a processor that the servers do not use.
fn pin() {
    let pid = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-a", "-p", "-c", "1", &pid]).output();
    if !moved.is_ok_and(|moved| moved.status.success()) {
        println!("The servers and this program share their processors.");
    }
}
