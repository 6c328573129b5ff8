//! The fields that queries name, and their values.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::time::Timestamp;

/// What is queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Users of a service.
    Users,
    /// Channels of a service.
    Channels,
}

/// What values a field can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A text.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// A time; filters write it as a text (RFC 3339).
    Time,
    /// The members of a channel: a set of texts.
    Members,
    /// The app's own: any JSON.
    Custom,
}

impl Kind {
    /// What the field with this name is. Every name that is not a field of its own is one of the app's.
    pub fn field(self, name: &str) -> FieldKind {
        match (self, name) {
            (Self::Users, "id" | "name") => FieldKind::Text,
            (Self::Users, "online") => FieldKind::Bool,
            (Self::Users, "last_active" | "created_at") => FieldKind::Time,
            (Self::Channels, "cid" | "type" | "id" | "created_by") => FieldKind::Text,
            (Self::Channels, "member_count") => FieldKind::Number,
            (Self::Channels, "created_at" | "updated_at" | "last_message_at") => FieldKind::Time,
            (Self::Channels, "members") => FieldKind::Members,
            _ => FieldKind::Custom,
        }
    }

    /// The field that no two rows have in common.
    pub fn key(self) -> &'static str {
        match self {
            Self::Users => "id",
            Self::Channels => "cid",
        }
    }
}

/// The value of a field of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// There is none, or it is `null`.
    Absent,
    /// `true` or `false`.
    Bool(bool),
    /// A number, never NaN. Numbers are compared as JavaScript's are.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A time.
    Time(Timestamp),
    /// A list or an object, which is equal to nothing. [`Fields::has_member`] tells what is among the members of a channel.
    Other,
}

impl<'a> Value<'a> {
    /// A text that may be absent.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, |text| Self::Text(text.into()))
    }

    /// A time that may be absent.
    pub fn time(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Absent, Self::Time)
    }

    /// How it compares to another value; `None` if they are not of the same kind.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::Number(one), Self::Number(other)) => one.partial_cmp(other),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Time(one), Self::Time(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

impl<'a> From<&'a serde_json::Value> for Value<'a> {
    fn from(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Absent,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            // Numbers of JSON are finite.
            serde_json::Value::Number(number) => number.as_f64().map_or(Self::Other, Self::Number),
            serde_json::Value::String(text) => Self::Text(text.into()),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => Self::Other,
        }
    }
}

/// A row: what a viewer sees of a user or of a channel.
pub trait Fields {
    /// The value of a field. A name that is not a field of its own is one of the app's.
    fn field(&self, name: &str) -> Value<'_>;

    /// Whether this identity is a member. Only channels have members.
    fn has_member(&self, identity: &str) -> bool {
        let _ = identity;
        false
    }
}
