//! Services as items, for those who see them in a stream.

use reachability_domain::directory::service::Service;
use reachability_domain::store::StoreError;
use serde_dynamo::Item;

use super::key::Key;

/// Whether this is the partition key of services.
pub fn lie_at(pk: &str) -> bool {
    pk == Key::services()
}

/// Reads a service.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is none.
pub fn read(item: Item) -> Result<Service, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError::Corrupt(error.into()))
}
