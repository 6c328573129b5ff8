//! How a connection began.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How a connection began, as its connect says. Of several, the earliest one counts, and of equally early ones the first by
/// device. SQLite keeps it in a binary form, so the order of the fields is fixed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Opening {
    /// When the connect occurred.
    pub at: Timestamp,
    /// What the client or its gateway calls the device; `None` if nothing.
    pub device: Option<Arc<str>>,
}

impl Opening {
    /// The most that is kept of what a device is called, in bytes of UTF-8.
    pub const MAX_DEVICE_BYTES: usize = 64;

    /// A connect that occurred at this time, on a device that is called so. What is too long is cut off.
    pub fn new(at: Timestamp, device: Option<&str>) -> Self {
        let device = device.map(|device| &device[..device.floor_char_boundary(Self::MAX_DEVICE_BYTES)]);
        Self { at, device: device.filter(|device| !device.is_empty()).map(Arc::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_limit_in_bytes() {
        let device = |text: &str| Opening::new(Timestamp::MIN, Some(text)).device.map(|it| it.to_string());
        assert_eq!(device("phone").as_deref(), Some("phone"));
        assert_eq!(device(&"é".repeat(32)), Some("é".repeat(32)));
        assert_eq!(device(&format!("a{}", "é".repeat(32))), Some(format!("a{}", "é".repeat(31))));
        assert_eq!(device(""), None);
    }
}
