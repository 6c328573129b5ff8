//! Where a request comes from.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a request comes from: an extension that the shell puts into it. Without it, failed authentications are not counted.
#[derive(Debug, Clone)]
pub struct Source {
    /// The client's address.
    pub(crate) address: IpAddr,
    is_known: Arc<AtomicBool>,
}

impl Source {
    /// A client at this address. `is_known` is set when the request is authenticated.
    pub fn new(address: IpAddr, is_known: Arc<AtomicBool>) -> Self {
        Self { address: address.to_canonical(), is_known }
    }

    /// The request is authenticated.
    pub(crate) fn know(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }
}
