//! The recorded logs of `tests/replays`, with expectations at certain times.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::store::Store;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::Event;
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::time::Timestamp;
use serde::Deserialize;

use crate::harness::Harness;
use crate::model::Settings;

/// The settings that the logs were recorded with.
pub const SETTINGS: Settings = Settings { grace: 10_000, lease: Some(900_000) };

/// A line of a log.
#[derive(Debug, Clone)]
pub enum Line {
    /// An event.
    Event(Event),
    /// The service's reachability was switched.
    Switch(bool),
    /// An expectation.
    Expect(Expectation),
}

/// What is true from a certain time on, for at least a few seconds.
#[derive(Debug, Clone, Deserialize)]
pub struct Expectation {
    /// The time.
    #[serde(deserialize_with = "time")]
    pub at: Timestamp,
    /// Whether these users are online. Users who do not exist have `None`.
    pub users: BTreeMap<String, Option<bool>>,
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Marker {
    Switch { reachability_enabled: bool },
    Expect(Expectation),
}

/// All logs, by name.
pub fn all() -> BTreeMap<String, Vec<Line>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("replays");
    let mut logs = BTreeMap::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(&path).unwrap();
            logs.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), text.lines().map(line).collect());
        }
    }
    logs
}

fn line(text: &str) -> Line {
    match serde_json::from_str(text) {
        Ok(Marker::Switch { reachability_enabled }) => Line::Switch(reachability_enabled),
        Ok(Marker::Expect(expectation)) => Line::Expect(expectation),
        Err(_) => Line::Event(Event::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))),
    }
}

/// Runs each log on a new store. Each event is delivered at the time at which it occurred, or right after the one
/// before it.
pub async fn run<F: Future<Output = Arc<dyn Store>>>(fresh: impl Fn() -> F) {
    for (name, log) in all() {
        let harness = Harness::new(fresh().await, SETTINGS);
        let service = ServiceSid::from_bits(1);
        harness.switch(service, true).await;
        let mut now = i64::MIN;
        for line in log {
            match line {
                Line::Event(event) => {
                    now = now.max(event.occurred_at.as_millis());
                    harness.deliver(&[event], now).await;
                }
                Line::Switch(on) => harness.switch(service, on).await,
                Line::Expect(Expectation { at, users }) => {
                    for (identity, online) in users {
                        let user = UserKey { service, identity: identity.parse().unwrap() };
                        for later in [0, 4_000] {
                            let read = harness.read(&user, at.as_millis() + later).await.online;
                            assert_eq!(read, online, "{name}: {identity} {later} ms after {at:?}");
                        }
                    }
                }
            }
        }
    }
}
