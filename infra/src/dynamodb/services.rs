//! Services as items in the table's stream.

use reachability_domain::directory::service::Service;
use reachability_domain::store::StoreError;
use serde_dynamo::Item;

use super::key::Key;

/// Whether this is the partition key of services.
pub fn lie_at(pk: &str) -> bool {
    pk == Key::services()
}

/// Parses a service.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is not a service.
pub fn read(item: Item) -> Result<Service, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError::Corrupt(error.into()))
}
