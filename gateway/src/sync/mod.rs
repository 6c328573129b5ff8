//! Sync: the notifications in which the vendor's clients hear of users. A user is a *map* with three items.

mod notification;

use bytes::Bytes;
use reachability_domain::directory::user::User;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::presence::view::UserView;
use reachability_domain::sid::{MapSid, Sid};
use reachability_domain::time::Timestamp;
use serde::ser::{Serialize, SerializeStruct, Serializer};

pub(crate) use notification::{Events, Notice, NoticeError};

use crate::twilsock::packet;

/// The type of a notification that all watchers of a map are sent.
const LIVE: &str = "com.twilio.rtd.cds.map";

/// An item of a user's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// The display name; `None` if it was never set.
    FriendlyName(Option<&'a str>),
    /// The attributes: a JSON text.
    Attributes(&'a str),
    /// The reachability. Both values are told, `null` included: a client takes a value that is not there for a change.
    Reachability(Reachability),
}

impl<'a> Item<'a> {
    /// All items of a user's map.
    pub fn all(view: &'a UserView) -> [Self; 3] {
        let User { friendly_name, attributes, .. } = &view.user;
        [
            Self::FriendlyName(friendly_name.as_deref()),
            Self::Attributes(attributes),
            Self::Reachability(view.appearance.reachability),
        ]
    }

    fn key(self) -> &'static str {
        match self {
            Self::FriendlyName(_) => "friendlyName",
            Self::Attributes(_) => "attributes",
            Self::Reachability(_) => "reachability",
        }
    }
}

/// The item's data.
impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_struct("Item", 3)?;
        match self {
            Self::FriendlyName(name) => data.serialize_field("value", name)?,
            Self::Attributes(attributes) => data.serialize_field("value", attributes)?,
            Self::Reachability(Reachability { online, notifiable }) => {
                data.serialize_field("type", "ReachabilityInfo")?;
                data.serialize_field("online", online)?;
                data.serialize_field("notifiable", notifiable)?;
            }
        }
        data.end()
    }
}

/// The packet that tells watchers of a map that items changed. It is the same for all watchers.
///
/// `sequence` orders what is told of the map ([`UserView::sequence`]): a client drops what is not later than what it has.
pub fn changed(map: MapSid, sequence: u64, items: &[Item<'_>], at: Timestamp) -> Bytes {
    let mut events = Events::new("map_item_updated", None);
    let (sid, at) = (map.to_string(), at.to_string());
    for item in items {
        events.push_item(&sid, sequence, *item, &at);
    }
    // Packets of different maps, and of one map, have different ids.
    let id = format!("TM{:032x}", map.bits() ^ u128::from(sequence));
    packet::notification(&id, LIVE, &events.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_as_the_clients_read_it() {
        let reachability = Reachability { online: Some(true), notifiable: None };
        let items = [Item::Reachability(reachability), Item::FriendlyName(None), Item::Attributes("{\"a\":\"ü\"}")];
        let frame =
            changed(MapSid::from_bits(0xab), 9_007_199_254_740_991, &items, Timestamp::from_millis(1_795_170_995_912));
        let map = "MP000000000000000000000000000000ab";
        let event = |key: &str, data: &str| {
            format!(
                r#"{{"id":9007199254740991,"date_created":"2026-11-20T10:36:35.912Z","date_expires":null,"map_sid":"{map}","#
            ) + &format!(r#""map_revision":"9007199254740991","item_key":"{key}","item_data":{data},"#)
                + r#""item_revision":"9007199254740991"}"#
        };
        let payload = format!(
            r#"{{"event_type":"map_item_updated","event_protocol_version":4,"events":[{},{},{}]}}"#,
            event("reachability", r#"{"type":"ReachabilityInfo","online":true,"notifiable":null}"#),
            event("friendlyName", r#"{"value":null}"#),
            event("attributes", r#"{"value":"{\"a\":\"ü\"}"}"#),
        );
        let header = format!(
            r#"{{"method":"notification","id":"TM0000000000000000001fffffffffff54","message_type":"com.twilio.rtd.cds.map","notification_ctx_id":"","payload_type":"application/json","payload_size":{}}}"#,
            payload.len()
        );
        let frame = std::str::from_utf8(&frame).unwrap();
        assert_eq!(frame, format!("TWILSOCK V3.0 {}\r\n{header}\r\n{payload}\r\n", header.len()));
    }
}
