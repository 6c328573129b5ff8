//! Makes what is seen in two services comparable: the same things have the same names, and a time is the step in which it lies.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reqwest::Url;
use serde_json::Value;

/// Revisions of users are below this, and what orders them among the switches of their service is above it.
const REVISIONS: i64 = 1 << 40;

/// Where revisions begin in such a number: 2026-01-01T00:00:00Z.
const FIRST_REVISION: i64 = 1_767_225_600_000;

const DAY: i64 = 86_400_000;

/// While a user is online, it is shown as active at quarters of an hour.
const QUARTER: i64 = 15 * 60 * 1_000;

/// What the sids of a service mean, and when the steps of its story began.
#[derive(Debug)]
pub(super) struct Names {
    /// By the digits of a sid: the same names a user and its map.
    sids: BTreeMap<String, &'static str>,
    starts: Vec<Timestamp>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { sids: BTreeMap::new(), starts: vec![clock::now()] }
    }

    /// Calls what has this sid so.
    pub(super) fn call(&mut self, sid: &str, name: &'static str) {
        self.sids.insert(sid[2..].to_owned(), name);
    }

    /// The next step begins.
    pub(super) fn begin(&mut self) {
        self.starts.push(clock::now());
    }

    /// When the latest step began, and one in the middle of the story.
    pub(super) fn times(&self) -> (Timestamp, Timestamp) {
        (self.starts[self.starts.len() - 1], self.starts[self.starts.len() / 2])
    }

    /// The same for what is the same.
    pub(super) fn normal(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.normal(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Array(items) => {
                let mut normal: Vec<Value> = items.iter().map(|item| self.normal(item)).collect();
                // In the order of sids, which are random.
                if items.iter().all(|item| item["sid"].is_string()) {
                    normal.sort_by_key(Value::to_string);
                }
                // Changes of different users at once have no order.
                if items.iter().all(|item| item["generation"].is_number()) {
                    normal.sort_by_key(|change| change["identity"].to_string());
                }
                normal.into()
            }
            Value::Number(number) => {
                number.as_i64().and_then(|number| self.number(number)).map_or(value.clone(), Value::from)
            }
            Value::String(text) => self.text(text).into(),
            Value::Bool(_) | Value::Null => value.clone(),
        }
    }

    fn number(&self, number: i64) -> Option<String> {
        if self.is_time(number) {
            return Some(self.step(number));
        }
        let revision = number % REVISIONS + FIRST_REVISION;
        (number > REVISIONS && self.is_time(revision))
            .then(|| format!("{} {}", number / REVISIONS, self.step(revision)))
    }

    fn is_time(&self, millis: i64) -> bool {
        (millis - self.starts[0].as_millis()).abs() < DAY
    }

    fn step(&self, millis: i64) -> String {
        if millis % QUARTER == 0 {
            return "a quarter of an hour".to_owned();
        }
        match self.starts.iter().rposition(|start| start.as_millis() <= millis) {
            Some(step) => format!("step {step}"),
            None => "before".to_owned(),
        }
    }

    fn text(&self, text: &str) -> String {
        if let Ok(time) = text.parse::<Timestamp>() {
            // A step is shorter than a second.
            return if text.contains('.') { self.step(time.as_millis()) } else { "a second".to_owned() };
        }
        if let Some(number) = text.parse().ok().and_then(|number| self.number(number)) {
            return number;
        }
        if let Some(cursor) = decoded(text) {
            return self.normal(&cursor).to_string();
        }
        if let Some(url) = Url::parse(text).ok().filter(|url| url.query().is_some()) {
            let value = |value: &str| match serde_json::from_str(value) {
                Ok(json) => self.normal(&json).to_string(),
                Err(_) => self.text(value),
            };
            let query: Vec<String> = url.query_pairs().map(|(name, it)| format!("{name}={}", value(&it))).collect();
            return format!("{}?{}", self.without_sids(url.path()), query.join("&"));
        }
        self.without_sids(text)
    }

    fn without_sids(&self, text: &str) -> String {
        let mut rest = text;
        let mut named = String::new();
        while let Some(at) = (0..rest.len()).find(|at| is_sid(&rest.as_bytes()[*at..])) {
            named.push_str(&rest[..at + 2]);
            named.push_str(self.sids.get(&rest[at + 2..at + 34]).unwrap_or(&"…"));
            rest = &rest[at + 34..];
        }
        named + rest
    }
}

fn is_sid(bytes: &[u8]) -> bool {
    bytes.len() >= 34 && bytes[..2].iter().all(u8::is_ascii_uppercase) && bytes[2..34].iter().all(u8::is_ascii_hexdigit)
}

/// What a cursor is made of.
fn decoded(text: &str) -> Option<Value> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&json).ok().filter(Value::is_object)
}

/// Where two values differ; `None`: nowhere.
pub(super) fn difference(one: &Value, two: &Value) -> Option<String> {
    let below = |key: &str, one: &Value, two: &Value| difference(one, two).map(|found| format!("{key} {found}"));
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            let keys: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            let of = |fields: &serde_json::Map<String, Value>, key| fields.get(key).cloned().unwrap_or_default();
            keys.into_iter().find_map(|key| below(key, &of(one, key), &of(two, key)))
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            one.iter().zip(two).enumerate().find_map(|(index, (one, two))| below(&index.to_string(), one, two))
        }
        _ => (one != two).then(|| format!("{one} {two}")),
    }
}
