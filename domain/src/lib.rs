//! The rules of reachability, pure: no I/O, no clock, no vendor.
//!
//! For every user of a chat service: is the user *online* (a live connection), and *notifiable* (a push registration that
//! can still be reached)? The modules, in reading order:
//!
//! * [`sid`], [`identity`], [`time`]: the words everything else is said in
//! * [`chain`]: how errors are written down

pub mod chain;
pub mod identity;
pub mod sid;
pub mod time;
