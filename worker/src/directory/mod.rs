//! Cached access to the directory.

mod cached_services;

pub(crate) use self::cached_services::CachedServices;
