//! A client that watches users, as an app does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::raw::encode;
use crate::twilsock::{Packet, Twilsock};

/// What a watcher has seen of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The user.
    pub identity: String,
    /// `reachability.online`, then `reachability.notifiable`.
    pub reachability: (Option<bool>, Option<bool>),
    /// The display name.
    pub friendly_name: Option<String>,
    /// The attributes.
    pub attributes: String,
    /// The sequence of each item.
    sequences: BTreeMap<String, u64>,
}

impl Seen {
    /// Applies an item, unless a later one was seen. Returns whether anything is different now.
    fn apply(&mut self, key: &str, sequence: u64, data: &Value) -> bool {
        if self.sequences.get(key).is_some_and(|seen| sequence <= *seen) {
            return false;
        }
        self.sequences.insert(key.to_owned(), sequence);
        let before = self.clone();
        match key {
            "reachability" => {
                let [online, notifiable] = ["online", "notifiable"].map(|name| {
                    let value = data.get(name).unwrap_or_else(|| panic!("{name} is missing: {data}"));
                    assert!(value.is_boolean() || value.is_null(), "{data}");
                    value.as_bool()
                });
                self.reachability = (online, notifiable);
            }
            "friendlyName" => self.friendly_name = data["value"].as_str().map(str::to_owned),
            "attributes" => data["value"].as_str().expect("a text").clone_into(&mut self.attributes),
            _ => panic!("an unknown item {key}"),
        }
        *self != before
    }
}

/// A socket whose user watches others.
pub struct Watcher {
    /// The socket.
    pub socket: Twilsock,
    /// By the sids of their maps.
    users: BTreeMap<String, Seen>,
}

impl Watcher {
    /// With an open session.
    pub fn new(socket: Twilsock) -> Self {
        Self { socket, users: BTreeMap::new() }
    }

    /// The same watches on a new socket, as after a cut: what was missed is heard again.
    pub async fn resume(&mut self, socket: Twilsock) {
        self.socket = socket;
        let maps: Vec<(&str, Option<u64>)> =
            self.users.iter().map(|(map, seen)| (map.as_str(), seen.sequences.values().min().copied())).collect();
        assert_eq!(self.socket.subscribe(&maps).await, 202);
    }

    /// Reads a user, and begins to watch it.
    pub async fn watch(&mut self, identity: &str) {
        let (status, user) = self.socket.request("GET", &format!("/Client/v2/Users/{}", encode(identity)), None).await;
        assert_eq!(status, 200, "{user}");
        let map = user["sync_objects"]["user_info_map"].as_str().unwrap().to_owned();
        let (status, read) = self.socket.request("GET", &format!("/v3/Maps/{map}?Include=items"), None).await;
        assert_eq!(status, 200, "{read}");
        let mut seen = Seen { identity: identity.to_owned(), ..Seen::default() };
        for item in read["items"].as_array().unwrap() {
            seen.apply(item["key"].as_str().unwrap(), item["last_event_id"].as_u64().unwrap(), &item["data"]);
        }
        self.users.insert(map.clone(), seen);
        assert_eq!(self.socket.subscribe(&[(&map, read["last_event_id"].as_u64())]).await, 202);
        // Whatever changes from now on is heard.
        let mut heard = VecDeque::new();
        loop {
            let packet = self.socket.next().await.expect("the notice of the subscription");
            let event = &packet.payload["event_type"];
            if event == "subscription_established" && packet.payload["events"][0]["object_sid"] == map.as_str() {
                break;
            }
            heard.push_back(packet);
        }
        heard.append(&mut self.socket.heard);
        self.socket.heard = heard;
    }

    /// What it has seen of a user.
    pub fn seen(&self, identity: &str) -> &Seen {
        self.users.values().find(|seen| seen.identity == identity).expect("a user that is watched")
    }

    /// Everything it has seen.
    pub fn all(&self) -> impl Iterator<Item = &Seen> {
        self.users.values()
    }

    /// Waits for the next change of anybody, which must come soon; `None` if the socket has ended.
    pub async fn change(&mut self) -> Option<Seen> {
        loop {
            let packet = self.socket.next().await?;
            if let Some(seen) = self.apply(&packet).pop() {
                return Some(seen);
            }
        }
    }

    /// Applies a packet. Returns the users that are different now.
    pub fn apply(&mut self, packet: &Packet) -> Vec<Seen> {
        if packet.payload["event_type"] != "map_item_updated" {
            return vec![];
        }
        let mut changed = vec![];
        for event in packet.payload["events"].as_array().expect("events") {
            let map = event["map_sid"].as_str().unwrap();
            let Some(seen) = self.users.get_mut(map) else { panic!("a map that is not watched: {event}") };
            let (key, sequence) = (event["item_key"].as_str().unwrap(), event["id"].as_u64().unwrap());
            if seen.apply(key, sequence, &event["item_data"]) {
                changed.push(seen.clone());
            }
        }
        changed
    }

    /// Waits until a user is seen online, offline, or unknown. Returns how many changes of it were heard.
    pub async fn until(&mut self, identity: &str, online: Option<bool>) -> usize {
        let mut changes = 0;
        while self.seen(identity).reachability.0 != online {
            let seen = self.change().await.unwrap_or_else(|| panic!("{identity} {online:?} before the end"));
            changes += usize::from(seen.identity == identity);
        }
        changes
    }

    /// What is heard within this time.
    pub async fn changes_within(&mut self, time: Duration) -> Vec<Seen> {
        let deadline = Instant::now() + time;
        let mut changes = vec![];
        while let Some(packet) = self.socket.next_within(deadline.saturating_duration_since(Instant::now())).await {
            changes.extend(self.apply(&packet));
        }
        changes
    }
}
