//! A user exists after a connect and a disconnect in either order, whether reachability is on or off; and again after a
//! deletion.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::time::Duration;

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::changes::{Known, changes_after, shown};
use reachability_tests::client::Client;
use reachability_tests::events;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

fn event(service: &str, identity: &str, kind: &str, at: Timestamp) -> Value {
    let mut event = events::event(service, identity, kind);
    event["occurred_at"] = json!(at.to_string());
    event
}

/// Sends these events, and then one of another user, who is waited for: the queue keeps the order.
async fn send(client: &Client, service: &str, events: &[Value], marker: &str) {
    let path = format!("/v1/Services/{service}/Events");
    client.post(&path, Value::from(events.to_vec()).to_string()).await;
    client.post(&path, events::event(service, marker, "connect").to_string()).await;
    let marked = async || shown(client, service).await.contains_key(marker).then_some(());
    wait("the events are handled", marked).await;
}

/// A new service whose reachability is on, or was and is off.
async fn service_that_is(client: &Client, is_on: bool) -> String {
    let service = client.enabled_service().await;
    if !is_on {
        client.post(&format!("/v1/Services/{service}/Configuration"), "ReachabilityEnabled=false").await;
    }
    service
}

#[tokio::test]
async fn a_user_exists_after_its_events_in_either_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    for is_on in [true, false] {
        let service = service_that_is(&client, is_on).await;
        let now = clock::now();
        let opening = |identity, kind| event(&service, identity, kind, now);
        let end = |identity| event(&service, identity, "disconnect", now.plus(Duration::from_millis(1)));
        let batches = [
            vec![opening("together", "connect"), end("together")],
            vec![end("together-reversed"), opening("together-reversed", "connect")],
            vec![opening("apart", "connect"), end("apart-reversed")],
            vec![end("apart"), opening("apart-reversed", "connect")],
            vec![end("renewed"), end("only-ended")],
            vec![opening("renewed", "renew")],
        ];
        for (n, batch) in batches.iter().enumerate() {
            send(&client, &service, batch, &format!("marker-{n}")).await;
        }
        let mut found = shown(&client, &service).await;
        let (_, cursor) = changes_after(&client, &service, None).await;
        let markers = found.extract_if(.., |identity, _| identity.starts_with("marker"));
        let online = if is_on { json!([true, null]) } else { json!([null, null]) };
        assert!(markers.map(|(_, value)| value).all(|value| value == online), "{is_on}");
        let offline = if is_on { json!([false, null]) } else { json!([null, null]) };
        let expected = ["together", "together-reversed", "apart", "apart-reversed", "renewed"];
        assert_eq!(found, expected.map(|identity| (identity.to_owned(), offline.clone())).into(), "{is_on}");

        let read = changes_after(&client, &service, None).await.0;
        assert_eq!(Known::of(&read).users(), shown(&client, &service).await);
        for change in read.iter().filter(|change| change["exists"] == true && change["before"]["exists"] == false) {
            assert_eq!(change["reasons"]["exists"], "connect", "{change}");
        }
        // The same again changes nothing.
        for (n, batch) in batches.iter().enumerate() {
            send(&client, &service, batch, &format!("again-{n}")).await;
        }
        let (more, _) = changes_after(&client, &service, Some(cursor)).await;
        assert!(more.iter().all(|change| change["identity"].as_str().unwrap().starts_with("again")), "{more:?}");
    }
}

#[tokio::test]
async fn only_later_events_bring_a_deleted_user_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    for is_on in [true, false] {
        let service = service_that_is(&client, is_on).await;
        let alice = format!("/v1/Services/{service}/Users/alice");
        let path = format!("/v1/Services/{service}/Events");
        let before = clock::now();
        client.post(&path, event(&service, "alice", "connect", before).to_string()).await;
        let sid = async || client.get(&alice).await["sid"].as_str().map(str::to_owned);
        let old = wait("she is there", sid).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let between = clock::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.delete(&alice).await;

        // Late and repeated events, of old connections and of new ones.
        let mut late = vec![event(&service, "alice", "connect", before), event(&service, "alice", "renew", between)];
        for id in ["c-2", "c-3"] {
            let mut other = event(&service, "alice", "connect", between);
            other["connection_id"] = json!(id);
            late.push(other);
        }
        send(&client, &service, &late, "marker").await;
        assert_eq!(client.send(Method::GET, &alice, &[]).await.0, 404, "{is_on}");

        tokio::time::sleep(Duration::from_millis(5)).await;
        client.post(&path, event(&service, "alice", "renew", clock::now()).to_string()).await;
        assert_ne!(wait("she is back", sid).await, old, "{is_on}");
        assert_eq!(client.get(&alice).await["is_online"], if is_on { json!(true) } else { Value::Null });
        // What was said before the deletion still does not count.
        send(&client, &service, &late, "another-marker").await;
        let mut end = event(&service, "alice", "disconnect", clock::now());
        end["connection_id"] = json!("c-2");
        send(&client, &service, &[end], "a-third-marker").await;
        assert_eq!(client.get(&alice).await["is_online"], if is_on { json!(true) } else { Value::Null });
        let of_alice = client.get(&format!("/v1/Services/{service}/Changes?Identity=alice")).await;
        let exists: Vec<&Value> = of_alice["changes"].as_array().unwrap().iter().map(|it| &it["exists"]).collect();
        assert_eq!(exists, [true, false, true], "{is_on}: {of_alice}");
    }
}
