//! The rules of reachability, pure: no I/O, no clock, no vendor.
//!
//! For every user of a chat service: is the user *online* (a live connection), and *notifiable* (a push registration that
//! can still be reached)? The modules, in reading order:
//!
//! * [`sid`], [`identity`], [`time`], [`secret`]: what everything else is made of
//! * [`directory`]: the account, its API keys, services with their configuration, users
//! * [`presence`]: events, a user's connections as a join-semilattice, the truth table, and what the outside is told
//! * [`push`]: devices that registered for push, the credentials that providers are talked to with, and what they say
//! * [`queue`], [`store`], [`paging`], [`ids`], [`metrics`]: what the ports have in common; each subject has its own in
//!   `ports`
//! * [`error_chain`]: how errors are written down

mod digest;
pub mod directory;
pub mod error_chain;
pub mod identity;
pub mod ids;
pub mod metrics;
pub mod paging;
pub mod presence;
pub mod push;
pub mod queue;
pub mod secret;
pub mod sid;
pub mod store;
pub mod time;
