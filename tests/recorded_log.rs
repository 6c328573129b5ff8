//! Two years of a real channel's joins and quits, against the model: through `replay`, and through the HTTP door.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reachability_domain::event::Event;
use reachability_domain::identity::UserKey;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::model::{Model, Settings, Truth};
use reachability_tests::server::{Server, binary};
use reachability_tests::stage::SETTINGS;
use serde_json::Value;

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/irc-presence.jsonl.gz");

fn lines() -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(LOG).unwrap()).read_to_string(&mut text).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 25_657);
    lines
}

/// Every line once, every fourth twice, in an order that is the same in every run.
fn shuffled(lines: &[String]) -> Vec<String> {
    let twice = lines.iter().chain(lines.iter().step_by(4)).cloned().collect::<Vec<_>>();
    Just(twice).prop_shuffle().new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

/// What the model says of everybody at a time, when only events up to it have happened.
fn truths(lines: &[String], settings: Settings, at: i64) -> BTreeMap<String, Truth> {
    let events = lines.iter().map(|line| Event::parse(line.as_bytes()).unwrap());
    let mut users: BTreeMap<UserKey, Model> = BTreeMap::new();
    for event in events.filter(|event| event.occurred_at.as_millis() <= at) {
        // A model of each user's own, since it looks through all that it knows.
        let model = users.entry(event.user.clone()).or_insert_with(|| {
            let mut model = Model::new(settings);
            model.switch(event.user.service, true);
            model
        });
        model.arrive(&event);
    }
    users.iter().map(|(user, model)| (user.identity.to_string(), model.truth(user, at))).collect()
}

fn replay(input: &[String], arguments: &[&str]) -> BTreeMap<String, Truth> {
    let mut child = Command::new(binary())
        .args(["replay", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.join("\n");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let result = String::from_utf8(output.stdout).unwrap();
    result
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["is_notifiable"], Value::Null);
            let last_active = line["last_active"].as_str().map(|time| time.parse::<Timestamp>().unwrap().as_millis());
            (line["identity"].as_str().unwrap().to_owned(), Truth { online: line["is_online"].as_bool(), last_active })
        })
        .collect()
}

#[test]
fn a_replay_tells_the_truth_at_any_time() {
    let lines = lines();
    let shuffled = shuffled(&lines);
    let unlimited = Settings { lease: None, ..SETTINGS };
    let times: Vec<i64> = lines
        .iter()
        .step_by(3_000)
        .map(|line| Event::parse(line.as_bytes()).unwrap().occurred_at.as_millis())
        .collect();
    let mut online = 0;
    for at in times {
        // On the second, in the grace period of whoever has just been lost, and after it.
        for at in [at, at + 5_000, at + 10_000] {
            let truths = truths(&lines, unlimited, at);
            let time = Timestamp::from_millis(at).to_string();
            assert_eq!(replay(&lines, &["--at", &time]), truths, "at {time}");
            assert_eq!(replay(&shuffled, &["--at", &time]), truths, "at {time}, shuffled");
            online += truths.values().filter(|truth| truth.online == Some(true)).count();
        }
    }
    assert!(online > 100, "it would be no test if nobody were online");
}

#[test]
fn a_replay_tells_the_truth_with_leases() {
    let lines = lines();
    let shuffled = shuffled(&lines);
    let last = lines.iter().map(|line| Event::parse(line.as_bytes()).unwrap().occurred_at.as_millis()).max().unwrap();
    for seconds in [1, 3_600, 86_400, 864_000] {
        let truths = truths(&lines, Settings { lease: Some(seconds * 1_000), ..SETTINGS }, last + SETTINGS.grace);
        assert_eq!(truths.len(), 409);
        let argument = seconds.to_string();
        assert_eq!(replay(&lines, &["--lease-seconds", &argument]), truths);
        assert_eq!(replay(&shuffled, &["--lease-seconds", &argument]), truths);
    }
}

/// The log moved so that it ended a minute ago, with leases of ten years, for a service.
fn moved(lines: &[String], service: &str) -> Vec<String> {
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

#[tokio::test]
async fn the_door_leads_to_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let lines = lines();

    for shuffle in [false, true] {
        let service = client.enabled_service().await;
        let moved = moved(&lines, &service);
        let truths = truths(&moved, Settings { lease: None, ..SETTINGS }, clock::now().as_millis());
        let expected: BTreeMap<String, Option<bool>> =
            truths.into_iter().map(|(identity, truth)| (identity, truth.online)).collect();
        assert_eq!(expected.len(), 409);

        let delivered = if shuffle { shuffled(&moved) } else { moved };
        for (n, batch) in delivered.chunks(1_500).enumerate() {
            let body = if n % 2 == 0 { batch.join("\n") } else { format!("[{}]", batch.join(",")) };
            let answer = client.post(&format!("/v1/Services/{service}/Events"), body).await;
            assert_eq!(answer, serde_json::json!({ "accepted": batch.len(), "refused": [] }));
        }
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut found = client.everybody(&service).await;
        while found != expected && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            found = client.everybody(&service).await;
        }
        assert_eq!(found, expected, "shuffled: {shuffle}");
        for (identity, online) in expected.iter().step_by(20) {
            let user = client.get(&format!("/v1/Services/{service}/Users/{identity}")).await;
            assert_eq!(user["is_online"].as_bool(), *online, "{identity}");
        }
    }
}
