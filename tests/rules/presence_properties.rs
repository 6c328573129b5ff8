//! Random logs against the model, ten thousand cases each, on the store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;

use reachability_infra::memory::MemoryStore;
use reachability_tests::properties;
use reachability_tests::store::Store;

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

#[test]
fn order_and_repetition_do_not_matter() {
    properties::order_and_repetition_do_not_matter(&store(), 10_000);
}

#[test]
fn switching_and_passing_time_match_the_model() {
    properties::switching_and_passing_time_match_the_model(&store(), 10_000);
}

#[test]
fn acceptance_decides_and_not_handling() {
    properties::acceptance_decides_and_not_handling(&store(), 10_000);
}
