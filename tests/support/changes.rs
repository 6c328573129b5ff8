//! The log of changes, as its clients read it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::Client;

/// The changes of a service after a position (`None`: from the oldest that is kept), and where the next read begins.
/// Follows the pages.
pub async fn changes_after(client: &Client, service: &str, after: Option<u64>) -> (Vec<Value>, u64) {
    let after = after.map(|after| format!("&After={after}")).unwrap_or_default();
    let mut next = Value::from(format!("/v1/Services/{service}/Changes?PageSize=1000{after}"));
    let (mut changes, mut cursor) = (vec![], 0);
    while let Some(url) = next.as_str() {
        let page = client.get(url).await;
        let some = page["changes"].as_array().unwrap_or_else(|| panic!("{url}: {page}"));
        changes.extend(some.iter().cloned());
        cursor = page["cursor"].as_u64().unwrap();
        next = page["next_page_url"].clone();
    }
    (changes, cursor)
}

/// What a client knows of a service who has read all its changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Of each user, the visible fields.
    users: BTreeMap<String, Value>,
    /// Of each user, the last revision.
    revisions: BTreeMap<String, u64>,
    /// Whether reachability is on, and the generation.
    switch: Option<Value>,
    last: u64,
}

/// What a change may be of.
const VISIBLE: [&str; 4] = ["exists", "is_online", "is_notifiable", "status"];

fn visible(value: &Value) -> Value {
    VISIBLE.iter().map(|field| ((*field).to_owned(), value[field].clone())).collect()
}

fn switched(value: &Value) -> Value {
    json!({ "reachability_enabled": value["reachability_enabled"], "generation": value["generation"] })
}

impl Known {
    /// What all these changes say.
    pub fn of(changes: &[Value]) -> Self {
        let mut known = Self::default();
        changes.iter().for_each(|change| known.learn(change));
        known
    }

    /// Takes the next change, which must follow from what is known: nothing is missing in between.
    #[track_caller]
    pub fn learn(&mut self, change: &Value) {
        self.follow(change).unwrap_or_else(|wrong| panic!("{wrong}"));
    }

    /// The same.
    ///
    /// # Errors
    /// If it does not follow: why.
    pub fn follow(&mut self, change: &Value) -> Result<(), String> {
        let id = change["id"].as_u64().unwrap();
        if self.last >= id {
            return Err(format!("{change} after {}", self.last));
        }
        self.last = id;
        let identity = change["identity"].as_str().unwrap_or_default().to_owned();
        if change["type"] != "service" {
            let (revision, before) = (change["revision"].as_u64().unwrap(), self.revisions.get(&identity).copied());
            // A write of a profile may also tell that a lease has ended: both have its revision.
            let is_later =
                before.is_none_or(|before| before < revision || (before == revision && change["type"] == "profile"));
            if !is_later {
                return Err(format!("{change} after revision {before:?}"));
            }
            self.revisions.insert(identity.clone(), revision);
        }
        match change["type"].as_str().unwrap() {
            "user" => self.follow_user(identity, change),
            "service" => {
                if let Some(switch) = self.switch.as_ref().filter(|switch| switched(&change["before"]) != **switch) {
                    return Err(format!("{change} after {switch}"));
                }
                self.switch = Some(switched(change));
                for user in self.users.values_mut() {
                    (user["is_online"], user["is_notifiable"]) = (Value::Null, Value::Null);
                }
                Ok(())
            }
            "profile" if self.users.get(&identity).is_some_and(|user| user["exists"] == true) => Ok(()),
            _ => Err(format!("{change} of what is not there")),
        }
    }

    fn follow_user(&mut self, identity: String, change: &Value) -> Result<(), String> {
        let nobody = visible(&json!({ "exists": false }));
        let (before, after) = (self.users.get(&identity).unwrap_or(&nobody), visible(change));
        if visible(&change["before"]) != *before || after == *before {
            return Err(format!("{change} does not follow from {before}"));
        }
        for field in VISIBLE {
            if change["reasons"][field].is_string() != (before[field] != after[field]) {
                return Err(format!("the reasons of {field}: {change} after {before}"));
            }
        }
        self.users.insert(identity, after);
        Ok(())
    }

    /// Whether reachability is on.
    pub fn is_on(&self) -> bool {
        self.switch.as_ref().is_some_and(|switch| switch["reachability_enabled"] == true)
    }

    /// The users that exist, with `is_online` and `is_notifiable`.
    pub fn users(&self) -> BTreeMap<String, Value> {
        let existing = self.users.iter().filter(|(_, user)| user["exists"] == true);
        existing.map(|(identity, user)| (identity.clone(), reachability(user))).collect()
    }
}

fn reachability(user: &Value) -> Value {
    json!([user["is_online"], user["is_notifiable"]])
}

/// The users of a service, as the list of users shows them, with `is_online` and `is_notifiable`.
pub async fn shown(client: &Client, service: &str) -> BTreeMap<String, Value> {
    let mut shown = BTreeMap::new();
    let mut next = Value::from(format!("/v1/Services/{service}/Users?Reachability=true"));
    while let Some(url) = next.as_str() {
        let page = client.get(url).await;
        for user in page["users"].as_array().unwrap_or_else(|| panic!("{url}: {page}")) {
            shown.insert(user["identity"].as_str().unwrap().to_owned(), reachability(user));
        }
        next = page["meta"]["next_page_url"].clone();
    }
    shown
}
