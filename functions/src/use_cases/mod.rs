//! What can be done, as functions over ports: whoever asks for it, over whatever protocol.

pub(crate) mod account;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod failure;
pub(crate) mod notifications;
pub(crate) mod services;
pub(crate) mod update;
pub(crate) mod users;
