//! The fanout: the changes in a table's stream, and what happens to them if they cannot be published.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;

use aws_sdk_sns::Client;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::Services;
use reachability_domain::metrics::Counter;
use reachability_domain::push::message::{Announce, PushMessage, Span};
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sns::Topic;
use reachability_lambda::stream::{Batch, BatchResponse, handle};
use reachability_tests::aws;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::external::ports;
use reachability_tests::generate::service;
use reachability_tests::harness::{Harness, Kept, SETTINGS};
use reachability_worker::Fanout;
use serde_json::{Value, json};

const SERVICE: &str = "IS00000000000000000000000000000001";

/// A state at this time, with a connection that lives for two minutes.
fn state(revision: u64, generation: u32, as_of: u64) -> Value {
    json!({
        "pk": { "S": format!("state#{SERVICE}#alice") }, "sk": { "S": "state" },
        "sid": { "S": "US00000000000000000000000000000001" },
        "rev": { "N": revision.to_string() }, "as_of": { "N": as_of.to_string() },
        "gen": { "N": generation.to_string() }, "active": { "N": "1000" },
        "c#c-1": { "M": { "a": { "N": "1000" }, "l": { "N": "121000" } } },
        "of a later version": { "S": "x" },
    })
}

fn record(number: u64, pk: &str, old: Option<Value>, new: Option<Value>) -> Value {
    let mut images =
        json!({ "Keys": { "pk": { "S": pk }, "sk": { "S": "state" } }, "SequenceNumber": number.to_string() });
    for (name, image) in [("OldImage", old), ("NewImage", new)] {
        if let Some(image) = image {
            images[name] = image;
        }
    }
    json!({ "eventID": number.to_string(), "eventName": "MODIFY", "dynamodb": images })
}

/// A fanout, with a client of its topic and its metrics.
async fn fanout(endpoint: &str, enabled: bool) -> (Fanout, Client, Arc<EmfMetrics>) {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    harness.switch(service(1), enabled).await;
    let client = Client::new(&aws::config(endpoint).await);
    let services: Arc<dyn Services> = harness.store.clone();
    let topic = Topic::new(client.clone(), "arn:aws:sns:us-east-1:000000000000:changes".to_owned());
    let (pushes, metrics) = (Arc::new(Kept::default()), Arc::new(EmfMetrics::default()));
    (Fanout { services, pushes, sink: Arc::new(topic), metrics: metrics.clone() }, client, metrics)
}

fn batch(records: &[Value]) -> Batch {
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

fn failed(number: &str) -> Value {
    json!({ "batchItemFailures": [{ "itemIdentifier": number }] })
}

fn answer(response: &BatchResponse) -> Value {
    serde_json::to_value(response).unwrap()
}

#[tokio::test]
async fn changes_are_published_and_counted() {
    let (fanout, client, metrics) = fanout(&MiniStack::shared().url(), true).await;
    client.create_topic().name("changes").send().await.unwrap();
    let pk = format!("state#{SERVICE}#alice");
    let records = [
        // A new user.
        record(1, &pk, None, Some(state(1, 1, 1_000))),
        // A renewal: no visible change.
        record(2, &pk, Some(state(1, 1, 1_000)), Some(state(2, 1, 60_000))),
        // The end of the lease.
        record(3, &pk, Some(state(2, 1, 60_000)), Some(state(3, 1, 121_000))),
        // Records of another service, of an earlier generation, of a profile, and of an unknown kind.
        record(4, "state#IS00000000000000000000000000000009#bob", None, Some(state(1, 1, 1_000))),
        record(5, &pk, None, Some(state(1, 0, 1_000))),
        record(6, &format!("user#{SERVICE}#3"), None, Some(json!({ "pk": { "S": "x" } }))),
        record(7, "something else", None, None),
        // Records that cannot be read delay nothing.
        record(8, &pk, None, Some(json!({ "rev": { "S": "one" } }))),
        record(9, "services", None, Some(json!({ "sid": { "S": "none" } }))),
        // The state of a deleted user is removed.
        record(10, &pk, Some(state(3, 1, 60_000)), None),
    ];
    assert_eq!(answer(&handle(&fanout, batch(&records)).await), json!({ "batchItemFailures": [] }));
    let counts = [Counter::ChangesOnline, Counter::ChangesOffline, Counter::ChangesUnknown];
    assert_eq!(counts.map(|counter| metrics.counted(counter)), [1, 1, 0]);
}

#[tokio::test]
async fn nothing_is_published_while_reachability_is_off() {
    let (fanout, ..) = fanout(&format!("http://127.0.0.1:{}", ports::free()), false).await;
    let records = [record(1, &format!("state#{SERVICE}#alice"), None, Some(state(1, 1, 1_000)))];
    // It would fail if it tried to publish.
    assert_eq!(answer(&handle(&fanout, batch(&records)).await), json!({ "batchItemFailures": [] }));
}

#[tokio::test]
async fn changes_that_cannot_be_published_are_delivered_again() {
    let (fanout, _, metrics) = fanout(&format!("http://127.0.0.1:{}", ports::free()), true).await;
    let pk = format!("state#{SERVICE}#alice");
    let records = [
        record(1, &pk, Some(state(1, 1, 1_000)), Some(state(2, 1, 60_000))),
        record(2, &pk, None, Some(state(1, 1, 1_000))),
        record(3, &pk, Some(state(2, 1, 60_000)), Some(state(3, 1, 121_000))),
    ];
    // The batch is repeated from the first record with a change.
    assert_eq!(answer(&handle(&fanout, batch(&records)).await), failed("2"));
    assert_eq!(metrics.counted(Counter::ChangesOnline), 0);
}

/// The fanout queues the announcement of the registrations, which the pusher then makes.
#[tokio::test]
async fn switching_on_has_registrations_announced() {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    let configured = async |on: bool| {
        harness.switch(service(1), on).await;
        let service = harness.store.service(service(1)).await.unwrap().unwrap();
        let item: serde_dynamo::Item = serde_dynamo::to_item(service).unwrap();
        serde_json::to_value(item).unwrap()
    };
    let (off, on) = (configured(false).await, configured(true).await);
    let (mut fanout, client, _) = fanout(&MiniStack::shared().url(), true).await;
    client.create_topic().name("changes").send().await.unwrap();
    let queue = Arc::new(Kept::default());
    fanout.pushes = queue.clone();
    let announced = async |before: Option<&Value>, after: Option<&Value>| {
        handle(&fanout, batch(&[record(1, "services", before.cloned(), after.cloned())])).await;
        queue.take()
    };
    let announce = Announce { service: service(1), generation: Generation(1), span: Span::default() };
    assert_eq!(announced(Some(&off), Some(&on)).await, [PushMessage::Announce(announce)]);
    for (before, after) in [(Some(&on), Some(&off)), (Some(&on), Some(&on)), (None, Some(&off)), (Some(&on), None)] {
        assert_eq!(announced(before, after).await, []);
    }
}
