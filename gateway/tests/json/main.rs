//! Tests of `/v1/Socket`, from the outside: a session, what a client sends, and what a shell answers.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod answers;
mod connect;
mod document;
mod errors;
mod happening;
mod life;
mod messages;
mod people;
mod play;
mod properties;
mod restore;
mod shell;
mod support;
