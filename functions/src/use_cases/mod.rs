//! The use cases, as functions over ports. They do not depend on HTTP. Those that are public have other callers
//! too: the sockets of clients.

pub(crate) mod account;
pub mod asker;
pub mod channels;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod failure;
pub(crate) mod notifications;
pub mod presence;
pub mod scan;
pub(crate) mod services;
pub(crate) mod update;
pub(crate) mod users;
