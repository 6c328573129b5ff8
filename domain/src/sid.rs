//! Typed resource ids: two letters that name the kind, then 32 hexadecimal digits.
//!
//! Each kind has its own type, so a service sid cannot be passed as a user sid. Parsing accepts digits in either case;
//! formatting writes lower case, as the vendor does.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is not a sid of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a sid: expected {prefix} followed by 32 hexadecimal digits")]
pub struct InvalidSid {
    /// The expected two letters.
    pub prefix: &'static str,
}

/// Common interface of all kinds of sid.
pub trait Sid: Copy + Ord + fmt::Display + FromStr<Err = InvalidSid> + Send + Sync + 'static {
    /// The two letters that name the kind.
    const PREFIX: &'static str;

    /// The sid with these 128 bits.
    fn from_bits(bits: u128) -> Self;

    /// The sid's 128 bits. Sids are ordered by this number.
    fn bits(self) -> u128;
}

fn parse(prefix: &'static str, text: &str) -> Result<u128, InvalidSid> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == 32);
    let bits = |digits: &str| {
        let mut digits = digits.bytes().map(|digit| char::from(digit).to_digit(16));
        digits.try_fold(0, |bits, digit| Some(bits << 4 | u128::from(digit?)))
    };
    digits.and_then(bits).ok_or(InvalidSid { prefix })
}

/// Passes on the text of a sid. An answer has many sids, and the standard library is several times slower.
fn with_text<T>(prefix: &str, bits: u128, show: impl FnOnce(&str) -> T) -> T {
    let mut text = [0; 34];
    let (letters, digits) = text.split_at_mut(2);
    letters.copy_from_slice(prefix.as_bytes());
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        let digit = |bits: u8| b"0123456789abcdef"[usize::from(bits)];
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xF)]);
    }
    show(std::str::from_utf8(&text).unwrap_or_default())
}

/// Reads a sid from a text in place. A stored record has several.
struct Text<S>(PhantomData<S>);

impl<S: Sid> Visitor<'_> for Text<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a sid that begins with {}", S::PREFIX)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<S, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! sids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl Sid for $name {
            const PREFIX: &'static str = $prefix;

            fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            fn bits(self) -> u128 {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidSid;

            fn from_str(text: &str) -> Result<Self, InvalidSid> {
                parse($prefix, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                with_text($prefix, self.0, |text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                with_text($prefix, self.0, |text| serializer.serialize_str(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(PhantomData))
            }
        }
    )*};
}

sids! {
    /// The owner of a deployment.
    AccountSid = "AC";
    /// A service: the scope of users, their presence and their settings.
    ServiceSid = "IS";
    /// A user of a service.
    UserSid = "US";
    /// A role. What it means is not stored ([`crate::directory::role`]).
    RoleSid = "RL";
    /// An API key.
    KeySid = "SK";
    /// A conversation. This project has none, but lists them.
    ConversationSid = "CH";
    /// A messaging service. This project stores only its sid.
    MessagingServiceSid = "MG";
    /// A push registration of a device.
    BindingSid = "BS";
    /// A credential of a push provider.
    CredentialSid = "CR";
    /// A notification that was sent.
    NotificationSid = "NT";
    /// A map of a user, as the vendor's clients read it ([`crate::presence::map`]).
    MapSid = "MP";
    /// A request, as returned in `Twilio-Request-Id`.
    RequestSid = "RQ";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_either_case_and_writes_lower_case() {
        let sid: ServiceSid = "IS00000000000000000000000000ABCDEF".parse().unwrap();
        assert_eq!(sid.to_string(), "IS00000000000000000000000000abcdef");
        assert_eq!(serde_json::to_string(&sid).unwrap(), "\"IS00000000000000000000000000abcdef\"");
        assert_eq!(serde_json::from_str::<ServiceSid>("\"IS00000000000000000000000000abcdef\"").unwrap(), sid);
    }

    #[test]
    fn refuses_everything_else() {
        let digits = "0".repeat(31);
        for text in [
            String::new(),
            "IS".into(),
            format!("IS{digits}"),
            format!("IS{digits}00"),
            format!("IS{digits}g"),
            format!("IS+{digits}"),
            format!("is{digits}0"),
            format!("US{digits}0"),
            format!(" IS{digits}0"),
            format!("IS{digits}é"),
        ] {
            assert_eq!(text.parse::<ServiceSid>(), Err(InvalidSid { prefix: "IS" }), "{text:?}");
        }
    }
}
