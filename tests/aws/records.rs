//! How large the record of a user becomes in DynamoDB, and what its events cost.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is a test that measures")]

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::UserRef;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::time::Timestamp;
use reachability_infra::dynamodb::DynamoStore;
use reachability_tests::aws;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{Harness, SETTINGS};
use tokio::sync::RwLockReadGuard;

use crate::MACHINE;

/// A table with a service whose reachability is on, and what the updates of the store cost.
struct Records {
    client: Client,
    table: String,
    store: Arc<DynamoStore>,
    harness: Harness,
    units: aws::CountWriteUnits,
    _share: RwLockReadGuard<'static, ()>,
}

/// The key of the state of alice.
fn key() -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let key = [("pk", text(&format!("state#{}#alice", service(1)))), ("sk", text("state"))];
    key.map(|(name, value)| (name.to_owned(), value)).into()
}

impl Records {
    async fn new() -> Self {
        let share = MACHINE.read().await;
        let units = aws::CountWriteUnits::default();
        let config = aws::config(&DynamoDbLocal::shared().url()).await;
        let client = Client::from_conf(Builder::from(&config).interceptor(units.clone()).build());
        let table = aws::create_table(&client).await;
        let store = Arc::new(DynamoStore::new(client.clone(), table.clone()));
        let harness = Harness::new(store.clone(), SETTINGS);
        harness.switch(service(1), true).await;
        Self { client, table, store, harness, units, _share: share }
    }

    async fn item(&self) -> HashMap<String, AttributeValue> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key()));
        get.consistent_read(true).send().await.unwrap().item.unwrap()
    }

    async fn put(&self, item: HashMap<String, AttributeValue>) {
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await.unwrap();
    }

    async fn size(&self) -> usize {
        self.item().await.iter().map(|(name, value)| name.len() + size(value)).sum()
    }

    async fn is_online(&self, now: i64) -> Option<bool> {
        self.harness.read(&connect("c", START).user, now).await.online
    }

    async fn delete(&self, now: i64) {
        let alice = UserRef::Identity("alice".parse().unwrap());
        let user = self.store.user(service(1), &alice).await.unwrap().unwrap();
        assert!(self.store.delete_user(service(1), user.sid, Timestamp::from_millis(now)).await.unwrap());
    }
}

/// By DynamoDB's rules: a number takes a byte for two digits and one more, a map three and one for each member.
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::M(map) => 3 + map.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>(),
        other => panic!("{other:?}"),
    }
}

fn connect(connection: &str, at: i64) -> Event {
    event_of("alice", connection, at, EventKind::Connect { lease: None, device: Some("phone".into()) })
}

fn disconnect(connection: &str, at: i64, reason: EndReason) -> Event {
    event_of("alice", connection, at, EventKind::Disconnect { reason })
}

/// An id of 36 bytes.
fn uuid(n: i64) -> String {
    format!("7f2c1a9e-5b1d-4c5e-9a2b-{n:012}")
}

/// A client that reconnects once a second, for 15 minutes.
async fn flapping(reason: EndReason) {
    let records = Records::new().await;
    records.harness.deliver(&[connect(&uuid(0), START)], START).await;
    records.units.take();
    let mut all = vec![];
    let mut largest = 0;
    for n in 1..=900 {
        let at = START + n * 1_000;
        for (event, now) in [(disconnect(&uuid(n - 1), at - 200, reason), at - 200), (connect(&uuid(n), at), at)] {
            records.harness.deliver(&[event], now).await;
            let cost = records.units.take();
            assert_eq!(cost[0], 1.0, "the write of an event in reconnect {n}: {cost:?}");
            assert!(cost.iter().all(|units| *units <= 1.0), "reconnect {n}: {cost:?}");
            all.extend(cost);
        }
        if n % 10 == 0 {
            largest = largest.max(records.size().await);
            assert_eq!(records.is_online(at).await, Some(true));
        }
    }
    let (events, removals) = (1_800, all.len() - 1_800);
    println!("{reason:?}: {removals} removals for {events} events; the largest item has {largest} bytes");
    assert!(removals * 10 <= events, "{removals} removals");
    assert!(largest < 1_024, "{largest} bytes");
}

#[tokio::test]
async fn a_client_that_closes_and_reconnects_every_second_costs_one_unit_an_event() {
    flapping(EndReason::ClientClosed).await;
}

#[tokio::test]
async fn a_client_that_is_lost_and_reconnects_every_second_costs_one_unit_an_event() {
    flapping(EndReason::ConnectionLost).await;
}

/// Three thousand live connections of one user, with the longest ids.
#[tokio::test]
async fn a_storm_of_connections_leaves_a_small_record() {
    const CONNECTIONS: i64 = 3_000;
    let records = Records::new().await;
    let id = |n: i64| format!("{}{n:08}", "x".repeat(120));
    let mut largest = 0;
    // Ten messages a batch, as the queue of a deployment delivers them, and several batches at once.
    let connects: Vec<Event> = (0..CONNECTIONS).map(|n| connect(&id(n), START + n)).collect();
    for round in connects.chunks(100) {
        let now = START + CONNECTIONS;
        let batches = round.chunks(10).map(|batch| records.harness.deliver(batch, now));
        futures_util::future::join_all(batches).await;
        largest = largest.max(records.size().await);
    }
    println!("the largest item has {largest} bytes");
    assert!(largest < 10_000, "{largest} bytes");
    let now = START + 10_000;
    assert_eq!(records.is_online(now).await, Some(true));

    let mut ends: Vec<Event> = (0..CONNECTIONS).map(|n| disconnect(&id(n), now + n, EndReason::ClientClosed)).collect();
    let last = ends.split_off(ends.len() - 1);
    let now = now + CONNECTIONS;
    for batch in ends.chunks(100) {
        records.harness.deliver(batch, now).await;
        assert!(records.size().await < 10_000);
    }
    assert_eq!(records.is_online(now).await, Some(true), "one is left");
    records.harness.deliver(&last, now).await;
    assert_eq!(records.is_online(now).await, Some(false));
    // What comes late finds the ends, or the floor.
    records.harness.deliver(&connects[2_000..], now).await;
    assert_eq!(records.is_online(now).await, Some(false));

    let before = records.size().await;
    records.delete(now).await;
    assert!(records.size().await < before, "a deletion needs no more room");
}

/// The state of a user who has 1,500 connections with the longest ids, half of them ended, as an earlier version wrote it.
async fn older(records: &Records) {
    records.harness.deliver(&[connect("c-1", START)], START).await;
    let mut item = records.item().await;
    item.retain(|name, _| !name.starts_with('c'));
    let number = |value: i64| AttributeValue::N(value.to_string());
    let map = |members: [(&str, AttributeValue); 2]| {
        AttributeValue::M(members.map(|(name, value)| (name.to_owned(), value)).into())
    };
    for n in 0..1_500 {
        let id = format!("{}{n:08}", "x".repeat(120));
        item.insert(format!("c#{id}"), map([("a", number(START)), ("l", number(START + 120_000))]));
        if n % 2 == 0 {
            item.insert(format!("x#{id}"), map([("a", number(START)), ("r", number(START))]));
        }
    }
    records.put(item).await;
}

#[tokio::test]
async fn a_large_record_of_an_earlier_version_becomes_small() {
    let records = Records::new().await;
    older(&records).await;
    assert_eq!(records.is_online(START + 1).await, Some(true));
    assert!(records.size().await > 300_000);
    let revision = records.item().await["rev"].clone();
    let late = disconnect(&format!("{}{:08}", "x".repeat(120), 1), START + 2, EndReason::ClientClosed);
    records.harness.deliver(&[late, connect("new", START + 2)], START + 2).await;
    assert!(records.size().await < 5_000, "{}", records.size().await);
    assert_ne!(records.item().await["rev"], revision);
    assert_eq!(records.is_online(START + 119_000).await, Some(true));
    assert_eq!(records.is_online(START + 120_002).await, Some(false));
}

#[tokio::test]
async fn a_user_with_a_large_record_of_an_earlier_version_can_be_deleted() {
    let records = Records::new().await;
    older(&records).await;
    records.delete(START + 10).await;
    assert!(records.size().await < 300);
}
