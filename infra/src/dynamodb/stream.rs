//! The items whose writes matter to the outside, as the table's stream shows them.

use reachability_domain::identity::UserKey;
use reachability_domain::presence::state::UserState;
use reachability_domain::store::StoreError;
use serde::de::DeserializeOwned;
use serde_dynamo::Item;

use super::key::{Key, user_of_state};
use super::state::StoredState;
use super::table::corrupt;

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A service.
    Service,
    /// A user's profile.
    Profile,
    /// A user's state.
    State(UserKey),
    /// A binding.
    Binding,
    /// The delivery of a notification.
    Delivery,
}

impl ItemKind {
    /// What the item is at this partition key and sort key; `None` if nobody outside is told of it.
    pub fn at(pk: &str, sk: &str) -> Option<Self> {
        if pk == Key::services() {
            Some(Self::Service)
        } else if Key::has_users(pk) {
            Some(Self::Profile)
        } else if Key::has_bindings(pk) {
            Some(Self::Binding)
        } else if Key::is_delivery(pk, sk) {
            Some(Self::Delivery)
        } else {
            user_of_state(pk).map(Self::State)
        }
    }
}

/// Parses a service, a profile, a binding or a delivery.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is none.
pub fn read<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(corrupt)
}

/// Parses a user's state.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is none.
pub fn read_state(item: Item) -> Result<UserState, StoreError> {
    StoredState::read(item.into_inner()).map(|stored| stored.state).map_err(corrupt)
}
