//! The use cases, as functions over ports. They do not depend on HTTP.

pub(crate) mod account;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod failure;
pub(crate) mod notifications;
pub(crate) mod services;
pub(crate) mod update;
pub(crate) mod users;
