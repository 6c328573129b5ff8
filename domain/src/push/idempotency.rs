//! Requests that are repeated with the same key make one notification.
//!
//! The notification's sid follows from the service and the key, so that of two requests at once the store creates it for one,
//! and the other finds it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::hash;
use crate::sid::{NotificationSid, ServiceSid, Sid};

/// The key that the owner gave a request, and gives its repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {} visible ASCII characters", IdempotencyKey::MAX_CHARS)]
pub struct InvalidKey;

impl IdempotencyKey {
    /// How long a key may be.
    pub const MAX_CHARS: usize = 255;

    /// The sid of the notification that requests with this key make.
    pub fn sid(&self, service: ServiceSid) -> NotificationSid {
        Sid::from_bits(hash(&[b"notification", &service.bits().to_be_bytes(), self.0.as_bytes()]))
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let is_key = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_key { Ok(Self(text.to_owned())) } else { Err(InvalidKey) }
    }
}

/// What is stored of the request that made a notification with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedRequest {
    /// Tells the request from others: a hash of its parameters.
    pub digest: String,
    /// Whether the notification was queued for the worker. If not, the next request queues it.
    pub is_queued: bool,
}

impl KeyedRequest {
    /// A request with these parameters. What it made is not queued yet.
    pub fn new<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self { digest: digest(parameters), is_queued: false }
    }
}

/// The same for requests with the same parameters in the same order, and only for them.
fn digest<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let parts: Vec<&[u8]> = parameters.flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    format!("{:032x}", hash(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        let longest = "k".repeat(IdempotencyKey::MAX_CHARS);
        for text in ["k", "6f1c-\"quoted\"-~!", longest.as_str()] {
            assert!(text.parse::<IdempotencyKey>().is_ok(), "{text}");
        }
        for text in ["", " ", "a b", "a\n", "ü", &format!("{longest}k")] {
            assert!(text.parse::<IdempotencyKey>().is_err(), "{text}");
        }
    }

    /// Stored sids follow from it, so it must never change.
    #[test]
    fn the_sid_follows_from_service_and_key() {
        let sid =
            |service: u128, key: &str| key.parse::<IdempotencyKey>().unwrap().sid(Sid::from_bits(service)).to_string();
        assert_eq!(sid(1, "a"), sid(1, "a"));
        assert_ne!(sid(1, "a"), sid(1, "b"));
        assert_ne!(sid(1, "a"), sid(2, "a"));
        assert_eq!(sid(1, "a"), "NT1d1663ae72745dc7634be8ef60f2b327");
    }

    #[test]
    fn the_digest_tells_requests_apart() {
        let of = |parameters: &[(&str, &str)]| digest(parameters.iter().copied());
        let one = of(&[("Body", "x"), ("Identity", "a")]);
        assert_eq!(one, of(&[("Body", "x"), ("Identity", "a")]));
        for other in [
            &[("Identity", "a"), ("Body", "x")] as &[(&str, &str)],
            &[("Body", "x"), ("Identity", "a"), ("Identity", "a")],
            &[("Body", "xI"), ("dentity", "a")],
            &[("Body", "x")],
        ] {
            assert_ne!(one, of(other), "{other:?}");
        }
    }
}
