//! The sockets of clients.

#[allow(dead_code, reason = "the listener will use it")]
pub(crate) mod presence;
