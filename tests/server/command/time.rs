//! Grace periods and leases, as time passes.

use std::time::Duration;

use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::events;
use reachability_tests::server::{PATIENCE, Server};
use reqwest::Method;
use serde_json::{Value, json};

use super::{hand_in, stop};

/// Whether the user is online, with the times before and after the question.
async fn is_online(client: &Client, service: &str) -> (Duration, Value, Duration) {
    let before = now();
    let (_, user) = client.send(Method::GET, &format!("/v1/Services/{service}/Users/alice"), &[]).await;
    (before, user["is_online"].clone(), now())
}

fn now() -> Duration {
    Duration::from_millis(clock::now().as_millis().try_into().unwrap())
}

/// Sends an event of alice that occurs now. Returns its time.
async fn happens_now(client: &Client, service: &str, kind: &str, more: &Value) -> Duration {
    let at = clock::now();
    let mut event = events::event(service, "alice", kind);
    event["occurred_at"] = json!(at.to_string());
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    hand_in(client, &event).await;
    Duration::from_millis(at.as_millis().try_into().unwrap())
}

#[tokio::test]
async fn a_lost_connection_counts_until_the_grace_period_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--grace-seconds", "1"], |command| {
        command.env("REACHABILITY_GRACE_SECONDS", "3600");
    });
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let connected = happens_now(&client, &service, "connect", &json!({})).await;
    while is_online(&client, &service).await.1 != true {
        assert!(now() < connected + PATIENCE, "nobody comes online");
    }
    let lost = happens_now(&client, &service, "disconnect", &json!({ "reason": "connection_lost" })).await;
    loop {
        let (_, online, after) = is_online(&client, &service).await;
        if online == false {
            assert!(after >= lost + Duration::from_secs(1), "offline too early");
            break;
        }
        assert_eq!(online, true);
        assert!(after < lost + PATIENCE, "online for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop(server);
}

#[tokio::test]
async fn an_unrenewed_connection_counts_until_its_lease_runs_out() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[], |command| {
        command.env("REACHABILITY_LEASE_SECONDS", "2");
    });
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    // A lease in the event takes precedence over the setting.
    for (more, seconds) in [(json!({}), 2), (json!({ "lease_seconds": 1 }), 1)] {
        client.send(Method::DELETE, &format!("/v1/Services/{service}/Users/alice"), &[]).await;
        // A connect in the millisecond of the deletion counts as from before it.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut more = more;
        more["connection_id"] = json!(format!("c-{seconds}"));
        let connected = happens_now(&client, &service, "connect", &more).await;
        let runs_out = connected + Duration::from_secs(seconds);
        loop {
            let (before, online, after) = is_online(&client, &service).await;
            if online == true {
                assert!(before < runs_out, "still online");
            } else if online == false {
                assert!(after >= runs_out, "offline too early");
                break;
            }
            // Until the event is handled, `is_online` is null.
            assert!(after < connected + PATIENCE, "nobody was ever online");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop(server);
}
