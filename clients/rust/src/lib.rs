//! A client of reachability's socket, `/v1/Socket`: which of a chat's users are online, since when they are not, and what they say
//! they are doing.
//!
//! [`Client::connect`] opens a connection for one user. [`Client::query_users`], [`Client::query_channels`] and
//! [`ChannelRef::watch`] find users; with `presence: true` the answer has a [`Watch`], and until that is stopped or dropped every
//! change of these users is an [`Event`]. A client that loses its connection comes back by itself, restores all its watches with
//! one message, and tells as events what changed meanwhile.
//!
//! What a client tells of one user is in order: never an older revision after a newer one, and none twice.
//!
//! ```no_run
//! use reachability_client::{Client, ConnectUser, Event, Options, QueryOptions};
//! use serde_json::json;
//!
//! # async fn run(token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options {
//!     user: ConnectUser { status: Some("Eating a veggie burger...".to_owned()), ..ConnectUser::default() },
//!     ..Options::new("ws://127.0.0.1:8080/v1/Socket", token)
//! })
//! .await?;
//! let mut events = client.events();
//!
//! let options = QueryOptions { presence: true, ..QueryOptions::default() };
//! let found = client.query_users(json!({"id": {"$in": ["john", "jack"]}}), json!({"id": 1}), options).await?;
//! for user in &found.users {
//!     println!("{} is online: {:?}", user.id, user.online);
//! }
//! while let Some(event) = events.next().await {
//!     if let Event::PresenceChanged { user, .. } = event {
//!         println!("{} is online: {:?}", user.id, user.online);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod answers;
mod book;
mod channel;
mod client;
mod disconnect;
mod driver;
mod error;
mod event;
mod hear;
mod incoming;
mod open;
mod options;
mod pending;
mod request;
mod session;
mod shared;
mod socket;
#[cfg(feature = "rustls")]
mod tls;
mod user;
mod watch;
mod watches;

pub use answers::{ChannelPage, UserPage, WatchedChannel};
pub use channel::{Channel, ChannelRef};
pub use client::Client;
pub use disconnect::{CloseCode, Disconnect};
pub use error::{Error, ErrorCode, Refusal};
pub use event::{Connection, Event, Events};
pub use options::{Backoff, ConnectUser, Options, QueryOptions, TokenProvider, UserChange};
pub use shared::Frames;
pub use user::{KnownUser, User};
pub use watch::Watch;
