//! What is asked of DynamoDB: how many requests a list takes, what comes of lost answers, and the removal of services.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::{StreamExt, stream};
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::ports::{ApiKeys, DeletedServices, Services, Users};
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::device::Device;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::payload::Content;
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::queue::Queue;
use reachability_domain::secret::Secret;
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::services::SharedServices;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::fault_proxy::FaultProxy;
use reachability_tests::generate::service;
use reachability_tests::harness::{Kept, SETTINGS, new_service, ports, rules};
use reachability_tests::push_harness::PushHarness;
use reachability_tests::{aws, contract};
use reachability_worker::{Worker, WorkerPorts};

use crate::MACHINE;

struct Table {
    client: Client,
    name: String,
    requests: aws::CountRequests,
    store: DynamoStore,
}

impl Table {
    async fn new() -> Self {
        let requests = aws::CountRequests::default();
        let config = aws::config(&DynamoDbLocal::shared().url()).await;
        let client = Client::from_conf(Builder::from(&config).interceptor(requests.clone()).build());
        let name = aws::create_table(&client).await;
        let store = DynamoStore::new(client.clone(), name.clone());
        store.create_service(&new_service(service(1))).await.unwrap();
        requests.take();
        Self { client, name, requests, store }
    }

    /// Writes items, whoever they are of.
    async fn write(&self, items: Vec<HashMap<String, AttributeValue>>) {
        let put = |item: &HashMap<String, AttributeValue>| {
            let put = PutRequest::builder().set_item(Some(item.clone())).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        };
        let write = async |some: &[HashMap<String, AttributeValue>]| {
            let request = self.client.batch_write_item().request_items(&self.name, some.iter().map(put).collect());
            let answer = request.send().await.unwrap();
            assert!(answer.unprocessed_items.unwrap_or_default().is_empty());
        };
        stream::iter(items.chunks(25)).for_each_concurrent(8, write).await;
    }

    /// Registers so many devices of a user, at these bits of their sids.
    async fn register(&self, channel: Channel, count: u128, bits: impl Fn(u128) -> u128) {
        let user = UserKey { service: service(1), identity: "alice".parse().unwrap() };
        let user = User::new(Sid::from_bits(1), user, None, Timestamp::from_millis(1_000));
        let of = contract::bindings::binding(&user, channel, "aa", Timestamp::from_millis(1_000));
        let item = |n: u128| {
            // The lowest sid of a device.
            let first = *Device::of_binding(BindingSid::from_bits(bits(n))).sids().start();
            let binding = Binding { sid: first, ..of.clone() };
            let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(binding).unwrap();
            let pk = format!("binding#{}#{}", service(1), first.bits() >> 125);
            for (name, value) in [("pk", pk), ("sk", first.to_string())] {
                item.insert(name.to_owned(), AttributeValue::S(value));
            }
            item
        };
        self.write((0..count).map(item).collect()).await;
    }

    async fn page(&self, position: Cursor<BindingSid>, limit: usize) -> (Page<Binding>, u64) {
        let filter = BindingFilter { channels: vec![Channel::Fcm], ..BindingFilter::default() };
        self.requests.take();
        let page = self.store.bindings(service(1), &filter, PageRequest { position, limit }).await.unwrap();
        (page, self.requests.take())
    }
}

/// Scattered like hashes.
fn scattered(n: u128) -> u128 {
    (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

#[tokio::test]
async fn a_page_beside_many_of_another_type_takes_few_requests() {
    let _share = MACHINE.read().await;
    let table = Table::new().await;
    table.register(Channel::Apn, 1_000, scattered).await;
    table.register(Channel::Fcm, 20, |n| scattered(n + 1_000)).await;
    let (page, requests) = table.page(Cursor::Start, 10).await;
    assert_eq!((page.items.len(), page.more, page.looked_up_to), (10, true, None));
    assert!(requests <= 8, "{requests} requests");
    let after = Cursor::After(page.items[9].sid);
    let (page, requests) = table.page(after, 10).await;
    assert_eq!((page.items.len(), page.more, page.looked_up_to), (10, false, None));
    assert!(requests <= 8, "{requests} requests");
    let (page, _) = table.page(Cursor::Start, 20).await;
    assert_eq!((page.items.len(), page.more), (20, false));
}

#[tokio::test]
async fn a_list_beside_very_many_of_another_type_ends() {
    const OTHERS: u128 = 12_000;
    let _share = MACHINE.read().await;
    let table = Table::new().await;
    // All in one shard, and those that are looked for at both of its ends.
    let step = (1 << 125) / (OTHERS + 2);
    table.register(Channel::Apn, OTHERS, |n| (n + 1) * step).await;
    table.register(Channel::Fcm, 2, |n| n * (OTHERS + 1) * step).await;
    for is_backward in [false, true] {
        let mut position = if is_backward { Cursor::Before(Sid::from_bits(u128::MAX)) } else { Cursor::Start };
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let (page, requests) = table.page(position, 10).await;
            assert!(requests <= 18, "{requests} requests");
            pages += 1;
            found.extend(page.items.iter().map(|binding| binding.sid));
            if !page.more {
                break;
            }
            let end: BindingSid = Sid::from_bits(page.looked_up_to.expect("the page is short"));
            position = if is_backward { Cursor::Before(end) } else { Cursor::After(end) };
        }
        found.sort_unstable();
        assert_eq!((found.len(), pages), (2, 2), "backward: {is_backward}");
        assert_eq!(found[0].bits(), 0);
    }
}

/// A page of a notification: its records are read together, and each result is one write.
#[tokio::test]
async fn a_delivery_takes_one_request() {
    let _share = MACHINE.read().await;
    let requests = aws::CountRequests::default();
    let config = aws::config(&DynamoDbLocal::shared().url()).await;
    let client = Client::from_conf(Builder::from(&config).interceptor(requests.clone()).build());
    let store = Arc::new(DynamoStore::new(client.clone(), aws::create_table(&client).await));
    let harness = PushHarness::on(store.clone(), store, None).await;
    for n in 0..100 {
        harness.register(if n < 50 { "alice" } else { "bob" }, Channel::Fcm, &format!("token-{n}")).await;
    }
    let mut taken = Vec::new();
    for _ in 0..5 {
        let deliver = harness.notification(&["alice", "bob"], Content::default(), None).await;
        let pages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
        assert_eq!(pages.len(), 1);
        requests.take();
        assert!(harness.handle(pages).await.is_empty());
        taken.push(requests.take());
        let stored = harness.deliveries(deliver.notification).await;
        assert!(stored.len() == 100 && stored.iter().all(|it| it.status.as_str() == "accepted"), "{stored:?}");
    }
    // A read of the deliveries, one of the notification, one of the bindings, and perhaps one of the credential. The first time,
    // each registration was confirmed as well. Where too many of a user's were at once, it is confirmed the next time.
    assert!(taken[1..].iter().any(|taken| (103..=104).contains(taken)), "{taken:?}");
}

/// The SDK asks again, and finds that nothing is there any more, or that there is something already.
#[tokio::test]
async fn a_request_whose_answer_is_lost_is_answered_as_it_was_done() {
    let _share = MACHINE.read().await;
    let proxy = FaultProxy::start(&DynamoDbLocal::shared().url(), 1).await;
    let config = aws::config_of_functions(&proxy.url()).await;
    let client = Client::new(&config);
    let store = DynamoStore::new(client.clone(), aws::create_table(&client).await);
    let now = Timestamp::from_millis(1_000);
    let lost = || proxy.counts().cut_after;

    let key = ApiKey {
        sid: Sid::from_bits(1),
        friendly_name: "a key".to_owned(),
        secret: Secret::new("secret"),
        date_created: now,
        date_updated: None,
    };
    let credential = contract::credentials::credential(1);
    let (one, other) = (new_service(service(1)), new_service(service(2)));
    let user =
        User::new(Sid::from_bits(1), UserKey { service: one.sid, identity: "alice".parse().unwrap() }, None, now);
    proxy.cut_after_next("PutItem");
    store.create_key(&key).await.unwrap();
    proxy.cut_after_next("PutItem");
    store.create_credential(&credential).await.unwrap();
    for service in [&one, &other] {
        proxy.cut_after_next("PutItem");
        store.create_service(service).await.unwrap();
    }
    proxy.cut_after_next("TransactWriteItems");
    store.create_user(&user).await.unwrap();
    assert_eq!(lost(), 5, "creations");
    let binding = contract::bindings::binding(&user, Channel::Apn, "00aa", now);
    let register = BindingCommand::Register { binding: binding.clone(), generation: Generation(0) };
    let unregister = BindingCommand::Unregister(binding.sid);
    proxy.cut_after_next("TransactWriteItems");
    let registered = store.apply(one.sid, binding.device(), &register, None, now).await.unwrap();
    assert_eq!((registered.before, registered.after.map(|it| it.sid)), (None, Some(binding.sid)));
    assert_eq!(lost(), 6, "a registration");

    proxy.cut_after_next("TransactWriteItems");
    let gone = store.apply(one.sid, binding.device(), &unregister, None, now).await.unwrap();
    assert_eq!((gone.before.map(|it| it.sid), gone.after), (Some(binding.sid), None));
    proxy.cut_after_next("TransactWriteItems");
    assert!(store.delete_user(one.sid, user.sid, now).await.unwrap());
    proxy.cut_after_next("DeleteItem");
    assert!(store.delete_key(key.sid).await.unwrap());
    proxy.cut_after_next("DeleteItem");
    assert!(store.delete_credential(credential.sid).await.unwrap());
    proxy.cut_after_next("DeleteItem");
    assert!(store.delete_service(other.sid).await.unwrap());
    assert_eq!(lost(), 11, "deletions");
    // What was not there is not, without a doubt.
    assert!(!store.delete_user(one.sid, user.sid, now).await.unwrap());
    assert!(!store.delete_key(key.sid).await.unwrap());
    assert!(!store.delete_credential(credential.sid).await.unwrap());
    assert!(!store.delete_service(other.sid).await.unwrap());
}

/// In parts, side by side. Prints how long it takes on DynamoDB Local, and asserts nothing about it.
#[tokio::test]
async fn a_deleted_service_is_removed_in_parts_side_by_side() {
    const USERS: u128 = 4_000;
    let _share = MACHINE.read().await;
    let table = Table::new().await;
    let text = |value: String| AttributeValue::S(value);
    let of_user = |n: u128| {
        let key = UserKey { service: service(1), identity: format!("user-{n}").parse().unwrap() };
        let user = User::new(Sid::from_bits(scattered(n)), key, None, Timestamp::from_millis(1_000));
        let mut profile: HashMap<String, AttributeValue> = serde_dynamo::to_item(&user).unwrap();
        let pk = format!("user#{}#{}", service(1), user.sid.bits() % 8);
        profile.extend([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(user.sid.to_string()))]);
        let pk = format!("state#{}#{}", service(1), user.identity.as_str());
        let state = HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text("state".to_owned()))]);
        [profile, state]
    };
    table.write((0..USERS).flat_map(of_user).collect()).await;
    table.register(Channel::Apn, USERS, scattered).await;
    let count = async || table.client.scan().table_name(&table.name).send().await.unwrap().count;
    assert!(count().await > 1_000);

    let metrics = Arc::new(EmfMetrics::default());
    let events = Arc::new(Kept::default());
    let (purger, sent): (DynamoStore, Arc<dyn Queue<PresenceMessage>>) = (table.store.clone(), events.clone());
    let ports = WorkerPorts {
        deleted_services: Some(Arc::new(purger)),
        ..ports(Arc::new(table.store.clone()), sent.clone(), metrics)
    };
    let worker = Worker::new(ports, rules(SETTINGS), Configuration::MAX_AGE, clock::now);
    let services = SharedServices::new(Arc::new(table.store.clone()), sent, clock::now);
    assert!(services.delete_service(service(1)).await.unwrap());
    let (mut rounds, started) = (Vec::new(), Instant::now());
    table.requests.take();
    loop {
        let messages: Vec<PresenceMessage> = events.take();
        if messages.is_empty() {
            break;
        }
        rounds.push(messages.len());
        assert!(worker.process(messages, clock::now()).await.is_empty());
    }
    let (took, requests) = (started.elapsed().as_secs_f64(), table.requests.take());
    println!("{USERS} users with a registration each: {:.0} users/s, {requests} requests", USERS as f64 / took);
    assert_eq!(rounds[..2], [1, usize::from(table.store.parts())], "{rounds:?}");
    assert_eq!(count().await, 0);
    // Three items of each user, 25 in a request, and some that look for them.
    assert!(requests < (3 * USERS as u64).div_ceil(25) * 2, "{requests}");
}
