//! Who is online: events, connections, and the reachability computed from them.

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
