//! The rules of reachability, pure: no I/O, no clock, no vendor.
//!
//! For every user of a chat service: is the user *online* (a live connection), and *notifiable* (a push registration that
//! can still be reached)? The modules, in reading order:
//!
//! * [`sid`], [`identity`], [`time`]: the words everything else is said in
//! * [`event`]: what happened outside, parsed strictly
//! * [`presence`]: a user's connections as a join-semilattice, so that the order of events does not matter
//! * [`binding`], [`registration`]: devices that registered for push, and what their providers say of them
//! * [`credential`], [`push`], [`breaker`]: how providers are talked to
//! * [`notification`]: what the owner sends to devices
//! * [`reachability`]: the truth table
//! * [`change`]: what the outside is told of it
//! * [`outcome`]: what became of an event
//! * [`service`], [`user`], [`account`]: what the REST API stores
//! * [`store`], [`push_store`], [`queue`], and [`push`] again: the ports that a deployment fills in
//! * [`chain`]: how errors are written down

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
