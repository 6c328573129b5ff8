//! How much is watched, and how much waits to be told.

use reachability_domain::channel::Channel as Record;
use reachability_domain::channel::key::Cid;
use reachability_domain::directory::ports::Services;
use reachability_domain::time::Timestamp;
use reachability_infra::memory::MemoryStore;
use reachability_tests::generate::service;
use reachability_tests::harness::new_service;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::sockets::budget::MAX_WATCHED;
use crate::sockets::lanes::MAX_WAITING;

/// The server's side of a socket, and the client's.
async fn socket(number: u64) -> (Arc<Wire>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    (Wire::of(accepted, number).1, client)
}

fn user(service: ServiceSid, identity: &str) -> UserKey {
    UserKey { service, identity: identity.parse().unwrap() }
}

/// A store with a channel that has these members.
async fn store(cid: &str, members: &[&str]) -> (MemoryStore, ChannelKey) {
    let store = MemoryStore::default();
    store.create_service(&new_service(service(1))).await.unwrap();
    let key = ChannelKey { service: service(1), cid: cid.parse::<Cid>().unwrap() };
    let record = Record {
        key: key.clone(),
        custom: serde_json::Map::new(),
        created_by: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
        last_message_at: None,
        member_count: 0,
        version: 0,
    };
    let members: Vec<Identity> = members.iter().map(|member| member.parse().unwrap()).collect();
    store.create_channel(&record, &members).await.unwrap().unwrap();
    (store, key)
}

fn is_full<T>(result: Result<T, CommandError>) -> bool {
    matches!(result, Err(CommandError::LimitReached { limit, .. }) if limit == MAX_WATCHED as u64)
}

#[tokio::test]
async fn all_sockets_watch_so_much() {
    let (hub, _tasks) = Hub::new(Arc::default());
    let (store, key) = store("m:x", &["john", "jack"]).await;
    let ((one, _one), (two, _two)) = (socket(1).await, socket(2).await);
    let john = || user(key.service, "john");
    let others = service(2);
    hub.budget.add(others, MAX_WATCHED - 4);

    // Each watch of a user counts.
    hub.watch(john(), &one).unwrap();
    hub.watch(john(), &one).unwrap();
    hub.watch(john(), &two).unwrap();
    // Each watch of a channel, and its members, once for all.
    let watch = RequestNumber(1);
    let channel = hub.join(&key, &one, watch).unwrap();
    let members = hub.members(&channel, &store).await;
    assert!(is_full(members.map_err(|error| match error {
        MembersError::Limit(error) => error,
        MembersError::Store(error) => panic!("{error}"),
    })));
    hub.leave(&channel, &one, Some(watch));
    hub.unwatch(john(), &two);
    hub.unwatch(john(), &one);
    let channel = hub.join(&key, &one, watch).unwrap();
    assert_eq!(hub.members(&channel, &store).await.unwrap().map(|members| members.len()), Some(2));
    hub.join(&key, &two, watch).unwrap();
    assert!(is_full(hub.watch(john(), &one)) && is_full(hub.join(&key, &socket(3).await.0, watch)));
    assert!(hub.watchers(&john()).len() == 2, "both as watchers of the channel");

    // What ends makes room.
    hub.leave(&channel, &one, None);
    hub.watch(user(key.service, "joe"), &one).unwrap();
    hub.unwatch(user(key.service, "joe"), &one);
    hub.leave(&channel, &two, None);
    assert_eq!(hub.budget.used(), MAX_WATCHED - 4);
    assert!(hub.watchers(&john()).is_empty() && hub.channels().is_empty());
}

/// Nobody waits for a task that does not keep up: whoever watches what cannot wait is cut off, and reads it when it is back.
#[tokio::test]
async fn who_watches_what_cannot_wait_is_cut_off() {
    // The tasks do nothing.
    let (hub, _tasks) = Hub::new(Arc::default());
    let (store, key) = store("m:x", &["john"]).await;
    let ((watcher, _watcher), (other, _other)) = (socket(1).await, socket(2).await);
    let channel = hub.join(&key, &watcher, RequestNumber(1)).unwrap();
    hub.members(&channel, &store).await.unwrap();
    hub.watch(user(key.service, "joe"), &other).unwrap();
    let jack: Identity = "jack".parse().unwrap();
    let change = |is_added: bool| MembersChange {
        channel: key.clone(),
        added: is_added.then(|| jack.clone()).into_iter().collect(),
        removed: (!is_added).then(|| jack.clone()).into_iter().collect(),
        is_deleted: false,
    };
    for n in 0..MAX_WAITING {
        hub.members_changed(&change(n % 2 == 0));
    }
    assert!(!watcher.is_finished());
    hub.members_changed(&change(MAX_WAITING.is_multiple_of(2)));
    assert!(watcher.is_finished() && !other.is_finished());
    // Its socket ends, and what it watched is forgotten. Of the members, the hub knew all the time.
    assert_eq!(hub.members(&channel, &store).await.unwrap().map(|members| members.len()), Some(2));
    hub.leave(&channel, &watcher, None);
    hub.unwatch(user(key.service, "joe"), &other);
    assert_eq!(hub.budget.used(), 0);
}
