//! Sending webhooks to owners' servers.

mod addresses;
mod names;
mod sender;
mod signature;

pub use self::addresses::AddressRules;
pub use self::sender::HttpWebhooks;
