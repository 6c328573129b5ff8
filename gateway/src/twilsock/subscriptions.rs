//! Requests for subscriptions, and the notifications that answer them.
//!
//! A client says what it has seen of a map last. It is told everything that it may have missed: not the changes, but the
//! state, if that is later than what it has seen.

use bytes::Bytes;
use reachability_domain::presence::map::FoundMap;
use reachability_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sync::{Events, Item, Notice, NoticeError};
use crate::twilsock::action::{Action, Asked, UpstreamRequest};
use crate::twilsock::input::Response;
use crate::twilsock::packet;
use crate::twilsock::session::Ids;
use crate::twilsock::settings::{DELIVERY, MAX_BATCH, MAX_OBJECT_SID, NOTIFICATION_SIZE, Settings};
use crate::twilsock::upstream::{json_response, problem};

/// The type of notifications that answer a request.
const ANSWER: &str = "twilio.sync.event";

/// The only type of objects here.
const MAP: &str = "map";

const NOT_FOUND: NoticeError = NoticeError { status: 404, code: 54200, message: "Map not found" };
const TOO_MANY: NoticeError = NoticeError { status: 429, code: 20429, message: "Too many subscriptions" };

/// A request for subscriptions.
pub(crate) enum Subscriptions {
    /// To watch objects.
    Establish { correlation_id: u64, maps: Vec<Asked>, others: Vec<Object> },
    /// To watch them no more.
    Cancel { correlation_id: u64, objects: Vec<Object> },
}

/// Something that can be watched.
#[derive(Debug, Deserialize)]
pub(crate) struct Object {
    pub(crate) object_sid: String,
    object_type: String,
    /// What the client has seen of it last, of which only a whole number says something.
    #[serde(default)]
    last_event_id: Value,
}

#[derive(Deserialize)]
struct Body {
    action: Verb,
    correlation_id: u64,
    requests: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verb {
    Establish,
    Cancel,
}

/// Whether a request is one for subscriptions.
pub(crate) fn is_for(http: &UpstreamRequest) -> bool {
    http.method == "POST" && http.path.ends_with("/v4/Subscriptions")
}

impl Subscriptions {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The response to one that is not a request for subscriptions, or over a limit.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Response> {
        let Body { action, correlation_id, requests } = serde_json::from_slice(body)
            .map_err(|error| problem(400, 20001, &format!("The request cannot be read: {error}")))?;
        if requests.len() > MAX_BATCH {
            return Err(problem(413, 20001, &format!("The request has more than {MAX_BATCH} objects")));
        }
        let is_too_long = |object: &Object| object.object_sid.len().max(object.object_type.len()) > MAX_OBJECT_SID;
        if requests.iter().any(is_too_long) {
            return Err(problem(400, 20001, &format!("A name of an object is longer than {MAX_OBJECT_SID} bytes")));
        }
        Ok(match action {
            Verb::Cancel => Self::Cancel { correlation_id, objects: requests },
            Verb::Establish => {
                let (maps, others) = requests.into_iter().partition::<Vec<_>, _>(|object| object.object_type == MAP);
                let maps = maps.into_iter().map(|object| Asked {
                    last_event_id: object.last_event_id.as_u64(),
                    object_sid: object.object_sid,
                });
                Self::Establish { correlation_id, maps: maps.collect(), others }
            }
        })
    }
}

/// The response to a request that was read.
pub(crate) fn accepted(settings: &Settings) -> Response {
    let ttl = settings.subscription_ttl.map_or(-1, |ttl| i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX));
    let delivery = u64::try_from(DELIVERY.as_millis()).unwrap_or(u64::MAX);
    json_response(202, &json!({"estimated_delivery_in_ms": delivery, "max_batch_size": MAX_BATCH, "ttl_in_s": ttl}))
}

/// Notifications of one type, in packets of a limited size.
struct Notifications<'a> {
    event_type: &'static str,
    correlation_id: u64,
    events: Events,
    ids: &'a mut Ids,
    actions: Vec<Action>,
}

impl<'a> Notifications<'a> {
    fn new(event_type: &'static str, correlation_id: u64, ids: &'a mut Ids) -> Self {
        Self { event_type, correlation_id, events: Events::new(event_type, Some(correlation_id)), ids, actions: vec![] }
    }

    fn push(&mut self, event: impl FnOnce(&mut Events)) {
        event(&mut self.events);
        if self.events.len() >= NOTIFICATION_SIZE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::new(self.event_type, Some(self.correlation_id)));
        if !events.is_empty() {
            let payload: Bytes = events.end();
            self.actions.push(Action::Send(packet::notification(&self.ids.next(), ANSWER, &payload)));
        }
    }

    fn end(mut self) -> Vec<Action> {
        self.flush();
        self.actions
    }
}

/// Says which objects are watched no more.
pub(crate) fn canceled(correlation_id: u64, objects: &[Object], ids: &mut Ids) -> Vec<Action> {
    let mut canceled = Notifications::new("subscription_canceled", correlation_id, ids);
    for Object { object_sid, object_type, .. } in objects {
        let notice = Notice { object_sid, object_type, replay_status: None, last_event_id: None, error: None };
        canceled.push(|events| events.push(&notice));
    }
    canceled.end()
}

/// Says that objects other than maps do not exist.
pub(crate) fn not_there(correlation_id: u64, objects: &[Object], ids: &mut Ids) -> Vec<Action> {
    let mut failed = Notifications::new("subscription_failed", correlation_id, ids);
    for Object { object_sid, object_type, .. } in objects {
        let error = match object_type.as_str() {
            "document" => NoticeError { status: 404, code: 54100, message: "Document not found" },
            "list" => NoticeError { status: 404, code: 54150, message: "List not found" },
            _ => NoticeError { status: 404, code: 20404, message: "Not found" },
        };
        failed.push(|events| events.push(&failure(object_sid, object_type, error)));
    }
    failed.end()
}

fn failure<'a>(object_sid: &'a str, object_type: &'a str, error: NoticeError) -> Notice<'a> {
    Notice { object_sid, object_type, replay_status: None, last_event_id: None, error: Some(error) }
}

/// Tells what the client has missed of each map, then which maps are watched from now on, and which are not.
pub(crate) fn established(
    correlation_id: u64,
    maps: &[(Asked, FoundMap)],
    ids: &mut Ids,
    now: Timestamp,
) -> Vec<Action> {
    let at = now.to_string();
    let mut missed = Notifications::new("map_item_updated", correlation_id, ids);
    for (Asked { object_sid, last_event_id }, found) in maps {
        if let FoundMap::User(view) = found
            && last_event_id.is_none_or(|last| last < view.sequence)
        {
            for item in Item::all(view) {
                missed.push(|events| events.push_item(object_sid, view.sequence, item, &at));
            }
        }
    }
    let mut actions = missed.end();

    let mut established = Notifications::new("subscription_established", correlation_id, ids);
    for (Asked { object_sid, last_event_id }, found) in maps {
        let last_event_id = match found {
            FoundMap::User(view) => view.sequence,
            FoundMap::Conversations => last_event_id.unwrap_or_default(),
            FoundMap::Missing | FoundMap::TooMany | FoundMap::Unavailable => continue,
        };
        let replay_status = Some("completed");
        let last_event_id = Some(last_event_id);
        let notice = Notice { object_sid, object_type: MAP, replay_status, last_event_id, error: None };
        established.push(|events| events.push(&notice));
    }
    actions.extend(established.end());

    let mut failed = Notifications::new("subscription_failed", correlation_id, ids);
    for (Asked { object_sid, .. }, found) in maps {
        let error = match found {
            FoundMap::Missing => NOT_FOUND,
            FoundMap::TooMany => TOO_MANY,
            FoundMap::User(_) | FoundMap::Conversations | FoundMap::Unavailable => continue,
        };
        failed.push(|events| events.push(&failure(object_sid, MAP, error)));
    }
    actions.extend(failed.end());
    actions
}
