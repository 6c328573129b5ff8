//! Webhooks: requests that tell an owner's server of changes. [`FeedEntry::webhooks`] says which changes lead to which.
//!
//! [`FeedEntry::webhooks`]: crate::presence::feed::FeedEntry::webhooks

pub mod message;
pub mod parameters;
pub mod ports;
pub mod schedule;
pub mod target;
