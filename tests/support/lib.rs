//! What the tests have in common.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

pub mod client;
pub mod contract;
pub mod generate;
pub mod model;
pub mod properties;
pub mod server;
pub mod stage;
