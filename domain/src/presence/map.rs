//! The maps of a user, as the vendor's clients read them. They are not stored: they are another view of the user.

use std::fmt;
use std::str::FromStr;

use crate::presence::view::UserView;
use crate::sid::{MapSid, Sid, UserSid};

/// A map of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserMap {
    /// What is visible of the user. Its sid has the bits of the user's.
    Info(UserSid),
    /// The user's conversations, of which there are none here. Its sid has the inverted bits of the user's.
    Conversations(UserSid),
}

impl UserMap {
    /// The map's sid.
    pub fn sid(self) -> MapSid {
        match self {
            Self::Info(user) => Sid::from_bits(user.bits()),
            Self::Conversations(user) => Sid::from_bits(!user.bits()),
        }
    }

    /// The map that a user asks for, by its sid or its unique name. Of the maps of conversations, a sid names only the user's
    /// own: any other sid is that of an [`UserMap::Info`]. Whether that user exists is not known. `None` if the text is
    /// neither.
    pub fn asked_for(text: &str, by: UserSid) -> Option<Self> {
        match text.split_once('.') {
            Some((user, name)) => {
                let user = UserSid::from_str(user).ok()?;
                [Self::Info(user), Self::Conversations(user)].into_iter().find(|map| map.name() == name)
            }
            None => {
                let sid = MapSid::from_str(text).ok()?;
                let own = Self::Conversations(by);
                Some(if sid == own.sid() { own } else { Self::Info(Sid::from_bits(sid.bits())) })
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Info(_) => "info",
            Self::Conversations(_) => "channels",
        }
    }
}

/// The map's unique name.
impl fmt::Display for UserMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Info(user) | Self::Conversations(user)) = self;
        write!(f, "{user}.{}", self.name())
    }
}

/// What is found for a client that asks for a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundMap {
    /// The map of a user: what is visible of the user.
    User(Box<UserView>),
    /// The map of the client's own conversations, which is always empty.
    Conversations,
    /// There is no such map, or none of this service.
    Missing,
    /// The socket watches as many maps as it may.
    TooMany,
    /// It cannot be read now. The client tries again.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_found_by_its_sid_and_its_name() {
        let (alice, bob): (UserSid, UserSid) = (Sid::from_bits(1), Sid::from_bits(2));
        assert_eq!(UserMap::Info(alice).sid().to_string(), "MP00000000000000000000000000000001");
        assert_eq!(UserMap::Conversations(alice).sid().to_string(), "MPfffffffffffffffffffffffffffffffe");
        assert_eq!(UserMap::Info(alice).to_string(), "US00000000000000000000000000000001.info");
        for map in [UserMap::Info(alice), UserMap::Info(bob), UserMap::Conversations(alice)] {
            assert_eq!(UserMap::asked_for(&map.sid().to_string(), alice), Some(map));
            assert_eq!(UserMap::asked_for(&map.to_string(), alice), Some(map));
        }
        let others = UserMap::Conversations(bob);
        assert_eq!(UserMap::asked_for(&others.to_string(), alice), Some(others));
        assert_ne!(UserMap::asked_for(&others.sid().to_string(), alice), Some(others));
        for text in ["", "MP1", ".info", "US00000000000000000000000000000001.", "alice.info", "IS.channels"] {
            assert_eq!(UserMap::asked_for(text, alice), None, "{text:?}");
        }
    }
}
