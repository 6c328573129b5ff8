//! Until the domain has them.

#![allow(missing_docs, reason = "the domain documents them")]

use reachability_domain::identity::Identity;
use reachability_domain::time::{Timestamp, rfc3339};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status has 1 to {} bytes of UTF-8", Status::MAX_BYTES)]
pub struct InvalidStatus;

impl Status {
    pub const MAX_BYTES: usize = 256;

    pub fn set_to(text: &str) -> Result<Option<Self>, InvalidStatus> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidStatus);
        }
        Ok(Some(text).filter(|text| !text.is_empty()).map(|text| Self(text.to_owned())))
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disclose {
    pub status: Option<Option<Status>>,
    pub invisible: Option<bool>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PublicUser<'a> {
    pub id: &'a Identity,
    pub name: Option<&'a str>,
    pub online: Option<bool>,
    pub notifiable: Option<bool>,
    pub status: Option<&'a Status>,
    #[serde(with = "rfc3339::option")]
    pub last_active: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invisible: Option<bool>,
    #[serde(with = "rfc3339::option")]
    pub created_at: Option<Timestamp>,
    pub custom: &'a RawValue,
    pub revision: u64,
}

impl<'a> PublicUser<'a> {
    pub fn nobody(id: &'a Identity) -> Self {
        Self {
            id,
            name: None,
            online: None,
            notifiable: None,
            status: None,
            last_active: None,
            invisible: None,
            created_at: None,
            custom: serde_json::from_str("{}").unwrap_or(RawValue::NULL),
            revision: 0,
        }
    }
}
