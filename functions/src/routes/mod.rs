//! The routes. They decode requests into commands and render the results; [`crate::use_cases`] carries the commands
//! out.

pub(crate) mod account;
mod binding_resource;
pub(crate) mod bindings;
pub(crate) mod changes;
pub(crate) mod channels;
pub(crate) mod chat;
pub(crate) mod configuration;
pub(crate) mod credentials;
pub(crate) mod empty_lists;
pub(crate) mod events;
mod identities;
pub(crate) mod keys;
mod notification_content;
pub(crate) mod notifications;
pub(crate) mod presence;
mod queries;
pub(crate) mod readiness;
pub(crate) mod roles;
mod scope;
pub(crate) mod services;
mod settings;
mod tags;
pub(crate) mod users;
