//! The JSON protocol of `/v1/Socket`, which our own clients speak. One WebSocket message is one JSON object.
//!
//! * [`settings`]: settings and limits
//! * [`input`], [`action`]: what a shell tells a session, and what a session tells its shell to do
//! * [`command`], [`answer`]: what clients ask for, and what came of it
//! * [`session`]: the steps
//! * [`parts`]: what is told before an answer
//! * [`events`]: what all who watch a user or a channel are sent
//! * [`kinds`], [`error`], [`close`]: the types of messages, the words of errors, and why a socket is closed
//!
//! `docs/socket.md` describes the protocol. Its examples and tables are tests.

pub mod action;
pub mod answer;
pub mod close;
pub mod command;
mod encode;
pub mod error;
pub mod events;
mod fields;
pub mod input;
pub mod kinds;
mod open;
pub mod parts;
mod read;
pub mod session;
pub mod settings;

pub use action::Action;
pub use answer::{Answer, CommandError};
pub use close::Closing;
pub use command::{ChannelData, Command, RestoredWatch, Watched};
pub use error::Word;
pub use fields::FIELDS;
pub use input::{Connected, Input, RequestNumber};
pub use session::Session;
pub use settings::Settings;

pub use crate::session::{Cause, Opened, Refusal};
