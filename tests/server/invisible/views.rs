//! All that can be read of a user, over every route and every socket.

use reachability_tests::raw::encode;
use reachability_tests::socket::JsonSocket;
use reachability_tests::twilsock::Twilsock;
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use super::place::Place;
use super::questions::Look::{self, At, Nothing, OfAll};
use super::questions::{CLIENT_LOOKS, LOOKS, POSTS, QUERIES};

/// What was seen of a user earlier.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Over our socket.
    pub(super) revision: u64,
    /// In its map.
    pub(super) sequence: u64,
}

/// All that the account's owner can read with a key, another user over our socket, and another user with the vendor's client.
pub(super) async fn view(place: &mut Place<'_>) -> Value {
    let mut view = Map::new();
    for (path, look) in LOOKS {
        for (question, request) in requests(place, path, *look) {
            view.insert(question, answer(request).await);
        }
    }
    let texts = Texts::of(place);
    for (path, body) in POSTS {
        let request = place.library.request(Method::POST, &texts.put(path));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(*body);
        view.insert(format!("POST {path} {body}"), answer(request).await);
    }
    of_socket(&texts, place.known, &mut place.joan, &mut view).await;
    of_client(&texts, place.known, &mut place.adam, &mut view).await;
    view.into()
}

fn requests(place: &Place<'_>, path: &str, look: Look) -> Vec<(String, RequestBuilder)> {
    let texts = Texts::of(place);
    let get = |path: &str| {
        let path = texts.put(path);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        place.library.request(Method::GET, &format!("{path}?{}", query.join("&")))
    };
    let john = path.replace("alice", "john");
    let by_sid = path.replace("alice", "{US}");
    // Without a device there is none to ask for.
    let is_known = !path.contains("{BS}") || place.binding.is_some();
    match look {
        At(queries) if is_known => {
            let paths = queries.iter().map(|query| format!("{john}{query}"));
            let paths = paths.chain((by_sid != john).then(|| by_sid.clone()));
            paths.map(|path| (path.clone(), get(&path))).collect()
        }
        OfAll => vec![(format!("all {path}"), get(path))],
        At(_) | Nothing => vec![],
    }
}

/// Which headers differ between any two answers.
const HEADERS: [&str; 4] = ["date", "twilio-request-id", "twilio-request-duration", "content-length"];

async fn answer(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let headers = answer.headers().iter().filter(|(name, _)| !HEADERS.contains(&name.as_str()));
    let headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    let text = answer.text().await.unwrap();
    json!([status, headers, serde_json::from_str(&text).unwrap_or(Value::from(text))])
}

async fn of_socket(texts: &Texts, known: Known, joan: &mut JsonSocket, view: &mut Map<String, Value>) {
    let mut see = |what: String, mut last: Value, parts: Value| {
        last.as_object_mut().unwrap().remove("id");
        view.insert(format!("socket: {what}"), json!([parts, last]));
    };
    for query in QUERIES {
        let mut fields: Value = serde_json::from_str(&texts.put(query)).unwrap();
        for page in 0.. {
            let found = joan.ask("query_users", fields.clone()).await;
            let cursor = found.last["cursor"].clone();
            see(format!("{query} page {page}"), found.last, found.users.into());
            if cursor.is_null() || page == 9 {
                break;
            }
            fields["cursor"] = cursor;
        }
    }
    for fields in [json!({}), json!({"filter": {"members": "john"}, "sort": {"member_count": -1}})] {
        let found = joan.ask("query_channels", fields.clone()).await;
        see(format!("channels {fields}"), found.last, found.users.into());
    }
    let watched = joan.ask("watch_channel", json!({"channel_type": "messaging", "channel_id": "general"})).await;
    see("channel".to_owned(), watched.last, watched.users.into());
    let own = joan.ask("set_user", json!({})).await;
    see("itself".to_owned(), own.last, Value::Null);
    // As after a reconnect.
    let watches = json!([{"watch": 900_001, "users": ["john"]}, {"watch": 900_002, "channels": ["messaging:general"]}]);
    for (what, revision) in [("nothing", 0), ("what it knows", known.revision)] {
        let restored = joan.ask("restore", json!({"watches": watches, "known": {"john": revision}})).await;
        see(format!("restored from {what}"), restored.last, json!([restored.users, restored.members]));
        for watch in [900_001, 900_002] {
            joan.ask("unwatch", json!({"watch": watch})).await.ok();
        }
    }
}

async fn of_client(texts: &Texts, known: Known, adam: &mut Twilsock, view: &mut Map<String, Value>) {
    for (_, requests) in CLIENT_LOOKS {
        for (method, path) in *requests {
            let body = (*method != "GET").then(|| json!({"friendly_name": "x", "binding_type": "fcm", "address": "x"}));
            let answer = adam.request(method, &texts.put(path), body.as_ref()).await;
            view.insert(format!("client: {method} {path}"), json!([answer.0, answer.1]));
        }
    }
    for (what, sequence) in [("nothing", None), ("the beginning", Some(0)), ("what it knows", Some(known.sequence))] {
        assert_eq!(adam.subscribe(&[(&texts.map, sequence)]).await, 202);
        let mut told = vec![];
        loop {
            let packet = adam.next().await.expect("notices of the subscription");
            let kind = packet.payload["event_type"].clone();
            told.push(json!([kind, packet.payload["events"]]));
            if kind == "subscription_established" {
                break;
            }
        }
        for event in told.iter_mut().flat_map(|told| told[1].as_array_mut().unwrap()) {
            // When it was asked for.
            event
                .as_object_mut()
                .unwrap()
                .retain(|name, _| !["correlation_id", "date_created"].contains(&name.as_str()));
        }
        view.insert(format!("client: subscribed after {what}"), told.into());
        adam.unsubscribe(&[&texts.map]).await;
        while adam.next().await.expect("the end of the subscription").payload["event_type"] != "subscription_canceled" {
        }
    }
}

/// What stands in requests for what a place has.
struct Texts {
    map: String,
    pairs: Vec<(&'static str, String)>,
}

impl Texts {
    fn of(place: &Place<'_>) -> Self {
        let map = format!("MP{}", &place.john[2..]);
        let pairs = vec![
            ("{IS}", place.service.clone()),
            ("{US}", place.john.clone()),
            ("{MP}", map.clone()),
            ("{BS}", place.binding.clone().unwrap_or_default()),
            ("{AC}", encode(&place.world.server.account)),
            ("{then}", place.then.to_string()),
            ("{start}", place.start.to_string()),
        ];
        Self { map, pairs }
    }

    fn put(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}
