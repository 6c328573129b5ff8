//! Adapters for the ports of reachability: one module per outside system.

#[cfg(feature = "aws")]
pub mod aws;
pub mod clock;
#[cfg(feature = "credentials")]
pub mod credentials;
#[cfg(feature = "aws")]
pub mod dynamodb;
#[cfg(feature = "aws")]
pub mod environment;
pub mod ids;
#[cfg(feature = "push")]
pub mod log_filter;
pub mod memory;
pub mod metrics;
#[cfg(any(feature = "aws", feature = "sqlite"))]
mod older_ending;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "push")]
pub mod push;
#[cfg(feature = "aws")]
pub mod secrets_manager;
#[cfg(feature = "aws")]
pub mod services;
#[cfg(feature = "aws")]
pub mod sns;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "aws")]
pub mod sqs;
#[cfg(feature = "webhook")]
pub mod webhook;
