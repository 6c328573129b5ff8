//! The vendor's own live clients, as they are published, against the real server. Only their address is given.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod changes;
mod examples;
mod face;
mod losses;
mod pushes;
mod reads;
mod restarts;
mod tokens;

use futures_util::future::join_all;
use reachability_tests::live::Library;

/// Plays a scenario with each library, all at once.
async fn with_each_library(scenario: impl AsyncFn(Library)) {
    join_all(Library::ALL.map(|library| scenario(library))).await;
}
