//! Tests of the protocols, from the outside: a session, what a client sends, and what a shell answers.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod document;
mod init;
mod life;
mod losses;
mod properties;
mod requests;
mod shell;
mod subscriptions;
mod support;
