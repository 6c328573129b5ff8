//! Who is online: events, the connections that they are about, and what follows from both.

pub mod change;
pub mod connections;
pub mod event;
pub mod message;
pub mod notice;
pub mod outcome;
pub mod ports;
pub mod reachability;
pub mod state;
pub mod writes;
