//! Adapters for the ports of reachability: one module per outside system.

pub mod clock;
pub mod memory;
pub mod metrics;
pub mod mint;
#[cfg(feature = "sqlite")]
pub mod sqlite;
