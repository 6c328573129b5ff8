//! The feed on AWS: the stream of a table in DynamoDB Local, and the topic of a deployed stack.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use futures_util::future::join_all;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::change::Notice;
use reachability_infra::clock;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_tests::client;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::fault_proxy::{FaultProxy, Faults};
use reachability_tests::feed_judge::Folded;
use reachability_tests::feeds::StreamConsumer;
use reachability_tests::stack::Stack;
use reachability_tests::store::PushStore;
use reachability_tests::{aws, changes, feed_judge, feed_properties};
use reqwest::Method;
use serde_json::{Value, json};

use crate::MACHINE;
use crate::serverless::{drain, subscribe};

// Each test that reads a stream has an instance of DynamoDB Local of its own: one with several streams that are read at
// once answers that their records were trimmed.

/// A runtime that serves the proxy while the property has its own.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn the_feed_tells_what_is_seen() {
    let runtime = runtime();
    let _share = runtime.block_on(MACHINE.read());
    let database = DynamoDbLocal::start();
    let endpoint = database.url();
    let (store, feed) = runtime.block_on(async {
        let client = Client::new(&aws::config(&endpoint).await);
        let table = aws::create_table(&client).await;
        let feed = StreamConsumer::new(&endpoint, &client, &table).await;
        (DynamoStore::new(client, table), feed)
    });
    let store: Arc<dyn PushStore> = Arc::new(store);
    feed_properties::what_is_told_is_what_is_seen(&store, &feed, &|_| {}, 20);
}

/// Requests are cut, before the store has handled them and after.
const FAULTS: Faults = Faults {
    cut_before: 0.05,
    cut_after: 0.1,
    cut_within: 0.05,
    stall: 0.0,
    delay: 0.05,
    delay_by: Duration::from_millis(20),
};

#[test]
fn the_feed_tells_what_is_seen_on_a_bad_network() {
    let runtime = runtime();
    let _share = runtime.block_on(MACHINE.read());
    let database = DynamoDbLocal::start();
    let endpoint = database.url();
    let (store, feed, proxy) = runtime.block_on(async {
        let client = Client::new(&aws::config(&endpoint).await);
        let table = aws::create_table(&client).await;
        let feed = StreamConsumer::new(&endpoint, &client, &table).await;
        let proxy = FaultProxy::start(&endpoint, 3).await;
        let config = aws::config_of_functions(&proxy.url()).await;
        (DynamoStore::counting(&config, table, Arc::new(EmfMetrics::default())), feed, proxy)
    });
    let store: Arc<dyn PushStore> = Arc::new(store);
    let disturb = |is_disturbed| proxy.set(if is_disturbed { FAULTS } else { Faults::default() });
    feed_properties::what_is_told_is_what_is_seen(&store, &feed, &disturb, 6);
    let counts = proxy.counts();
    assert!(counts.cut_before > 5 && counts.cut_after > 5 && counts.cut_within > 5, "{counts:?}");
}

/// How many users the writers share.
const USERS: usize = 5;

fn identity(number: usize) -> String {
    format!("user-{}", number % USERS)
}

/// One of several writers of the same users: it does something of every kind in turn.
async fn write(client: &client::Client, service: &str, writer: usize, steps: std::ops::Range<usize>) {
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    for step in steps {
        let identity = identity(writer * 2 + step * 3);
        let event = |kind: &str, connection: usize| {
            let mut event = json!({
                "type": kind, "service_sid": service, "identity": identity,
                "connection_id": format!("c-{writer}-{connection}"), "occurred_at": clock::now().to_string(),
            });
            match kind {
                "connect" => event["lease_seconds"] = json!(3_600),
                "disconnect" => event["reason"] = json!(["client_closed", "connection_lost"][step % 2]),
                _ => {}
            }
            event
        };
        let sends = async |events: Vec<Value>| {
            client.post(&at("Events"), Value::from(events).to_string()).await;
        };
        let path = at(&format!("Users/{identity}"));
        let (status, answer) = match (writer + step) % 7 {
            0 | 1 => {
                sends(vec![event("connect", step)]).await;
                continue;
            }
            2 => {
                sends(vec![event("disconnect", step), event("connect", step)]).await;
                continue;
            }
            3 => client.send(Method::POST, &path, &[("FriendlyName", &format!("{writer} {step}"))]).await,
            4 => client.send(Method::POST, &at("Users"), &[("Identity", &identity)]).await,
            5 => {
                let token = format!("00{writer:02x}");
                let binding = [("Identity", identity.as_str()), ("BindingType", "apn"), ("Address", &token)];
                client.send(Method::POST, &at("Bindings"), &binding).await
            }
            _ => client.send(Method::DELETE, &path, &[]).await,
        };
        // There is such a user already, or none.
        assert!(matches!(status, 200..=299 | 404 | 409), "{status} {answer}");
    }
}

/// Several writers of the same users over HTTP, while reachability is switched off and on: the changes that the topic
/// tells, folded, are what readers see.
#[tokio::test]
async fn the_topic_tells_what_is_seen() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let topic = subscribe(stack).await;
    let client = client::Client::new(&stack.url, &stack.account, &stack.token);
    let service = client.enabled_service().await;
    let configuration = format!("/v1/Services/{service}/Configuration");
    let writes = async |steps: std::ops::Range<usize>| {
        join_all((0..4).map(|writer| write(&client, &service, writer, steps.clone()))).await;
    };
    writes(0..7).await;
    client.post(&configuration, "ReachabilityEnabled=false").await;
    writes(7..10).await;
    client.post(&configuration, "ReachabilityEnabled=true").await;
    writes(10..24).await;

    let mut notices: Vec<Notice> = vec![];
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        for (body, attributes) in drain(stack, &topic, usize::MAX).await {
            let notice: Notice = serde_json::from_str(&body).unwrap();
            if notice.service().to_string() == service {
                assert_eq!(attributes["type"], notice.kind());
                notices.push(notice);
            }
        }
        let folded = Folded::of(&notices);
        let (mut told, mut names) = (BTreeMap::new(), (vec![], vec![]));
        for number in 0..USERS {
            let key = UserKey { service: service.parse().unwrap(), identity: identity(number).parse().unwrap() };
            let Some(sid) = folded.user_sid(&key) else { continue };
            let reachability = folded.visible(&key).reachability;
            told.insert(identity(number), json!([reachability.online, reachability.notifiable]));
            let user = client.get(&format!("/v1/Services/{service}/Users/{sid}")).await;
            names.0.push(json!(folded.profile(sid).and_then(|change| change.profile.friendly_name.clone())));
            names.1.push(user["friendly_name"].clone());
        }
        let seen = changes::shown(&client, &service).await;
        if told == seen && names.0 == names.1 {
            break;
        }
        assert!(Instant::now() < deadline, "told {told:?}, seen {seen:?}, {names:?}, {notices:#?}");
    }
    feed_judge::follow_from_each_other(&notices).unwrap();
    let is_user = |notice: &&Notice| matches!(notice, Notice::User(_));
    assert!(notices.iter().filter(is_user).count() > 20, "{notices:#?}");
    assert!(notices.iter().any(|notice| matches!(notice, Notice::Profile(_))), "{notices:#?}");
}
