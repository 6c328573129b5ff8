//! The Lambda runtime of the functions: [`http`] for those that answer requests, [`consumer`] for those that consume a
//! queue, [`webhooks`] for the one that consumes a FIFO queue, [`stream`] for the one that publishes changes. Each binary is a
//! few lines. All of them are in one package, so that they share compiled dependencies.

pub mod consumer;
pub mod dead_letters;
pub mod http;
pub mod logs;
pub mod sqs;
pub mod stream;
pub mod token;
pub mod webhooks;
