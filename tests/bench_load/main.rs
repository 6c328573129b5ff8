//! What load costs the one-process server, and what it does to others: in tables. It asserts nothing about times.
//!
//! Run by `cargo bench --bench load`, or only parts of it: `-- cost connections flood wide clients`. It measures the server of
//! this workspace, or the one in `REACHABILITY_SERVER`, so that two versions can be put into one table.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

mod clients;
mod cost;
mod events;
mod flood;
mod http;
mod measure;

use reachability_tests::server::binary;

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    // Built before anything is timed.
    println!("{}", binary().display());
    // One thread, so that the server has the other processor.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("cost") {
            cost::requests(&[1_000, 1_000_000]).await;
        }
        if wanted("connections") {
            cost::connections().await;
        }
        if wanted("flood") {
            flood::many_users().await;
        }
        if wanted("wide") {
            flood::many_connections().await;
        }
        if wanted("clients") {
            clients::small_things().await;
        }
    });
}
