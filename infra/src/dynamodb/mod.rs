//! DynamoDB: the store of a deployment on AWS, in one table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | the account's settings | `account` | `settings` |
//! | an API key | `keys` | `SK…` |
//! | a service | `services` | `IS…` |
//! | a user's profile | `user#IS…#` and a shard, 0 to 7 | `US…` |
//! | a user's state | `state#IS…#` and the identity | `state` |
//! | a binding | `binding#IS…#` and a shard, 0 to 7 | the device: the least `BS…` that its binding can have |
//! | a credential | `credentials` | `CR…` |
//! | a notification | `notification#NT…` | `notification` |
//! | what became of it on a device | `notification#NT…` | `BS…` |
//!
//! What events write is the state, an item of each user's own, so that nothing is written by a whole service. A user's
//! profile is made with its first connect, in the same transaction, and lies with an eighth of the service's other users,
//! ordered by sid: a list reads the eight parts and needs neither a scan nor an index, and so is never behind. So do the
//! bindings. A registration that changes is one transaction with the states of those whose device it was and is.
//!
//! Of the modules, `table` makes requests for items of any kind, `key` says where they lie, `state` and `join` what a
//! state is made of, and `items` has what several ports write. Each of the others implements a port or a few, and knows
//! none of its neighbours.

mod bindings;
mod credentials;
mod deleted_services;
mod directory;
mod garbage;
mod items;
mod join;
mod key;
mod notifications;
pub mod services;
mod state;
mod states;
mod store;
mod table;
mod users;

pub use key::user_of_state;
pub use state::{StateError, StoredState};
pub use store::DynamoStore;
