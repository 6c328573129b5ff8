//! Sync: the notifications in which the vendor's clients hear of users. A user is a *map* with three items.

use bytes::Bytes;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::time::Timestamp;

use crate::stand_in::MapSid;

/// An item of a user's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// The display name; `None` if it was never set.
    FriendlyName(Option<&'a str>),
    /// The attributes: a JSON text.
    Attributes(&'a str),
    /// The reachability. Both values are told, `null` included.
    Reachability(Reachability),
}

/// The frame that tells watchers of a map that items changed. It is the same for all watchers.
///
/// `sequence` orders what is told of the map: a client drops what is not later than what it has. It is below 2^53.
pub fn changed(map: MapSid, sequence: u64, items: &[Item<'_>], at: Timestamp) -> Bytes {
    let _ = (map, sequence, items, at);
    Bytes::new()
}
