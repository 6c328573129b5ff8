//! The routes. They decode requests into commands and show what comes of them; what is done is in
//! [`crate::use_cases`].

pub(crate) mod account;
pub(crate) mod bindings;
pub(crate) mod chat;
pub(crate) mod configuration;
pub(crate) mod credentials;
pub(crate) mod events;
mod identities;
pub(crate) mod keys;
pub(crate) mod notifications;
mod scope;
pub(crate) mod services;
mod settings;
pub(crate) mod users;
