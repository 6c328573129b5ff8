//! The rules of reachability, pure: no I/O, no clock, no vendor.
//!
//! For every user of a chat service: is the user *online* (has a live connection), and *notifiable* (has a push
//! registration that still works)? The modules, in reading order:
//!
//! * [`sid`], [`identity`], [`time`], [`secret`], [`network`]: basic types
//! * [`directory`]: the account, its API keys, services with their configuration, users
//! * [`presence`]: events, a user's connections as a join-semilattice, the truth table, and published changes
//! * [`push`]: device registrations, credentials of push providers, and the providers' responses
//! * [`channel`]: groups of users who are watched together
//! * [`query`]: filters, sorts and cursors
//! * [`webhook`]: the requests that tell an owner's server of changes
//! * [`breaker`]: holds requests to a server back that fails
//! * [`allowance`]: how much more somebody may do
//! * [`queue`], [`store`], [`paging`], [`ids`], [`metrics`]: shared ports and their types; the ports of one subject are
//!   in that subject's `ports`
//! * [`readiness`]: whether a process can do its work
//! * [`error_chain`], [`panics`]: formatting of errors and panics

pub mod allowance;
pub mod breaker;
pub mod channel;
mod digest;
pub mod directory;
pub mod error_chain;
pub mod fair_queue;
pub mod identity;
pub mod ids;
pub mod json_depth;
pub mod metrics;
pub mod network;
pub mod paging;
pub mod panics;
pub mod presence;
pub mod push;
pub mod query;
pub mod queue;
pub mod readiness;
pub mod secret;
pub mod sid;
pub mod store;
pub mod time;
pub mod webhook;
