//! The support library of the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

pub mod app;
pub mod aws;
pub mod changes;
pub mod client;
pub mod clients;
pub mod command;
pub mod contract;
pub mod events;
pub mod external;
pub mod feed_judge;
pub mod feed_properties;
pub mod feeds;
pub mod generate;
pub mod harness;
pub mod ids;
pub mod live;
pub mod model;
pub mod properties;
pub mod providers;
pub mod push_harness;
pub mod push_properties;
pub mod queues;
pub mod raw;
pub mod readme;
pub mod receiver;
pub mod recording;
pub mod registrations;
pub mod relay;
pub mod replays;
pub mod server;
pub mod stack;
pub mod store;
pub mod stream;
pub mod wait;
mod webhook_judge;
