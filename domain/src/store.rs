//! Errors of the stores.

use std::error::Error;

/// Why a store operation failed. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A record with this key exists.
    #[error("the record already exists")]
    Exists,
    /// The service, or the record to replace, does not exist.
    #[error("the record does not exist")]
    Missing,
    /// Another writer replaced the record since it was read. The caller should read it again and retry.
    #[error("another writer changed the record in between")]
    Conflict,
    /// The store is unreachable or failed. A retry may help; the operation may have succeeded.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// This store cannot do it, and no retry will help.
    #[error("this store does not support it")]
    NotSupported,
    /// A stored record cannot be parsed.
    #[error("a stored record cannot be read")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
}
