//! Who is online: events, connections, and the reachability computed from them.

pub mod acceptance;
pub mod change;
pub mod change_reason;
pub mod connection;
pub mod connections;
pub mod device_writes;
pub mod event;
pub mod feed;
pub mod message;
pub mod news;
pub mod outcome;
pub mod ports;
pub mod reachability;
pub mod reasons;
pub mod sink;
pub mod snapshot;
pub mod state;
pub mod writes;
