//! Two years of a real channel's joins and quits.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::Event;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use serde_json::Value;

use crate::model::{Model, Settings, Truth};

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/irc-presence.jsonl.gz");

/// The recorded events, one per line.
pub fn lines() -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(LOG).unwrap()).read_to_string(&mut text).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 25_657);
    lines
}

/// The lines shuffled, every fourth of them twice. The order is the same in every run.
pub fn shuffled(lines: &[String]) -> Vec<String> {
    let twice = lines.iter().chain(lines.iter().step_by(4)).cloned().collect::<Vec<_>>();
    Just(twice).prop_shuffle().new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

/// What the model says of all users at a time, from the events until then.
pub fn truths(lines: &[String], settings: Settings, at: i64) -> BTreeMap<String, Truth> {
    let events = lines.iter().map(|line| Event::parse(line.as_bytes()).unwrap());
    let mut users: BTreeMap<UserKey, Model> = BTreeMap::new();
    for event in events.filter(|event| event.occurred_at.as_millis() <= at) {
        // One model per user, since a model goes through all its events for each question.
        let model = users.entry(event.user.clone()).or_insert_with(|| {
            let mut model = Model::new(settings);
            model.switch(event.user.service, true);
            model
        });
        model.arrive(&event);
    }
    users.iter().map(|(user, model)| (user.identity.to_string(), model.truth(user, at))).collect()
}

/// The log of a service, moved so that it ended a minute ago, with leases of ten years.
pub fn moved(lines: &[String], service: &str) -> Vec<String> {
    let events: Vec<Event> = lines.iter().map(|line| Event::parse(line.as_bytes()).unwrap()).collect();
    let last = events.iter().map(|event| event.occurred_at).max().unwrap();
    let later = clock::now().as_millis() - last.as_millis() - 60_000;
    lines
        .iter()
        .zip(events)
        .map(|(line, event)| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line["service_sid"] = service.into();
            line["occurred_at"] = Timestamp::from_millis(event.occurred_at.as_millis() + later).to_string().into();
            if line["type"] == "connect" {
                line["lease_seconds"] = 315_360_000.into();
            }
            line.to_string()
        })
        .collect()
}
