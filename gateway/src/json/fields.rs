//! The fields of messages from clients, before anything is made of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::error::Failure;
use crate::json::settings::MAX_NUMBER;

/// The fields that a message from a client can have. Others are ignored.
pub const FIELDS: [&str; 19] = [
    "type",
    "id",
    "token",
    "status",
    "invisible",
    "device",
    "continuation_token",
    "filter",
    "sort",
    "limit",
    "cursor",
    "presence",
    "channel_type",
    "channel_id",
    "data",
    "members",
    "watch",
    "watches",
    "known",
];

/// The fields of a message, as they were sent. If one is there twice, it is the last one.
pub(crate) struct Fields<'a>([Option<&'a RawValue>; FIELDS.len()]);

impl Fields<'_> {
    /// The field as it was sent; `None` if it is not there.
    fn raw(&self, name: &str) -> Option<&str> {
        let at = FIELDS.iter().position(|field| *field == name)?;
        self.0.get(at).copied().flatten().map(RawValue::get)
    }

    /// Whether it is there, if only as `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// A field that may be missing or `null`. `what` says what it must be.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str, what: &str) -> Result<Option<T>, Failure> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw).map_err(|_| Failure::field(name, format_args!("must be {what}")))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        self.read(name, "a text")
    }

    /// A switch, which is off if it is missing.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        self.read(name, "true or false")
    }

    /// A whole number that every client can read.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let what = "a whole number from 0 on, below 2^53";
        match self.read(name, what)? {
            Some(MAX_NUMBER..) => Err(Failure::field(name, format_args!("must be {what}"))),
            number => Ok(number),
        }
    }
}

/// A field that must be there.
pub(crate) fn required<T>(name: &str, field: Option<T>) -> Result<T, Failure> {
    field.ok_or_else(|| Failure::field(name, "is missing"))
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Message;

        impl<'de> Visitor<'de> for Message {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields([None; FIELDS.len()]);
                while let Some(Name(at)) = map.next_key()? {
                    match at.and_then(|at| fields.0.get_mut(at)) {
                        Some(field) => *field = Some(map.next_value()?),
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Message)
    }
}

/// The name of a field: its place in [`FIELDS`].
struct Name(Option<usize>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                Ok(Name(FIELDS.iter().position(|field| *field == name)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Something that is written as an object. By themselves, structs are read from lists as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Map(PhantomData))
    }
}
