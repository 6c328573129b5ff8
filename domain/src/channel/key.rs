//! What names a channel.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::sid::ServiceSid;

/// The text is not the type or the id of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {} letters of ASCII, digits, and - _ . ! @", MAX_CHARS)]
pub struct InvalidChannel;

/// How many characters a type or an id may have.
const MAX_CHARS: usize = 64;

/// A part of a channel's name.
fn part(text: &str) -> Result<Arc<str>, InvalidChannel> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!@".contains(&byte);
    if (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(is_valid) {
        Ok(text.into())
    } else {
        Err(InvalidChannel)
    }
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidChannel;

            fn from_str(text: &str) -> Result<Self, InvalidChannel> {
                part(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

parts! {
    /// The app's word for a kind of channels, such as `messaging`: 1 to 64 letters, digits, and `-_.!@`; case-sensitive.
    ChannelType;
    /// The app's name for a channel, unique in its service and type; the same characters.
    ChannelId;
}

/// Names a channel in its service, as `type:id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cid {
    /// The type.
    #[serde(rename = "type")]
    pub kind: ChannelType,
    /// The id.
    pub id: ChannelId,
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl FromStr for Cid {
    type Err = InvalidChannel;

    fn from_str(text: &str) -> Result<Self, InvalidChannel> {
        let (kind, id) = text.split_once(':').ok_or(InvalidChannel)?;
        Ok(Self { kind: kind.parse()?, id: id.parse()? })
    }
}

/// Names a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelKey {
    /// Its service.
    #[serde(rename = "service_sid")]
    pub service: ServiceSid,
    /// Its name in the service.
    #[serde(flatten)]
    pub cid: Cid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "x".repeat(MAX_CHARS);
        for text in ["a", "team-1_x.y!z@Z", "!members-1", &longest] {
            assert_eq!(text.parse::<ChannelId>().unwrap().as_str(), text);
            assert_eq!(text.parse::<ChannelType>().unwrap().as_str(), text);
        }
        for text in ["", "a:b", "a b", "a/b", "é", "a\n", "%41", &format!("{longest}x")] {
            assert_eq!(text.parse::<ChannelId>(), Err(InvalidChannel), "{text:?}");
        }
    }

    #[test]
    fn a_cid_is_the_type_and_the_id() {
        let cid: Cid = "messaging:general".parse().unwrap();
        assert_eq!((cid.kind.as_str(), cid.id.as_str()), ("messaging", "general"));
        assert_eq!(cid.to_string(), "messaging:general");
        for text in ["", "messaging", ":general", "messaging:", "a:b:c"] {
            assert_eq!(text.parse::<Cid>(), Err(InvalidChannel), "{text:?}");
        }
    }
}
