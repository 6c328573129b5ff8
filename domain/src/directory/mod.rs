//! The records that the owner manages: the account and its API keys, services, and users.

pub mod access_token;
pub mod account;
pub mod api_key;
pub mod auth_tokens;
pub mod configuration;
pub mod default_service;
pub mod failed_authentications;
pub mod ports;
pub mod role;
pub mod service;
pub mod user;
