//! Why a store did not do what it was asked for.

use std::error::Error;

/// Why the store did not do it. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is one already.
    #[error("it exists already")]
    Exists,
    /// The service, or the record that was to be replaced, is not there.
    #[error("it does not exist")]
    Missing,
    /// Somebody else replaced the record since it was read. Reading it again and deciding again is the way on.
    #[error("it was changed by somebody else in between")]
    Conflict,
    /// The store could not be reached or did not work. Trying again later may help; it may have been done nevertheless.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// What is stored cannot be read.
    #[error("a stored record cannot be read")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
}
