//! The store in DynamoDB, on Amazon's own engine and on a second one that has newer features.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::types::AttributeValue;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::Check;
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::fault_proxy::{FaultProxy, Faults};
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::generate::{LENGTH, START, event_of, log_and_delivery, service, users};
use reachability_tests::harness::{Harness, SETTINGS, rules, unstamped, worker};
use reachability_tests::model::Model;
use reachability_tests::store::Store;
use reachability_tests::{aws, contract, properties, push_properties};
use reachability_worker::Received;
use tokio::sync::RwLockReadGuard;

use crate::MACHINE;

/// A store in a new table, with a share of the machine while it is used.
async fn store_at(endpoint: &str) -> (Arc<DynamoStore>, RwLockReadGuard<'static, ()>) {
    let share = MACHINE.read().await;
    let client = Client::new(&aws::config(endpoint).await);
    let table = aws::create_table(&client).await;
    (Arc::new(DynamoStore::new(client, table)), share)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The same tests for both engines.
macro_rules! engine {
    ($name:ident, $engine:ty) => {
        mod $name {
            use super::*;

            reachability_tests::store_contract!(store_at(&<$engine>::shared().url()));
            reachability_tests::push_store_contract!(store_at(&<$engine>::shared().url()));

            #[test]
            fn order_and_repetition_do_not_matter() {
                let (store, _share) = block_on(store_at(&<$engine>::shared().url()));
                let store: Arc<dyn Store> = store;
                properties::order_and_repetition_do_not_matter(&store, 40);
            }

            #[test]
            fn switching_and_passing_time_match_the_model() {
                let (store, _share) = block_on(store_at(&<$engine>::shared().url()));
                let store: Arc<dyn Store> = store;
                properties::switching_and_passing_time_match_the_model(&store, 20);
            }

            #[test]
            fn acceptance_decides_and_not_handling() {
                let (store, _share) = block_on(store_at(&<$engine>::shared().url()));
                let store: Arc<dyn Store> = store;
                properties::acceptance_decides_and_not_handling(&store, 20);
            }

            #[test]
            fn a_registration_is_dead_exactly_when_its_token_is() {
                let (store, _share) = block_on(store_at(&<$engine>::shared().url()));
                push_properties::a_registration_is_dead_exactly_when_its_token_is(&*store, 15);
            }
        }
    };
}

engine!(in_dynamodb_local, DynamoDbLocal);
engine!(in_ministack, MiniStack);

fn connect(identity: &str, connection: &str, at: i64) -> Event {
    event_of(identity, connection, at, EventKind::Connect { lease: None, device: None })
}

fn disconnect(identity: &str, connection: &str, at: i64) -> Event {
    event_of(identity, connection, at, EventKind::Disconnect { reason: EndReason::ClientClosed })
}

/// A store whose requests are counted, with a service whose reachability is on. Its engine returns the item of a failed
/// condition, as AWS does.
async fn counted() -> (Arc<DynamoStore>, Harness, aws::CountRequests) {
    let requests = aws::CountRequests::default();
    let config = aws::config(&MiniStack::shared().url()).await;
    let client = Client::from_conf(Builder::from(&config).interceptor(requests.clone()).build());
    let store = Arc::new(DynamoStore::new(client.clone(), aws::create_table(&client).await));
    let harness = Harness::new(store.clone(), SETTINGS);
    harness.switch(service(1), true).await;
    (store, harness, requests)
}

#[tokio::test]
async fn events_cost_one_request_each() {
    let (_, harness, requests) = counted().await;
    let worker =
        worker(harness.store.clone(), harness.timers.clone(), rules(SETTINGS), Configuration::MAX_AGE, Arc::default());
    let names: Vec<String> = (0..10).map(|n| format!("user-{n}")).collect();
    let handle = async |events: Vec<Event>, now: i64| {
        requests.take();
        let messages = events.iter().map(unstamped).collect();
        assert!(worker.process(messages, Timestamp::from_millis(now)).await.is_empty());
        requests.take()
    };
    let all = |event: &dyn Fn(&str) -> Event| names.iter().map(|name| event(name)).collect::<Vec<_>>();

    let first = handle(all(&|name| connect(name, "c-1", START)), START).await;
    assert_eq!(first, 1 + 10 * 3, "the configuration; of each: the update, the look at what is there, the making");
    let connects = handle(all(&|name| connect(name, "c-2", START + 1)), START + 1).await;
    assert_eq!(connects, 10, "ten connects of ten users");
    let renewals =
        handle(all(&|name| event_of(name, "c-2", START + 2, EventKind::Renew { lease: None })), START + 2).await;
    assert_eq!(renewals, 10, "ten renewals");
    let disconnects = handle(all(&|name| disconnect(name, "c-1", START + 3)), START + 3).await;
    assert_eq!(disconnects, 10, "ten disconnects");
    let again = handle(all(&|name| disconnect(name, "c-1", START + 3)), START + 3).await;
    assert_eq!(again, 10, "ten that were delivered again");
    let timers = harness.timers.count();
    assert_eq!(timers, 20, "one for each connect, and none for a renewal");
    let longer = |name: &str| {
        event_of(name, "c-3", START + 4, EventKind::Connect { lease: Some(Duration::from_secs(600)), device: None })
    };
    assert_eq!(handle(all(&longer), START + 4).await, 10, "ten connects that last longer");
    let longest = handle(all(&|name| disconnect(name, "c-3", START + 5)), START + 5).await;
    assert_eq!(longest, 20, "of each user another update, since the timer would be too late");
    assert_eq!(harness.timers.count(), timers + 20);
    let one = (0..10).map(|n| connect("user-0", &format!("d-{n}"), START + 4 + n)).collect();
    assert_eq!(handle(one, START + 20).await, 1, "ten connects of one user");
}

/// 150 processes write the state of one user at once, each by a clock of its own.
#[tokio::test]
async fn many_writers_of_one_user_need_few_requests() {
    const WRITERS: u64 = 150;
    let (store, harness, requests) = counted().await;
    harness.deliver(&[connect("alice", "c", START)], START).await;
    let user = User::new(Sid::from_bits(1), connect("alice", "c", START).user, None, Timestamp::from_millis(START));
    requests.take();
    let writers = (0..WRITERS).map(|n| {
        let (store, user) = (store.clone(), user.clone());
        // Up to five seconds ahead of and behind the others.
        let now = START + i64::try_from(n * 7_919 % 10_000).unwrap();
        tokio::spawn(async move {
            let mut news = News::new(rules(SETTINGS));
            let event = connect("alice", &format!("c-{n}"), now);
            let now = Timestamp::from_millis(now);
            news.add(&event, Acceptance::In(Generation(1)), now);
            store.join(&user, &news, &[], now).await.unwrap().after.revision
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut revisions = BTreeSet::new();
    for writer in writers {
        revisions.insert(writer.await.unwrap());
    }
    let made = requests.take();
    println!("{WRITERS} writers of one user: {made} requests");
    assert_eq!(revisions.len() as u64, WRITERS, "each write has its own revision");
    let state = store.states(&[user.key()]).await.unwrap().remove(0);
    assert_eq!(state.presence.connections.len(), 100, "the limit");
    assert_eq!(Some(&state.revision), revisions.last());
    // One that finds nothing ahead, one more for each of the revision, the time and the latest event, at most, and one that
    // drops what is over the limit.
    assert!(made <= 5 * WRITERS, "{made} requests");
}

/// A profile has the same revision as the state, so that both are written.
#[tokio::test]
async fn a_profile_edit_costs_a_read_and_a_transaction() {
    let (store, harness, requests) = counted().await;
    harness.deliver(&[connect("alice", "c", START)], START).await;
    let by_identity = UserRef::Identity("alice".parse().unwrap());
    let user = store.user(service(1), &by_identity).await.unwrap().unwrap();
    requests.take();
    let renamed =
        User { friendly_name: Some("Alice".to_owned()), date_updated: Timestamp::from_millis(START + 5), ..user };
    store.replace_user(&renamed).await.unwrap();
    assert_eq!(requests.take(), 2);
    let stored = store.user(service(1), &by_identity).await.unwrap().unwrap();
    let state = store.states(&[stored.key()]).await.unwrap().remove(0);
    assert_eq!((stored.revision, state.revision), (START as u64 + 5, START as u64 + 5));
}

/// They are from the version before outages were stored.
#[tokio::test]
async fn older_credentials_and_deliveries_are_read() {
    let client = Client::new(&aws::config(&DynamoDbLocal::shared().url()).await);
    let table = aws::create_table(&client).await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let [credential, delivery] = contract::older_documents::OLDER_DOCUMENTS;
    for (document, pk, sk) in [
        (credential, "credentials", "CR00000000000000000000000000000001"),
        (delivery, "notification#NT00000000000000000000000000000001", "BS00000000000000000000000000000002"),
    ] {
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(document).unwrap();
        item.extend([("pk", text(pk)), ("sk", text(sk))].map(|(name, value)| (name.to_owned(), value)));
        client.put_item().table_name(&table).set_item(Some(item)).send().await.unwrap();
    }
    contract::older_documents::older_documents_are_read(Arc::new(DynamoStore::new(client, table))).await;
}

/// All kinds of faults, also after the server has handled the request.
const FAULTS: Faults = Faults {
    cut_before: 0.08,
    cut_after: 0.12,
    cut_within: 0.08,
    stall: 0.01,
    delay: 0.08,
    delay_by: Duration::from_millis(50),
};

/// A store behind a proxy, with the counts of its requests.
async fn store_behind(proxy: &FaultProxy) -> (Arc<dyn Store>, Arc<EmfMetrics>) {
    let metrics = Arc::new(EmfMetrics::default());
    let config = aws::config_of_functions(&proxy.url()).await;
    let table = aws::create_table(&Client::new(&config)).await;
    (Arc::new(DynamoStore::counting(&config, table, metrics.clone())), metrics)
}

#[tokio::test]
async fn no_event_is_lost_on_a_bad_network() {
    let proxy = FaultProxy::start(&DynamoDbLocal::shared().url(), 1).await;
    let (store, metrics) = store_behind(&proxy).await;
    let mut runner = TestRunner::deterministic();
    for case in 0..12u128 {
        let (log, batches) = log_and_delivery().new_tree(&mut runner).unwrap().current();
        let harness = Harness::new(store.clone(), SETTINGS);
        let in_case = |mut user: UserKey| {
            user.service = service(case * 16 + u128::from(user.service == service(2)));
            user
        };
        let mut model = Model::new(SETTINGS);
        for user in users().into_iter().map(in_case) {
            harness.switch(user.service, true).await;
            model.switch(user.service, true);
        }
        proxy.set(FAULTS);
        let end = START + LENGTH;
        for batch in batches {
            let in_case = |event: Event| unstamped(&Event { user: in_case(event.user), ..event });
            let mut waiting: Vec<_> = batch.into_iter().map(|event| Received::new(in_case(event), false)).collect();
            // Failed messages are delivered again.
            while !waiting.is_empty() {
                let failed = harness.worker.process_received(waiting.clone(), Timestamp::from_millis(end)).await;
                let again = |(index, _): &(usize, _)| Received::new(waiting[*index].message.clone(), true);
                waiting = failed.iter().map(again).collect();
            }
        }
        proxy.set(Faults::default());
        for event in log {
            model.arrive(&Event { user: in_case(event.user), ..event });
        }
        for user in users().into_iter().map(in_case) {
            assert_eq!(harness.read(&user, end).await.online, model.truth(&user, end).online, "{user:?}");
            let state = harness.state(&user).await;
            if end < state.presence.live_until().as_millis() {
                let due_at = state.next_timer.unwrap();
                assert!(due_at <= state.presence.live_until());
                assert!(harness.timers.contains(&Check { user, due_at }), "the stored timer was sent");
            }
        }
    }
    let counts = proxy.counts();
    assert!(counts.cut_before > 10 && counts.cut_after > 10 && counts.cut_within > 10, "{counts:?}");
    assert!(metrics.counted(Counter::WriteRetries) > 30, "retries are counted");
}

#[tokio::test]
async fn no_event_is_applied_twice_on_a_bad_network() {
    let proxy = FaultProxy::start(&DynamoDbLocal::shared().url(), 2).await;
    let (store, _) = store_behind(&proxy).await;
    let harness = Harness::new(store, SETTINGS);
    harness.switch(service(1), true).await;
    proxy.set(FAULTS);
    let mut written = 0;
    for n in 0..100 {
        let (id, at) = (format!("c-{}", n / 2), START + n * 1_000);
        let event = if n % 2 == 0 { connect("alice", &id, at) } else { disconnect("alice", &id, at) };
        // At one time, so that each write adds one to the revision.
        while !harness.try_deliver(std::slice::from_ref(&event), START).await.is_empty() {}
        written += 1;
    }
    proxy.set(Faults::default());
    let state = harness.state(&connect("alice", "c", START).user).await;
    // The first revision is the time of the first write.
    assert_eq!(
        state.revision,
        u64::try_from(START).unwrap() + written - 1,
        "one write each, however often it was sent"
    );
    assert!(proxy.counts().cut_after > 5, "{:?}", proxy.counts());
}
