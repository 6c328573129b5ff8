//! The fanout: the changes in a table's stream, and what happens to them if they cannot be published.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_sdk_sns::Client;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::sink::{Sink, SinkError};
use reachability_domain::push::message::{Announce, AnnounceUser, Probe, ProbeCause, PushMessage};
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
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

/// The state of alice, whom a connect has created, at this time, with a connection that lives for two minutes.
fn state(revision: u64, generation: u32, as_of: u64) -> Value {
    json!({
        "pk": { "S": format!("state#{SERVICE}#alice") }, "sk": { "S": "state" },
        "sid": { "S": "US00000000000000000000000000000001" }, "by": { "S": "connect" },
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

/// The profile of alice.
fn profile(friendly_name: Option<&str>, version: u64, revision: u64) -> Value {
    let key = UserKey { service: service(1), identity: "alice".parse().unwrap() };
    let user = User::new(Sid::from_bits(1), key, Some(Sid::from_bits(2)), Timestamp::from_millis(1_000));
    let (friendly_name, date_updated) = (friendly_name.map(str::to_owned), Timestamp::from_millis(2_000));
    let item: serde_dynamo::Item =
        serde_dynamo::to_item(User { friendly_name, version, revision, date_updated, ..user }).unwrap();
    serde_json::to_value(item).unwrap()
}

/// Keeps what is published.
#[derive(Default)]
struct Published(Mutex<Vec<Value>>);

#[async_trait]
impl Sink for Published {
    async fn tell(&self, notices: &[Notice]) -> Result<(), SinkError> {
        let messages = notices.iter().map(|notice| serde_json::from_str(&notice.to_json()).unwrap());
        self.0.lock().unwrap().extend(messages);
        Ok(())
    }
}

impl Published {
    /// Removes and returns all messages.
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A fanout, with a client of its topic and its metrics.
async fn fanout(endpoint: &str, enabled: bool) -> (Fanout, Client, Arc<EmfMetrics>) {
    let harness = Harness::new(Arc::new(MemoryStore::default()), SETTINGS);
    harness.switch(service(1), enabled).await;
    let client = Client::new(&aws::config(endpoint).await);
    let services: Arc<dyn Services> = harness.store.clone();
    let topic = Topic::new(client.clone(), "arn:aws:sns:us-east-1:000000000000:changes".to_owned());
    let (pushes, metrics) = (Arc::new(Kept::default()), Arc::new(EmfMetrics::default()));
    (
        Fanout { services, pushes, sinks: vec![Arc::new(topic)], webhooks: None, metrics: metrics.clone() },
        client,
        metrics,
    )
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
    let (mut fanout, client, metrics) = fanout(&MiniStack::shared().url(), true).await;
    client.create_topic().name("changes").send().await.unwrap();
    let published = Arc::new(Published::default());
    fanout.sinks.push(published.clone());
    let (pk, profiles) = (format!("state#{SERVICE}#alice"), format!("user#{SERVICE}#1"));
    let deleted = json!({ "rev": { "N": "5" }, "as_of": { "N": "130000" }, "del": { "N": "130000" } });
    let records = [
        // A new user.
        record(1, &pk, None, Some(state(1, 1, 1_000))),
        record(2, &profiles, None, Some(profile(None, 0, 0))),
        // A renewal: no visible change.
        record(3, &pk, Some(state(1, 1, 1_000)), Some(state(2, 1, 60_000))),
        // A change of the profile, and one that nobody sees.
        record(4, &profiles, Some(profile(None, 0, 0)), Some(profile(Some("Alice"), 1, 3))),
        record(5, &profiles, Some(profile(Some("Alice"), 1, 3)), Some(profile(Some("Alice"), 2, 4))),
        // The end of the lease.
        record(6, &pk, Some(state(2, 1, 60_000)), Some(state(4, 1, 121_000))),
        // Records of another service, of an earlier generation, and of an unknown kind.
        record(7, "state#IS00000000000000000000000000000009#bob", None, Some(state(1, 1, 1_000))),
        record(8, &pk, Some(state(1, 0, 1_000)), Some(state(2, 0, 121_000))),
        record(9, "something else", None, None),
        // Records that cannot be read delay nothing.
        record(10, &pk, None, Some(json!({ "rev": { "S": "one" } }))),
        record(11, "services", None, Some(json!({ "sid": { "S": "none" } }))),
        record(12, &profiles, Some(profile(None, 0, 0)), Some(json!({ "sid": { "S": "none" } }))),
        // The user is deleted. Its state is removed later.
        record(13, &pk, Some(state(4, 1, 121_000)), Some(deleted.clone())),
        record(14, &profiles, Some(profile(Some("Alice"), 2, 4)), None),
        record(15, &pk, Some(deleted), None),
    ];
    assert_eq!(answer(&handle(&fanout, batch(&records)).await), json!({ "batchItemFailures": [] }));
    let counts = [Counter::ChangesOnline, Counter::ChangesOffline, Counter::ChangesUnknown];
    assert_eq!(counts.map(|counter| metrics.counted(counter)), [1, 1, 1]);

    let (user, role) = ("US00000000000000000000000000000001", "RL00000000000000000000000000000002");
    let nobody = json!({ "exists": false, "is_online": null, "is_notifiable": null });
    let expected = [
        json!({
            "type": "user", "service_sid": SERVICE, "identity": "alice", "user_sid": user,
            "exists": true, "is_online": true, "is_notifiable": null, "before": nobody,
            "reasons": { "exists": "connect", "is_online": "connect" },
            "at": "1970-01-01T00:00:01.000Z", "revision": 1, "generation": 1,
        }),
        json!({
            "type": "profile", "service_sid": SERVICE, "identity": "alice", "user_sid": user,
            "profile": { "friendly_name": "Alice", "attributes": "{}", "role_sid": role },
            "before": { "friendly_name": null, "attributes": "{}", "role_sid": role },
            "reason": "profile", "at": "1970-01-01T00:00:02.000Z", "revision": 3, "generation": 1,
        }),
        json!({
            "type": "user", "service_sid": SERVICE, "identity": "alice", "user_sid": user,
            "exists": true, "is_online": false, "is_notifiable": null,
            "before": { "exists": true, "is_online": true, "is_notifiable": null },
            "reasons": { "is_online": "lease_ended" },
            "at": "1970-01-01T00:02:01.000Z", "revision": 4, "generation": 1,
        }),
        json!({
            "type": "user", "service_sid": SERVICE, "identity": "alice", "user_sid": user,
            "exists": false, "is_online": null, "is_notifiable": null,
            "before": { "exists": true, "is_online": false, "is_notifiable": null },
            "reasons": { "exists": "deleted", "is_online": "deleted" },
            "at": "1970-01-01T00:02:10.000Z", "revision": 5, "generation": 1,
        }),
    ];
    assert_eq!(published.take(), expected);
}

#[tokio::test]
async fn no_reachability_is_published_while_it_is_off() {
    let (mut fanout, ..) = fanout(&MiniStack::shared().url(), false).await;
    let published = Arc::new(Published::default());
    fanout.sinks = vec![published.clone()];
    let pk = format!("state#{SERVICE}#alice");
    let records = [
        record(1, &pk, None, Some(state(1, 1, 1_000))),
        record(2, &pk, Some(state(1, 1, 1_000)), Some(state(2, 1, 121_000))),
    ];
    assert_eq!(answer(&handle(&fanout, batch(&records)).await), json!({ "batchItemFailures": [] }));
    let told = published.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["reasons"], json!({ "exists": "connect" }), "{told:?}");
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
    let (new, on, off) = (configured(false).await, configured(true).await, configured(false).await);
    let (mut fanout, ..) = fanout(&MiniStack::shared().url(), true).await;
    let (queue, published) = (Arc::new(Kept::default()), Arc::new(Published::default()));
    fanout.pushes = queue.clone();
    fanout.sinks = vec![published.clone()];
    let write = async |before: Option<&Value>, after: Option<&Value>| {
        let response = handle(&fanout, batch(&[record(1, "services", before.cloned(), after.cloned())])).await;
        assert!(response.batch_item_failures.is_empty());
        (queue.take(), published.take())
    };
    let switched = |(was, before): (bool, u32), (is, generation): (bool, u32), reason: &str, at: Option<&str>| {
        json!({
            "type": "service", "service_sid": SERVICE, "reachability_enabled": is, "generation": generation,
            "before": { "reachability_enabled": was, "generation": before }, "reason": reason, "at": at,
        })
    };
    let at = Some("1970-01-01T00:00:00.000Z");
    let announce = Announce { service: service(1), generation: Generation(1), after_user: None };
    let told = vec![switched((false, 0), (true, 1), "switched", at)];
    assert_eq!(write(Some(&new), Some(&on)).await, (vec![PushMessage::Announce(announce)], told));
    for (before, after, told) in [
        (Some(&on), Some(&off), vec![switched((true, 1), (false, 1), "switched", at)]),
        (Some(&on), None, vec![switched((true, 1), (false, 1), "deleted", None)]),
        (Some(&on), Some(&on), vec![]),
        (Some(&off), None, vec![]),
        (None, Some(&new), vec![]),
    ] {
        assert_eq!(write(before, after).await, (vec![], told));
    }
}

/// A user who goes offline has its device checked. A device that was registered under an earlier configuration is
/// announced.
#[tokio::test]
async fn the_fanout_queues_what_follows_from_a_change() {
    let (mut fanout, ..) = fanout(&MiniStack::shared().url(), true).await;
    let (queue, published) = (Arc::new(Kept::default()), Arc::new(Published::default()));
    fanout.pushes = queue.clone();
    fanout.sinks = vec![published.clone()];
    let pk = format!("state#{SERVICE}#alice");
    let with_device = |mut state: Value, generation: u32| {
        state["reg"] = json!({ "N": generation.to_string() });
        state[format!("b#{:032x}", 9)] = json!({ "M": { "a": { "N": "1000" } } });
        state
    };
    let records = [
        record(1, &pk, Some(state(1, 1, 1_000)), Some(with_device(state(2, 1, 2_000), 0))),
        record(2, &pk, Some(with_device(state(2, 1, 2_000), 0)), Some(with_device(state(3, 1, 3_000), 1))),
        record(3, &pk, Some(with_device(state(3, 1, 3_000), 1)), Some(with_device(state(4, 1, 121_000), 1))),
    ];
    assert_eq!(answer(&handle(&fanout, batch(&records)).await), json!({ "batchItemFailures": [] }));
    let user = UserKey { service: service(1), identity: "alice".parse().unwrap() };
    let announce = AnnounceUser { user, generation: Generation(1) };
    let asked_at = Timestamp::from_millis(121_000);
    let probe = Probe {
        service: service(1),
        binding: Sid::from_bits(9),
        asked_at,
        attempts: 0,
        due_at: None,
        cause: ProbeCause::Offline,
    };
    assert_eq!(queue.take(), [PushMessage::AnnounceUser(announce), PushMessage::Probe(probe)]);
    let reasons: Vec<Value> = published.take().into_iter().map(|message| message["reasons"].clone()).collect();
    assert_eq!(reasons, [json!({ "is_notifiable": "switched" }), json!({ "is_online": "lease_ended" })]);
}
