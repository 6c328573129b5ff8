//! Push channels.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A push channel. GCM is the old name of FCM: the same channel, kept for old clients and shown as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Apple Push Notification service.
    Apn,
    /// Firebase Cloud Messaging.
    Fcm,
    /// Firebase Cloud Messaging under its old name.
    Gcm,
}

/// The text is not the name of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a push channel: expected apn, fcm or gcm")]
pub struct InvalidChannel;

impl Channel {
    /// The channel's name in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apn => "apn",
            Self::Fcm => "fcm",
            Self::Gcm => "gcm",
        }
    }

    /// Whether both are the same channel: FCM and GCM are.
    pub fn is(self, other: Self) -> bool {
        self.canonical() == other.canonical()
    }

    /// One name per channel: GCM becomes FCM.
    pub fn canonical(self) -> Self {
        match self {
            Self::Apn => Self::Apn,
            Self::Fcm | Self::Gcm => Self::Fcm,
        }
    }
}

impl FromStr for Channel {
    type Err = InvalidChannel;

    fn from_str(text: &str) -> Result<Self, InvalidChannel> {
        match text {
            "apn" => Ok(Self::Apn),
            "fcm" => Ok(Self::Fcm),
            "gcm" => Ok(Self::Gcm),
            _ => Err(InvalidChannel),
        }
    }
}
