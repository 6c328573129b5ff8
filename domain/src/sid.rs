//! Typed resource ids: two letters that name the kind, then 32 hexadecimal digits.
//!
//! Each kind is a type of its own, so a service sid cannot be passed for a user sid. Digits are accepted in either case
//! and written in lower case, as the vendor writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is not a sid of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a sid: expected {prefix} followed by 32 hexadecimal digits")]
pub struct InvalidSid {
    /// The two letters that were expected.
    pub prefix: &'static str,
}

/// What all kinds of sid have in common.
pub trait Sid: Copy + Ord + fmt::Display + FromStr<Err = InvalidSid> + Send + Sync + 'static {
    /// The two letters that name the kind.
    const PREFIX: &'static str;

    /// The sid with these digits.
    fn from_bits(bits: u128) -> Self;

    /// The digits as a number. Sids are ordered by it.
    fn bits(self) -> u128;
}

fn parse(prefix: &'static str, text: &str) -> Result<u128, InvalidSid> {
    text.strip_prefix(prefix)
        // `from_str_radix` takes a sign, a sid does not.
        .filter(|digits| digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .ok_or(InvalidSid { prefix })
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
                write!(f, concat!($prefix, "{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
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

sids! {
    /// The owner of a deployment.
    AccountSid = "AC";
    /// A service: the scope of users, their presence and their settings.
    ServiceSid = "IS";
    /// A user of a service.
    UserSid = "US";
    /// A role. Only its sid is known here.
    RoleSid = "RL";
    /// An API key.
    KeySid = "SK";
    /// A messaging service. Only its sid is known here.
    MessagingServiceSid = "MG";
    /// A push registration of a device.
    BindingSid = "BS";
    /// What lets us talk to a push provider for an app.
    CredentialSid = "CR";
    /// A notification that was sent.
    NotificationSid = "NT";
    /// A request, as answered in `Twilio-Request-Id`.
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
