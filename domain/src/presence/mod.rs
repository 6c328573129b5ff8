//! Who is online: events, connections, and the reachability computed from them.

pub mod acceptance;
pub mod at_commit;
pub mod change;
pub mod change_reason;
pub mod connection;
pub mod connections;
pub mod device_writes;
pub mod event;
pub mod feed;
pub mod map;
pub mod message;
pub mod news;
pub mod outcome;
pub mod ports;
pub mod reachability;
pub mod reasons;
pub mod sequence;
pub mod sink;
pub mod snapshot;
pub mod sockets;
pub mod state;
pub mod view;
pub mod writes;
