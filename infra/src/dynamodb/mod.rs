//! DynamoDB: the store of a deployment on AWS, in a single table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | the account's settings | `account` | `settings` |
//! | an API key | `keys` | `SK…` |
//! | a service | `services` | `IS…` |
//! | a user's profile | `user#IS…#` and a shard, 0 to 7 | `US…` |
//! | a user's state | `state#IS…#` and the identity | `state` |
//! | a binding | `binding#IS…#` and a shard, 0 to 7 | the device: the lowest `BS…` that its binding can have |
//! | a credential | `credentials` | `CR…` |
//! | a notification | `notification#NT…` | `notification` |
//! | its delivery to a device | `notification#NT…` | `BS…` |
//! | how often a webhook was tried | `webhook#` and its message id | `attempts` |
//!
//! Events write only the user's state, one item per user, so no item is shared by a whole service. A user's profile is
//! created with the first connect, in the same transaction. Profiles are divided into eight shards, ordered by sid: a
//! list reads all eight and needs neither a scan nor an index, so it is never stale. Bindings are divided the same way.
//! A changed registration is one transaction with the states of its previous and new user.
//!
//! The module `table` makes requests for any item, `lost_answers` tells which of them may have been carried out twice, `key`
//! defines primary keys, `state` and `join` the attributes of a
//! state, and `items` the writes that several ports share. Every other module implements ports and depends on none of
//! its siblings.

mod bindings;
mod connection;
mod credentials;
mod deleted_services;
mod directory;
mod garbage;
mod items;
mod join;
mod key;
mod lost_answers;
mod notifications;
mod older_connection;
mod snapshots;
mod state;
mod states;
mod store;
pub mod stream;
mod table;
mod users;
mod webhooks;

pub use store::DynamoStore;
