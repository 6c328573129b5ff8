//! The sockets that a server holds.

use std::sync::Arc;

use reachability_domain::directory::ports::Services;
use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::connections::{LeasePolicy, Rules};
use reachability_domain::presence::news::News;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_domain::store::StoreError;

use super::{Generation, NOW, connect, later, service, user};
use crate::generate;
use crate::harness::{SETTINGS, rules};

/// A socket; those of the same identity are in two services.
pub fn socket(n: u64) -> Socket {
    let user = user(generate::service(u128::from(n % 2)), 1, "alice").key();
    Socket { user, connection: ConnectionId::numbered(7, n) }
}

/// Joins what is said when a socket opens.
pub async fn join(store: &dyn States, socket: &Socket, acceptance: Acceptance) -> Result<(), StoreError> {
    let user = user(socket.user.service, 1, "alice");
    let mut news = News::new(Rules { lease: LeasePolicy::Unlimited, ..rules(SETTINGS) });
    news.add(&connect(&user, socket.connection.as_str(), NOW), acceptance, NOW);
    store.join(&user, &news, &[], later(1)).await.map(drop)
}

async fn open(store: &dyn Sockets) -> Vec<Socket> {
    let mut open = store.open(100).await.unwrap();
    open.sort_by(|one, two| one.connection.cmp(&two.connection));
    open
}

/// A socket is remembered from its connect until it is closed, however often either is said.
pub async fn sockets_are_remembered_until_they_close<S: Sockets + States + Services + 'static>(store: Arc<S>) {
    assert_eq!(open(&*store).await, []);
    for n in 0..2 {
        service(&*store, n).await;
    }
    let sockets: Vec<Socket> = (0..5).map(socket).collect();
    for socket in sockets[..3].iter().chain(&sockets[1..]) {
        join(&*store, socket, Acceptance::In(Generation(1))).await.unwrap();
    }
    // It is not online, and nobody has to end it.
    join(&*store, &socket(5), Acceptance::Off).await.unwrap();
    // Nor this one, which ends with its lease.
    let alice = user(generate::service(1), 1, "alice");
    store.join(&alice, &super::news(&[connect(&alice, "c-1", NOW)], NOW), &[], NOW).await.unwrap();
    assert_eq!(open(&*store).await, sockets);
    let some = store.open(2).await.unwrap();
    assert!(some.len() == 2 && some.iter().all(|socket| sockets.contains(socket)), "{some:?}");
    for _ in 0..2 {
        store.closed(&[sockets[0].clone(), sockets[4].clone(), socket(9)]).await.unwrap();
        assert_eq!(open(&*store).await, sockets[1..4]);
    }
    store.closed(&sockets).await.unwrap();
    assert_eq!(open(&*store).await, []);
}
