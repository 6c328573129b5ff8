//! What pushes cost: through the clients of APNs and FCM alone, with few devices and with many, and on the whole path through
//! the server, from the request that makes a notification to the stored result of each delivery.
//!
//! Run by `cargo bench --bench push`, or only parts of it: `-- clients path`. It prints tables and asserts nothing about times.
//! The stand-ins run in a process of their own, so that the processor time is that of the clients, or of the server, alone. On
//! one machine all share its processors. The server is that of this workspace, or the one in `REACHABILITY_SERVER`, so that two
//! versions can be compared.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

mod clients;
mod path;
mod stand_ins;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if parts.iter().any(|part| part == stand_ins::ARGUMENT) {
        runtime.block_on(stand_ins::run());
        return;
    }
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    runtime.block_on(async {
        if wanted("clients") {
            clients::bench().await;
        }
        if wanted("path") {
            path::bench().await;
        }
    });
}
