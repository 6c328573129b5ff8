//! What the worker reads of the directory.

mod cached_services;

pub(crate) use self::cached_services::CachedServices;
