//! Tags: the owner's own words for bindings, by which some of them are selected.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::is_longer_than;
use crate::push::binding::Binding;
use crate::push::channel::Channel;

/// Why a text is not a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTag {
    /// The text is empty.
    #[error("a tag is not empty")]
    Empty,
    /// Longer than [`Tag::MAX_CHARS`].
    #[error("a tag has up to {} characters", Tag::MAX_CHARS)]
    TooLong,
    /// It has a control character.
    #[error("a tag has no control characters")]
    Control,
}

/// A tag. Some are implicit: every binding has `all`, and the names of its channel.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(Box<str>);

impl Tag {
    /// Maximum length, in characters. The limit is ours, not the vendor's.
    pub const MAX_CHARS: usize = 128;
    /// How many tags a binding may have.
    pub const MAX_OF_BINDING: usize = 20;
    /// How many tags may select bindings at a time.
    pub const MAX_OF_FILTER: usize = 5;

    /// The tag that every binding has.
    const ALL: &str = "all";

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel of which it is a name; `None` for other tags. All bindings of a channel have its names as tags.
    pub fn channel(&self) -> Option<Channel> {
        self.0.parse().ok()
    }

    /// Whether bindings have the tag, or not, without being given it.
    pub fn is_implicit(&self) -> bool {
        &*self.0 == Self::ALL || self.channel().is_some()
    }

    /// Whether a binding has the tag.
    pub fn is_of(&self, binding: &Binding) -> bool {
        match self.channel() {
            Some(channel) => channel.is(binding.channel),
            None => &*self.0 == Self::ALL || binding.tags.contains(self),
        }
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        if text.is_empty() {
            return Err(InvalidTag::Empty);
        }
        if is_longer_than(text, Self::MAX_CHARS) {
            return Err(InvalidTag::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidTag::Control);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_in_characters() {
        assert!("ü".repeat(128).parse::<Tag>().is_ok());
        assert_eq!("ü".repeat(129).parse::<Tag>(), Err(InvalidTag::TooLong));
        assert_eq!("".parse::<Tag>(), Err(InvalidTag::Empty));
        assert_eq!("a\nb".parse::<Tag>(), Err(InvalidTag::Control));
    }

    #[test]
    fn some_tags_are_implicit() {
        let is_implicit = |text: &str| text.parse::<Tag>().unwrap().is_implicit();
        assert!(["all", "apn", "fcm", "gcm"].into_iter().all(is_implicit));
        assert!(!["All", "APN", "vip", "al", "all ", "sms"].into_iter().any(is_implicit));
    }
}
