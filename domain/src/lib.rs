//! The rules of reachability, pure: no I/O, no clock, no vendor.
//!
//! For every user of a chat service: is the user *online* (a live connection), and *notifiable* (a push registration that
//! can still be reached)? The modules, in reading order:
//!
//! * [`sid`], [`identity`], [`time`]: the words everything else is said in
//! * [`event`]: what happened outside, parsed strictly
//! * [`presence`]: a user's connections as a join-semilattice, so that the order of events does not matter
//! * [`reachability`]: the truth table
//! * [`change`]: what the outside is told of it
//! * [`outcome`]: what became of an event
//! * [`service`], [`user`], [`account`]: what the REST API stores
//! * [`store`], [`queue`]: the two ports that a deployment fills in
//! * [`chain`]: how errors are written down

pub mod account;
pub mod chain;
pub mod change;
pub mod event;
pub mod identity;
pub mod outcome;
pub mod presence;
pub mod queue;
pub mod reachability;
pub mod service;
pub mod sid;
pub mod store;
pub mod time;
pub mod user;
