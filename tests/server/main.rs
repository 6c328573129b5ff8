//! The one-process server, as its owner starts it: the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod acceptance;
mod audit;
mod bad_input;
mod changes;
mod channels;
mod clock;
mod command;
mod data_file;
mod default_service;
mod existence;
mod feed;
mod flood;
mod invisible;
mod kill;
mod live;
mod mass;
mod metrics;
mod offline;
mod presence;
mod purges;
mod push_server;
mod queue;
mod readiness;
mod readme;
mod recorded_log;
mod socket;
mod sockets;
mod strangers;
mod stream;
mod tokens;
mod twilio_clients;
mod upgrade;
mod webhook_kills;
mod webhooks;
mod wrong_secrets;
