//! What a client has seen of the users it watches, kept as the unmodified clients keep it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::time::Instant;

/// `online` and `notifiable`.
pub type Reachability = (Option<bool>, Option<bool>);

/// The view of a user.
#[derive(Debug, Clone)]
pub struct View {
    /// The number by which the test knows the user.
    pub user: usize,
    /// What was seen last.
    pub reachability: Reachability,
    /// What was seen last.
    pub friendly_name: Option<String>,
    /// The last id of each item.
    items: BTreeMap<String, u64>,
    /// Since when changes come as they happen; `None`: the client is cut off, and this is what it saw last.
    pub current_since: Option<Instant>,
}

/// Everything that a client watches, by the sids of the maps.
#[derive(Debug, Clone, Default)]
pub struct Views(pub BTreeMap<String, View>);

/// A value of `online` that was new to the client.
#[derive(Debug, Clone, Copy)]
pub struct News {
    /// The number by which the test knows the user.
    pub user: usize,
    /// The value.
    pub online: Option<bool>,
    /// The id of the change.
    pub id: u64,
}

impl Views {
    /// Begins with what was read of a user's map.
    pub fn read(&mut self, user: usize, map: &Value) -> Vec<News> {
        let view =
            View { user, reachability: (None, None), friendly_name: None, items: BTreeMap::new(), current_since: None };
        let sid = map["sid"].as_str().unwrap();
        self.0.insert(sid.to_owned(), view);
        let items = map["items"].as_array().unwrap().iter();
        items.filter_map(|item| self.item(sid, &item["key"], &item["last_event_id"], &item["data"])).collect()
    }

    /// What a client asks for when it subscribes: each map with the last id it has.
    pub fn wanted(&self) -> Vec<(&str, Option<u64>)> {
        self.0.iter().map(|(map, view)| (map.as_str(), view.items.values().max().copied())).collect()
    }

    /// The client is cut off.
    pub fn cut(&mut self) {
        self.0.values_mut().for_each(|view| view.current_since = None);
    }

    /// Applies what the server sent. Returns what is new.
    pub fn apply(&mut self, payload: &Value) -> Vec<News> {
        let events = payload["events"].as_array().into_iter().flatten();
        match payload["event_type"].as_str() {
            Some("map_item_updated") => {
                let item = |event: &Value| {
                    self.item(event["map_sid"].as_str().unwrap(), &event["item_key"], &event["id"], &event["item_data"])
                };
                events.filter_map(item).collect()
            }
            Some("subscription_established") => {
                for event in events {
                    let map = event["object_sid"].as_str().unwrap();
                    self.0.get_mut(map).unwrap().current_since.get_or_insert_with(Instant::now);
                }
                vec![]
            }
            Some(other) => panic!("{other}: {payload}"),
            None => vec![],
        }
    }

    fn item(&mut self, map: &str, key: &Value, id: &Value, data: &Value) -> Option<News> {
        let view = self.0.get_mut(map).unwrap_or_else(|| panic!("{map} is not watched"));
        let (key, id) = (key.as_str().unwrap(), id.as_u64().unwrap());
        // As the clients do: what is not newer is dropped.
        if view.items.get(key).is_some_and(|last| id <= *last) {
            return None;
        }
        view.items.insert(key.to_owned(), id);
        match key {
            "reachability" => {
                let before = view.reachability.0;
                view.reachability = (data["online"].as_bool(), data["notifiable"].as_bool());
                let online = view.reachability.0;
                (online != before).then_some(News { user: view.user, online, id })
            }
            "friendlyName" => {
                view.friendly_name = data["value"].as_str().map(str::to_owned);
                None
            }
            _ => None,
        }
    }
}
