//! Devices and their tokens.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::digest::hash;
use crate::identity::Identity;
use crate::push::channel::Channel;
use crate::sid::{BindingSid, ServiceSid, Sid};

/// The bits of a binding's sid that identify the user. The other 88 bits identify the device, so finding a token that
/// collides with another user's token is infeasible.
const OWNER: u128 = (1 << 40) - 1;

/// Identifies a device in its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(u128);

impl Device {
    /// The device with this token.
    pub fn new(service: ServiceSid, channel: Channel, address: &Address) -> Self {
        let service = service.bits().to_be_bytes();
        Self(hash(&[&service, channel.canonical().as_str().as_bytes(), address.as_str().as_bytes()]) & !OWNER)
    }

    /// The device of a binding.
    pub fn of_binding(sid: BindingSid) -> Self {
        Self(sid.bits() & !OWNER)
    }

    /// The sid of this device's binding to a user: the device's bits, then bits of the user.
    pub fn binding_sid(self, identity: &Identity) -> BindingSid {
        BindingSid::from_bits(self.0 | (hash(&[identity.as_str().as_bytes()]) & OWNER))
    }

    /// The range of sids of this device's bindings. Ranges of different devices do not overlap.
    pub fn sids(self) -> RangeInclusive<BindingSid> {
        BindingSid::from_bits(self.0)..=BindingSid::from_bits(self.0 | OWNER)
    }
}

/// Why a text is not a valid device token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// The text is empty.
    #[error("a device token is not empty")]
    Empty,
    /// Longer than [`Address::MAX_BYTES`].
    #[error("a device token has up to {} bytes", Address::MAX_BYTES)]
    TooLong,
    /// An APNs token that is not hexadecimal.
    #[error("a device token of APNs is hexadecimal")]
    Hexadecimal,
    /// An FCM token with other characters than printable ASCII.
    #[error("a device token of FCM is printable ASCII without spaces")]
    Printable,
}

/// A device's token. Anyone who has it may be able to push to the device, so nobody is shown it: only a registration's own
/// answer repeats what the request gave.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(Box<str>);

impl Address {
    /// Maximum length of a token, in bytes. Providers give no limit; 4 KB is the largest that their documentation
    /// mentions.
    pub const MAX_BYTES: usize = 4_096;

    /// Parses a token. APNs tokens are case-insensitive.
    ///
    /// # Errors
    /// If the text is not a valid token.
    pub fn new(channel: Channel, text: &str) -> Result<Self, InvalidAddress> {
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidAddress::TooLong);
        }
        match channel.canonical() {
            Channel::Apn if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Err(InvalidAddress::Hexadecimal),
            Channel::Apn => Ok(Self(text.to_ascii_lowercase().into())),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(InvalidAddress::Printable),
            _ => Ok(Self(text.into())),
        }
    }

    /// The token. Never use it in logs, errors or responses.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(service: u128, channel: Channel, token: &str) -> Device {
        Device::new(Sid::from_bits(service), channel, &Address::new(channel, token).unwrap())
    }

    #[test]
    fn a_sid_encodes_the_device_and_the_user() {
        let (alice, bob): (Identity, Identity) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let phone = device(1, Channel::Apn, "00FF");
        assert_eq!(phone, device(1, Channel::Apn, "00ff"), "the same token");
        assert_eq!(phone.binding_sid(&alice), phone.binding_sid(&alice));
        assert_ne!(phone.binding_sid(&alice), phone.binding_sid(&bob));
        for identity in [&alice, &bob] {
            let sid = phone.binding_sid(identity);
            assert_eq!(Device::of_binding(sid), phone);
            assert!(phone.sids().contains(&sid));
        }
        assert_ne!(phone, device(2, Channel::Apn, "00ff"), "another service");
        assert_ne!(phone, device(1, Channel::Fcm, "00ff"), "another channel");
        assert_eq!(device(1, Channel::Gcm, "a:B"), device(1, Channel::Fcm, "a:B"), "another name of the channel");
        assert_ne!(device(1, Channel::Fcm, "a:b"), device(1, Channel::Fcm, "a:B"));
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let new = |channel, text: &str| Address::new(channel, text).map(drop);
        assert_eq!(new(Channel::Apn, ""), Err(InvalidAddress::Empty));
        assert_eq!(new(Channel::Apn, "00fg"), Err(InvalidAddress::Hexadecimal));
        assert_eq!(new(Channel::Apn, "../x"), Err(InvalidAddress::Hexadecimal));
        assert_eq!(new(Channel::Fcm, "a b"), Err(InvalidAddress::Printable));
        assert_eq!(new(Channel::Gcm, "ü"), Err(InvalidAddress::Printable));
        assert_eq!(new(Channel::Fcm, &"x".repeat(4_097)), Err(InvalidAddress::TooLong));
        assert_eq!(new(Channel::Fcm, &"x".repeat(4_096)), Ok(()));
        assert_eq!(format!("{:?}", Address::new(Channel::Fcm, "secret").unwrap()), "***");
    }
}
