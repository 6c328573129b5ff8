//! The payloads of notifications.

use bytes::Bytes;
use serde::Serialize;

use crate::sync::Item;

/// An item that has changed, or that is told again.
#[derive(Serialize)]
struct ItemEvent<'a> {
    id: u64,
    date_created: &'a str,
    date_expires: (),
    map_sid: &'a str,
    map_revision: &'a str,
    item_key: &'static str,
    item_data: Item<'a>,
    item_revision: &'a str,
}

/// What came of the request for a subscription.
#[derive(Debug, Serialize)]
pub(crate) struct Notice<'a> {
    pub(crate) object_sid: &'a str,
    pub(crate) object_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_event_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<NoticeError>,
}

/// Why there is no subscription.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct NoticeError {
    pub(crate) status: u16,
    pub(crate) code: u32,
    pub(crate) message: &'static str,
}

/// A payload that is being written: events of one type.
pub(crate) struct Events {
    json: Vec<u8>,
    is_first: bool,
}

impl Events {
    /// Begins a payload. `correlation_id` is that of the request which it answers.
    pub(crate) fn new(event_type: &'static str, correlation_id: Option<u64>) -> Self {
        let mut json = format!("{{\"event_type\":\"{event_type}\",\"event_protocol_version\":4");
        if let Some(id) = correlation_id {
            json += &format!(",\"correlation_id\":{id}");
        }
        json += ",\"events\":[";
        Self { json: json.into(), is_first: true }
    }

    /// How long it is so far, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.json.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_first
    }

    /// Adds an item.
    pub(crate) fn push_item(&mut self, map: &str, sequence: u64, item: Item<'_>, at: &str) {
        let revision = sequence.to_string();
        self.push(&ItemEvent {
            id: sequence,
            date_created: at,
            date_expires: (),
            map_sid: map,
            map_revision: &revision,
            item_key: item.key(),
            item_data: item,
            item_revision: &revision,
        });
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &impl Serialize) {
        if !std::mem::take(&mut self.is_first) {
            self.json.push(b',');
        }
        // Neither the writer nor the events, which are our own structs, can fail.
        let _ = serde_json::to_writer(&mut self.json, event);
    }

    /// Ends the payload.
    pub(crate) fn end(mut self) -> Bytes {
        self.json.extend_from_slice(b"]}");
        self.json.into()
    }
}
