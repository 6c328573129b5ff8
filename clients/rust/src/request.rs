//! What a client sends.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::options::{QueryOptions, UserChange};

/// The most that the server takes of a message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1_024;

/// The same of a `restore`.
pub(crate) const MAX_RESTORE: usize = 1_024 * 1_024;

/// The answer to the server's ping.
pub(crate) const PONG: &str = r#"{"type":"pong"}"#;

/// The goodbye.
pub(crate) const CLOSE: &str = r#"{"type":"close"}"#;

/// A request as it is sent. Its fields beside the number are those of `request`.
#[derive(Serialize)]
struct Numbered<'a, T> {
    id: u64,
    #[serde(flatten)]
    request: &'a T,
}

/// Writes a request with its number.
pub(crate) fn encode(id: u64, request: &impl Serialize, limit: usize) -> Result<String, Error> {
    let text = serde_json::to_string(&Numbered { id, request })?;
    if text.len() > limit { Err(Error::TooLarge { size: text.len(), limit }) } else { Ok(text) }
}

/// A request.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Request {
    SetUser(Disclosure),
    QueryUsers(Query),
    QueryChannels(Query),
    WatchChannel(ChannelRequest),
    AddMembers(ChannelRequest),
    RemoveMembers(ChannelRequest),
    Unwatch { watch: u64 },
    Token { token: String },
    Ping,
}

impl Request {
    /// Whether it is one of the few that the server takes at a time.
    pub(crate) fn is_limited(&self) -> bool {
        !matches!(self, Self::Token { .. } | Self::Ping)
    }

    /// Whether the request asks to watch, and then what: users, or channels.
    pub(crate) fn watches(&self) -> Option<Target> {
        match self {
            Self::QueryUsers(Query { presence: true, .. }) => Some(Target::Users),
            Self::QueryChannels(Query { presence: true, .. })
            | Self::WatchChannel(ChannelRequest { presence: true, .. }) => Some(Target::Channels),
            _ => None,
        }
    }
}

/// What a watch is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Users,
    Channels,
}

/// `connect`.
#[derive(Serialize)]
#[serde(tag = "type", rename = "connect")]
pub(crate) struct Connect<'a> {
    pub(crate) token: &'a str,
    #[serde(flatten)]
    pub(crate) disclosure: Option<&'a Disclosure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) continuation_token: Option<&'a str>,
}

/// What the own user tells of itself. What is left out stays; a status of `null` clears it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Disclosure {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invisible: Option<bool>,
}

impl From<UserChange> for Disclosure {
    fn from(change: UserChange) -> Self {
        let status = change.status.map(|status| Some(status).filter(|status| !status.is_empty()));
        Self { status, invisible: change.invisible }
    }
}

/// The fields of a query.
#[derive(Debug, Serialize)]
pub(crate) struct Query {
    #[serde(skip_serializing_if = "Value::is_null")]
    filter: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    sort: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    presence: bool,
}

impl Query {
    pub(crate) fn new(filter: Value, sort: Value, options: QueryOptions) -> Self {
        let QueryOptions { presence, limit, cursor } = options;
        Self { filter, sort, limit, cursor, presence }
    }
}

/// The fields of a request about one channel.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChannelRequest {
    pub(crate) channel_type: String,
    pub(crate) channel_id: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) data: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<Vec<String>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) presence: bool,
}

/// `restore`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "restore")]
pub(crate) struct Restore<'a> {
    pub(crate) watches: Vec<RestoredWatch<'a>>,
    pub(crate) known: BTreeMap<&'a str, u64>,
}

/// One watch of it: of users, or of channels.
#[derive(Debug, Serialize)]
pub(crate) struct RestoredWatch<'a> {
    pub(crate) watch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) users: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channels: Option<Vec<&'a str>>,
}
