//! The sockets that a server holds.

use std::sync::Arc;

use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::sockets::{Socket, Sockets};

use super::user;
use crate::generate::service;

fn socket(n: u64) -> Socket {
    // The same identity is in two services.
    let user = user(service(u128::from(n % 2)), 1, "alice").key();
    Socket { user, connection: ConnectionId::numbered(7, n) }
}

async fn open(store: &dyn Sockets) -> Vec<Socket> {
    let mut open = store.open(100).await.unwrap();
    open.sort_by(|one, two| one.connection.cmp(&two.connection));
    open
}

/// A socket is remembered until it is closed, however often either is said.
pub async fn sockets_are_remembered_until_they_close<S: Sockets + 'static>(store: Arc<S>) {
    assert_eq!(open(&*store).await, []);
    let sockets: Vec<Socket> = (0..5).map(socket).collect();
    store.opened(&[]).await.unwrap();
    store.opened(&sockets[..3]).await.unwrap();
    store.opened(&sockets[1..]).await.unwrap();
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
