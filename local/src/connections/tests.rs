use futures_util::FutureExt;

use super::*;
use crate::proxies::network;

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];
const PROXY: [u8; 4] = [10, 0, 0, 1];

/// With room for so many.
fn connections(files: usize, per_address: u32) -> Arc<Connections> {
    let proxies = TrustedProxies::new(vec![network("10.0.0.0/8").unwrap()]);
    Connections::new(Arc::new(Semaphore::new(files)), per_address, proxies)
}

async fn open(connections: &Arc<Connections>, address: [u8; 4]) -> Connection {
    connections.add(address.into(), connections.room().await)
}

fn authenticate(connection: &Connection) {
    connection.is_known().store(true, Ordering::Relaxed);
}

/// Whether it is to be closed, and at once.
fn closes(connection: &Connection) -> Option<bool> {
    connection.is_to_close().now_or_never()
}

/// Waits for room while there is none. Returns the numbers of those that are to be closed for it.
async fn closed_for_one_more(connections: &Arc<Connections>, open: &mut Vec<Connection>) -> Vec<u64> {
    let mut closed = vec![];
    tokio::select! {
        biased;
        _ = connections.room() => {}
        () = async {
            while closed.is_empty() {
                let are_closed = |connection: &mut Connection| closes(connection).is_some();
                closed = open.extract_if(.., are_closed).map(|connection| connection.number).collect();
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        } => {}
    }
    closed
}

#[tokio::test]
async fn the_oldest_stranger_of_who_has_the_most_makes_room() {
    let connections = connections(5, 0);
    let mut all = vec![];
    for address in [THERE, HERE, HERE, HERE, PROXY] {
        all.push(open(&connections, address).await);
    }
    authenticate(&all[1]);
    assert_eq!(closed_for_one_more(&connections, &mut all).await, [3]);
    all.push(open(&connections, HERE).await);
    assert_eq!(closed_for_one_more(&connections, &mut all).await, [4]);
    // Of two who have as many, it is who has the older one.
    all.push(open(&connections, PROXY).await);
    assert_eq!(closed_for_one_more(&connections, &mut all).await, [1]);
}

#[tokio::test]
async fn known_ones_are_closed_last_and_finish_what_they_do() {
    let connections = connections(3, 0);
    let all = [open(&connections, HERE).await, open(&connections, PROXY).await, open(&connections, THERE).await];
    authenticate(&all[0]);
    authenticate(&all[2]);
    assert!(connections.room().now_or_never().is_none());
    assert_eq!([0, 1, 2].map(|n| closes(&all[n])), [Some(false), None, None], "the oldest");
    assert!(connections.room().now_or_never().is_none());
    assert_eq!([0, 1, 2].map(|n| closes(&all[n])), [None, Some(false), None], "a proxy's is known from the beginning");
    drop(all);
    let open = connections.lock();
    assert!(open.strangers.is_empty() && open.by_count.is_empty() && open.known.is_empty());
}

#[tokio::test]
async fn an_address_has_so_many_strangers() {
    let connections = connections(100, 2);
    let mut all = vec![];
    for address in [HERE, THERE, HERE] {
        all.push(open(&connections, address).await);
    }
    authenticate(&all[2]);
    all.push(open(&connections, HERE).await);
    // The oldest of them is closed, though it is not the one over the limit.
    assert_eq!([0, 1, 2, 3].map(|n| closes(&all[n])), [Some(true), None, None, None]);
    all.push(open(&connections, HERE).await);
    assert_eq!([1, 2, 3, 4].map(|n| closes(&all[n])), [None; 4], "a known one does not count");
    all.push(open(&connections, HERE).await);
    assert_eq!([1, 2, 3, 4, 5].map(|n| closes(&all[n])), [None, None, Some(true), None, None]);
    for _ in 0..5 {
        all.push(open(&connections, PROXY).await);
    }
    assert!(all[6..].iter().all(|connection| closes(connection).is_none()), "a proxy has many clients");
}

#[tokio::test]
async fn one_address_has_a_part_of_all_places_at_most() {
    let connections = connections(8, 1_000);
    let mut all = vec![];
    for _ in 0..3 {
        all.push(open(&connections, HERE).await);
    }
    assert_eq!([0, 1, 2].map(|n| closes(&all[n])), [Some(true), None, None]);
}

#[tokio::test]
async fn a_socket_takes_the_file_with_it() {
    let connections = connections(2, 0);
    let connection = open(&connections, HERE).await;
    let file = connection.take_file();
    assert!(file.is_some() && connection.take_file().is_none());
    drop(connection);
    assert_eq!((connections.files.available_permits(), connections.places.available_permits()), (1, MAX_CONNECTIONS));
    drop(file);
    assert_eq!(connections.files.available_permits(), 2);
}
