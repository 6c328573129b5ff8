//! Who is notifiable: device registrations, credentials, and the providers' answers.

pub mod binding;
pub mod channel;
pub mod command;
pub mod credential;
pub mod device;
pub mod environment;
pub mod message;
pub mod notification;
pub mod outage;
pub mod outcome;
pub mod payload;
pub mod ports;
pub mod provider;
pub mod reason;
pub mod recipient;
pub mod registration;
pub mod retry;
pub mod tag;
pub mod throttle;
pub mod transition;
pub mod vault;
pub mod verdict;
