//! Cached access to the directory.

mod cache;
mod cached_services;
mod services_of_batch;

pub(crate) use self::cache::Cache;
pub(crate) use self::cached_services::CachedServices;
pub(crate) use self::services_of_batch::ServicesOfBatch;
