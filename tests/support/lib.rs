//! What the tests have in common.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

pub mod aws;
pub mod client;
pub mod clients;
pub mod contract;
pub mod generate;
pub mod keys;
pub mod model;
pub mod parts;
pub mod properties;
pub mod providers;
pub mod push_contract;
pub mod push_properties;
pub mod push_stage;
pub mod readme;
pub mod recording;
pub mod replays;
pub mod server;
pub mod stack;
pub mod stage;
