//! Two years of a real channel's joins and quits, against the model: through `replay`, and through the HTTP API.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reachability_domain::presence::event::Event;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::harness::SETTINGS;
use reachability_tests::model::{Settings, Truth};
use reachability_tests::recording::{lines, moved, shuffled, truths};
use reachability_tests::server::Server;
use serde_json::Value;

fn replay(input: &[String], arguments: &[&str]) -> BTreeMap<String, Truth> {
    let outcome = run(&mut reachability(&[&["replay", "-"], arguments].concat()), input.join("\n").as_bytes());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome
        .stdout
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
        // At the event, within the grace period of a connection lost then, and after it.
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

#[tokio::test]
async fn events_sent_over_http_lead_to_the_truth() {
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
            assert_eq!(
                answer,
                serde_json::json!({ "accepted": batch.len(), "refused": [], "reachability_enabled": true })
            );
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
