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
mod watches;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;
use reachability_tests::live::Library;

/// Plays a scenario with each library, all at once. Fails when all have ended, if it failed with any.
async fn with_each_library(scenario: impl AsyncFn(Library)) {
    let plays = Library::ALL.map(|library| AssertUnwindSafe(scenario(library)).catch_unwind());
    let failures = join_all(plays).await.into_iter().zip(Library::ALL).filter(|(result, _)| result.is_err());
    let failed: Vec<Library> = failures.map(|(_, library)| library).collect();
    assert!(failed.is_empty(), "it failed with {failed:?}");
}
