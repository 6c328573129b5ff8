//! The client against a server that says what a test tells it to say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "they are tests")]

mod channels;
mod ends;
mod queries;
mod reconnect;
mod restore;
mod server;
mod tokens;
mod watches;
