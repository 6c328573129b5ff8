//! The open connections of HTTP, and which of them is closed to make place for a new one.
//!
//! A connection is a *stranger* until one of its requests is authenticated. The files that the process may open, and the places
//! for connections, are limited, and a stranger costs whoever opens it nothing. So strangers never keep anybody out: when all
//! places are taken, or an address has more strangers than it may have, the oldest stranger is closed, of the address that has
//! the most of them. Only when there are none is the oldest of the others closed, once it has answered what it was asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use reachability_domain::network::Network;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::proxies::TrustedProxies;

/// Upper bound of the number of connections, without sockets. With the longest head of a request, it limits the memory for
/// requests that are not read yet.
const MAX_CONNECTIONS: usize = 8_192;

/// How many of the places the strangers of one address may take: a fraction of all.
const PART_OF_ONE_ADDRESS: usize = 4;

/// How long a connection that was told to close may take, before the next one is.
const CLOSE_WITHIN: Duration = Duration::from_millis(50);

/// How often the log says that connections are closed to make place.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    /// How many strangers one address may have; `None`: as many as there are places.
    strangers_per_address: Option<usize>,
    /// Their connections count as known: behind each are many clients.
    proxies: TrustedProxies,
    places: Arc<Semaphore>,
    /// The files that connections may still open.
    files: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last_number: u64,
    /// By network and by number, which is their age. Some may be known meanwhile.
    strangers: HashMap<Network, BTreeMap<u64, Arc<Peer>>>,
    /// The networks in `strangers`: how many they have, and the number of their oldest.
    by_count: BTreeSet<(usize, Reverse<u64>, Network)>,
    known: BTreeMap<u64, Arc<Peer>>,
    warned: Option<Instant>,
}

/// The other side of a connection.
#[derive(Debug)]
struct Peer {
    network: Network,
    is_known: Arc<AtomicBool>,
    close: Notify,
}

/// The room for one connection. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    _place: Option<OwnedSemaphorePermit>,
    file: Option<OwnedSemaphorePermit>,
}

/// An open connection. Dropping it takes it from the others.
#[derive(Debug)]
pub(crate) struct Connection {
    connections: Arc<Connections>,
    number: u64,
    peer: Arc<Peer>,
    room: Mutex<Room>,
}

impl Connections {
    /// `files` are those that connections may open. Each address may have so many strangers, or else a part of all places if
    /// that is fewer; 0 for as many as there are places.
    pub(crate) fn new(files: Arc<Semaphore>, strangers_per_address: u32, proxies: TrustedProxies) -> Arc<Self> {
        let places = MAX_CONNECTIONS.min(files.available_permits());
        let most = (places / PART_OF_ONE_ADDRESS).max(1);
        let limit = usize::try_from(strangers_per_address).unwrap_or(usize::MAX).min(most);
        Arc::new(Self {
            strangers_per_address: (strangers_per_address > 0).then_some(limit),
            proxies,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            files,
            open: Mutex::default(),
        })
    }

    /// Waits for room for one more connection. If there is none, closes another one.
    pub(crate) async fn room(&self) -> Room {
        let room = async {
            // The semaphores are never closed.
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            Room { _place: place, file: Arc::clone(&self.files).acquire_owned().await.ok() }
        };
        tokio::pin!(room);
        loop {
            if self.places.available_permits() == 0 || self.files.available_permits() == 0 {
                self.lock().make_room();
            }
            if let Ok(room) = timeout(CLOSE_WITHIN, room.as_mut()).await {
                return room;
            }
        }
    }

    /// A connection from this address was opened.
    pub(crate) fn add(self: &Arc<Self>, address: IpAddr, room: Room) -> Connection {
        let is_known = Arc::new(AtomicBool::new(self.proxies.trust(address)));
        let peer = Arc::new(Peer { network: Network::of(address), is_known, close: Notify::new() });
        let number = self.lock().add(&peer, self.strangers_per_address);
        Connection { connections: self.clone(), number, peer, room: Mutex::new(room) }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, peer: &Arc<Peer>, limit: Option<usize>) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        if peer.is_known() {
            self.known.insert(number, peer.clone());
            return number;
        }
        self.change(peer.network, |strangers| strangers.insert(number, peer.clone()));
        while limit.is_some_and(|limit| self.strangers.get(&peer.network).map_or(0, BTreeMap::len) > limit) {
            self.close_oldest(peer.network);
        }
        number
    }

    fn remove(&mut self, number: u64, peer: &Peer) {
        self.change(peer.network, |strangers| strangers.remove(&number));
        self.known.remove(&number);
    }

    /// Has one connection closed, if there is any that is not about to close already.
    fn make_room(&mut self) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            warn!("there are as many connections as there may be: idle ones are closed for new ones");
        }
        while let Some(&(.., network)) = self.by_count.last() {
            if self.close_oldest(network) {
                return;
            }
        }
        if let Some((_, peer)) = self.known.pop_first() {
            peer.close.notify_one();
        }
    }

    /// Has the oldest stranger of a network closed. Returns whether it was: not if it is none any more.
    fn close_oldest(&mut self, network: Network) -> bool {
        let Some((number, peer)) = self.change(network, BTreeMap::pop_first) else { return false };
        if peer.is_known() {
            self.known.insert(number, peer);
            return false;
        }
        peer.close.notify_one();
        true
    }

    /// Changes the strangers of a network.
    fn change<T>(&mut self, network: Network, change: impl FnOnce(&mut BTreeMap<u64, Arc<Peer>>) -> T) -> T {
        let key = |strangers: &BTreeMap<u64, Arc<Peer>>| {
            let oldest = strangers.first_key_value().map(|(number, _)| *number);
            oldest.map(|oldest| (strangers.len(), Reverse(oldest), network))
        };
        let strangers = self.strangers.entry(network).or_default();
        let before = key(strangers);
        let result = change(strangers);
        let after = key(strangers);
        if after.is_none() {
            self.strangers.remove(&network);
        }
        if before != after {
            if let Some(before) = before {
                self.by_count.remove(&before);
            }
            self.by_count.extend(after);
        }
        result
    }
}

impl Peer {
    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// Is set when a request on it is authenticated.
    pub(crate) fn is_known(&self) -> &Arc<AtomicBool> {
        &self.peer.is_known
    }

    /// The address of the client who sent a request over it from `peer`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.connections.proxies.client(peer, headers)
    }

    /// Waits until it is to be closed to make place for another one. Returns whether at once: a known one finishes what it
    /// does.
    pub(crate) async fn is_to_close(&self) -> bool {
        self.peer.close.notified().await;
        !self.peer.is_known()
    }

    /// Takes its file, since it becomes something else than a connection of HTTP; `None` if that was taken already.
    pub(crate) fn take_file(&self) -> Option<OwnedSemaphorePermit> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).file.take()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().remove(self.number, &self.peer);
    }
}

#[cfg(test)]
mod tests;
