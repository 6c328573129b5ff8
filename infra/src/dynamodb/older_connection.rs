//! Connections as earlier versions stored them. They are read; the first write that replaces their state removes them.

use reachability_domain::identity::{ConnectionId, ConnectionKey};
use reachability_domain::presence::connection::Connection;
use reachability_domain::time::Timestamp;
use serde::Deserialize;
use serde_dynamo::AttributeValue;

use super::state::{self, StateError};
use crate::older_ending::OlderEnding;

/// What one attribute said.
#[derive(Debug, PartialEq)]
pub(super) struct Older {
    pub(super) key: ConnectionKey,
    pub(super) connection: Connection,
    /// Whether the user was deleted, at the end of this connection: its lease was marked as never to end.
    pub(super) marks_deletion: bool,
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "a")]
    at: Timestamp,
    #[serde(rename = "l")]
    until: Timestamp,
}

/// Parses an attribute; `None` if it is not a connection.
///
/// # Errors
/// If the name is that of a connection, and the value is not.
pub(super) fn read(name: &str, value: &AttributeValue) -> Result<Option<Older>, StateError> {
    let key = |kind| name.strip_prefix(kind).and_then(|id| id.parse::<ConnectionId>().ok()).map(|id| id.key());
    if let Some(key) = key("c#") {
        let Lease { at, until } = state::read(name, value.clone())?;
        let connection = Connection { leased_until: Some(until), ended: None };
        return Ok(Some(Older { key, connection, marks_deletion: at == Timestamp::MAX }));
    }
    let Some(key) = key("x#") else { return Ok(None) };
    let ending: OlderEnding = state::read(name, value.clone())?;
    let connection = Connection { leased_until: None, ended: Some(ending.into()) };
    Ok(Some(Older { key, connection, marks_deletion: false }))
}
