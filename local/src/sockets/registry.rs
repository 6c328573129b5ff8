//! Who is connected, and how many may be.

mod openings;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Counter;
use reachability_domain::network::Network;
use reachability_domain::presence::sockets::Socket;
use reachability_domain::sid::{KeySid, ServiceSid};
use reachability_domain::time::Timestamp;
use reachability_gateway::session::Cause;
use reachability_infra::clock;
use tokio::sync::OwnedSemaphorePermit;

use self::openings::Openings;
use super::wire::Wire;

/// How many sockets may be open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In all, those included that did not say yet who they are.
    pub(crate) all: usize,
    /// From one address; `None`: as many as in all.
    pub(crate) per_address: Option<usize>,
    /// Of one service; `None`: as many as in all.
    pub(crate) per_service: Option<usize>,
    /// Of one user.
    pub(crate) per_user: usize,
    /// Of those who did not say yet who they are.
    pub(crate) strangers: usize,
    /// Of those from one address.
    pub(crate) strangers_per_address: usize,
}

/// There are as many sockets already as there may be. With what counts those that are refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are too many sockets {0}")]
pub(crate) struct TooMany(&'static str, pub(super) Counter);

/// What a client sends to be recognized when it comes back.
pub(super) type ContinuationToken = u128;

/// A socket whose user is known.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) wire: Arc<Wire>,
    pub(super) socket: Socket,
    /// The API key that signed the client's token.
    pub(super) key: KeySid,
    pub(super) token: ContinuationToken,
    /// When it was added. Its connection begins right after that.
    pub(super) since: Timestamp,
}

/// All sockets.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: Limits,
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    all: usize,
    /// The places of those who did not say yet who they are, by number, with their sockets once these are open.
    strangers: HashMap<u64, Option<Arc<Wire>>>,
    places: u64,
    addresses: HashMap<Network, FromAddress>,
    services: HashMap<ServiceSid, usize>,
    users: HashMap<UserKey, Vec<Known>>,
    openings: Openings,
    /// How often keys or services were deleted.
    deletions: u64,
    is_draining: bool,
}

/// How many sockets there are from an address.
#[derive(Debug, Default)]
struct FromAddress {
    all: usize,
    strangers: usize,
}

/// What was deleted before a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletions(u64);

/// Why a socket was not added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAdded {
    TooMany(TooMany),
    /// Keys or services were deleted meanwhile: the token is to be verified again.
    Outdated,
    /// The server stops.
    Draining,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, sockets: Mutex::default() }
    }

    /// Makes room for a new socket from this address, whose client did not say yet who it is.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr) -> Result<Place, TooMany> {
        let Limits { all, per_address, strangers, strangers_per_address, .. } = self.limits;
        let address = Network::of(address);
        let mut sockets = self.lock();
        let (from_address, strangers_from_address) =
            sockets.addresses.get(&address).map_or((0, 0), |from| (from.all, from.strangers));
        if sockets.is_draining {
            return Err(TooMany("for a server that stops", Counter::RefusedSocketsAtStop));
        }
        if sockets.all >= all {
            return Err(TooMany("in all", Counter::RefusedSockets));
        }
        if sockets.strangers.len() >= strangers {
            return Err(TooMany("that did not say who they are", Counter::RefusedStrangers));
        }
        if per_address.is_some_and(|limit| from_address >= limit) {
            return Err(TooMany("from one address", Counter::RefusedSocketsOfAddress));
        }
        if strangers_from_address >= strangers_per_address {
            return Err(TooMany("from one address that did not say who they are", Counter::RefusedStrangersOfAddress));
        }
        sockets.all += 1;
        let from_address = sockets.addresses.entry(address).or_default();
        from_address.all += 1;
        from_address.strangers += 1;
        sockets.places += 1;
        let number = sockets.places;
        sockets.strangers.insert(number, None);
        Ok(Place { registry: self.clone(), address, number, _file: None })
    }

    /// What was deleted until now. A token that is verified after this is good as long as nothing more is deleted.
    pub(super) fn deletions(&self) -> Deletions {
        Deletions(self.lock().deletions)
    }

    /// Adds a socket whose token was verified after `deletions`. If the client had a socket with this continuation token, that
    /// one is returned: it does not count, and is to be ended.
    ///
    /// # Errors
    /// If there are too many sockets, or the token is to be verified again.
    pub(super) fn add(
        &self,
        known: Known,
        continues: Option<ContinuationToken>,
        deletions: Deletions,
    ) -> Result<Option<Known>, NotAdded> {
        let mut sockets = self.lock();
        if sockets.is_draining {
            return Err(NotAdded::Draining);
        }
        if sockets.deletions != deletions.0 {
            return Err(NotAdded::Outdated);
        }
        let user = known.socket.user.clone();
        let of_user = sockets.users.get(&user);
        let superseded = of_user.and_then(|known| known.iter().find(|known| Some(known.token) == continues)).cloned();
        let more = usize::from(superseded.is_none());
        if of_user.map_or(0, Vec::len) + more > self.limits.per_user {
            return Err(NotAdded::TooMany(TooMany("of one user", Counter::RefusedSocketsOfUser)));
        }
        let of_service = sockets.services.get(&user.service).copied().unwrap_or_default();
        if self.limits.per_service.is_some_and(|limit| of_service + more > limit) {
            return Err(NotAdded::TooMany(TooMany("of one service", Counter::RefusedSocketsOfService)));
        }
        if !sockets.openings.take(&user, known.since) {
            return Err(NotAdded::TooMany(TooMany("that one user has opened lately", Counter::RefusedOpenings)));
        }
        if let Some(superseded) = &superseded {
            sockets.remove(superseded);
        }
        *sockets.services.entry(user.service).or_default() += 1;
        // Most users have one.
        sockets.users.entry(user).or_insert_with(|| Vec::with_capacity(1)).push(known);
        Ok(superseded)
    }

    /// Removes a socket. Does nothing if it is not there.
    pub(super) fn remove(&self, known: &Known) {
        self.lock().remove(known);
    }

    /// The key of a socket's token is another one from now on. Returns whether the token, verified after `deletions`, is still
    /// good; if not, nothing was done, and it is to be verified again.
    pub(super) fn renew(&self, renewed: &Known, key: KeySid, deletions: Deletions) -> bool {
        let mut sockets = self.lock();
        if sockets.deletions != deletions.0 {
            return false;
        }
        let of_user = sockets.users.get_mut(&renewed.socket.user).into_iter().flatten();
        for known in of_user.filter(|known| known.wire.number == renewed.wire.number) {
            known.key = key;
        }
        true
    }

    /// The API key was deleted: ends the sockets whose tokens it signed.
    pub(super) fn end_key(&self, key: KeySid, cause: Cause) {
        let mut sockets = self.lock();
        sockets.deletions += 1;
        sockets.end(cause, |known| known.key == key);
    }

    /// The service was deleted: ends its sockets.
    pub(super) fn end_service(&self, service: ServiceSid, cause: Cause) {
        let mut sockets = self.lock();
        sockets.deletions += 1;
        sockets.end(cause, |known| known.socket.user.service == service);
    }

    /// The user was deleted at this time: ends its sockets. Not those that were added later: with them it exists again.
    pub(super) fn end_user(&self, user: &UserKey, at: Timestamp) {
        // If it was added later than now, the clock was set back since.
        let now = clock::now();
        let was_there = |known: &&Known| known.since <= at || now < known.since;
        for known in self.lock().users.get(user).into_iter().flatten().filter(was_there) {
            known.wire.end(Cause::UserDeleted);
        }
    }

    /// The sockets of a service.
    pub(super) fn of_service(&self, service: ServiceSid) -> Vec<Socket> {
        let sockets = self.lock();
        let of_service = sockets.users.iter().filter(|(user, _)| user.service == service);
        of_service.flat_map(|(_, known)| known.iter().map(|known| known.socket.clone())).collect()
    }

    /// From now on there are no new sockets. Returns those that there are.
    pub(super) fn drain(&self) -> Vec<Arc<Wire>> {
        let mut sockets = self.lock();
        sockets.is_draining = true;
        let known = sockets.users.values().flatten().map(|known| &known.wire);
        known.chain(sockets.strangers.values().flatten()).cloned().collect()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lock().is_draining
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets {
    fn remove(&mut self, gone: &Known) {
        let user = &gone.socket.user;
        let Some(of_user) = self.users.get_mut(user) else { return };
        let Some(place) = of_user.iter().position(|known| known.wire.number == gone.wire.number) else { return };
        of_user.swap_remove(place);
        if of_user.is_empty() {
            self.users.remove(user);
        }
        subtract(&mut self.services, user.service);
    }

    /// The client of this place is no stranger any more.
    fn know(&mut self, place: &Place) {
        if self.strangers.remove(&place.number).is_some()
            && let Some(from_address) = self.addresses.get_mut(&place.address)
        {
            from_address.strangers -= 1;
        }
    }

    fn end(&self, cause: Cause, is_meant: impl Fn(&Known) -> bool) {
        for known in self.users.values().flatten().filter(|known| is_meant(known)) {
            known.wire.end(cause);
        }
    }
}

/// Subtracts one, and removes what is zero.
fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// The room of one socket. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    address: Network,
    number: u64,
    /// The file of the connection that the socket was before.
    _file: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The same, with its file among those that connections may open.
    pub(super) fn with_file(mut self, file: Option<OwnedSemaphorePermit>) -> Self {
        self._file = file;
        self
    }

    /// Where its client is.
    pub(super) fn network(&self) -> Network {
        self.address
    }

    /// The socket is open.
    pub(super) fn open(&self, wire: &Arc<Wire>) {
        let mut sockets = self.registry.lock();
        if sockets.is_draining {
            wire.end(Cause::Draining);
        }
        if let Some(stranger) = sockets.strangers.get_mut(&self.number) {
            *stranger = Some(wire.clone());
        }
    }

    /// The client said who it is.
    pub(super) fn know(&self) {
        self.registry.lock().know(self);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sockets = self.registry.lock();
        sockets.all -= 1;
        sockets.know(self);
        if let Entry::Occupied(mut from_address) = sockets.addresses.entry(self.address) {
            from_address.get_mut().all -= 1;
            if from_address.get().all == 0 {
                from_address.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::sid::Sid;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LIMITS: Limits = Limits {
        all: 5,
        per_address: Some(4),
        per_service: Some(3),
        per_user: 2,
        strangers: 3,
        strangers_per_address: 2,
    };

    async fn known(number: u64, service: u128, identity: &str) -> Known {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, wire) = Wire::of(stream, number);
        let user = UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
        let socket = Socket { user, connection: format!("run-{number}").parse().unwrap() };
        Known {
            wire,
            socket,
            key: Sid::from_bits(service),
            token: number.into(),
            since: Timestamp::from_millis(i64::try_from(number).unwrap()),
        }
    }

    #[tokio::test]
    async fn there_is_room_for_so_many() {
        let registry = Arc::new(Registry::new(LIMITS));
        let [here, there]: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        let mut places: Vec<Place> = (0..2).map(|_| registry.place(here).unwrap()).collect();
        let many_strangers =
            TooMany("from one address that did not say who they are", Counter::RefusedStrangersOfAddress);
        assert_eq!(registry.place(here).unwrap_err(), many_strangers);
        places.push(registry.place(there).unwrap());
        assert_eq!(
            registry.place(there).unwrap_err(),
            TooMany("that did not say who they are", Counter::RefusedStrangers)
        );
        places.iter().for_each(Place::know);
        places.iter().for_each(Place::know);
        places.pop();
        places.extend([registry.place(here).unwrap(), registry.place(here).unwrap()]);
        assert_eq!(registry.place(here).unwrap_err(), TooMany("from one address", Counter::RefusedSocketsOfAddress));
        places.push(registry.place(there).unwrap());
        assert_eq!(registry.place(there).unwrap_err(), TooMany("in all", Counter::RefusedSockets));
        places.clear();
        assert_eq!(registry.lock().all, 0);
        assert!(registry.lock().addresses.is_empty() && registry.lock().strangers.is_empty());
        registry.place(here).unwrap();
    }

    #[tokio::test]
    async fn strangers_are_told_when_the_server_stops() {
        let registry = Arc::new(Registry::new(LIMITS));
        let [early, late] = [known(1, 1, "alice").await.wire, known(2, 1, "alice").await.wire];
        let places = [registry.place([127, 0, 0, 1].into()).unwrap(), registry.place([127, 0, 0, 1].into()).unwrap()];
        places[0].open(&early);
        assert_eq!(registry.drain().len(), 1);
        assert_eq!(early.take_end(), None, "who drains them asks for their end");
        places[1].open(&late);
        assert_eq!(late.take_end(), Some(Cause::Draining));
    }

    #[tokio::test]
    async fn users_and_services_have_so_many() {
        let registry = Registry::new(LIMITS);
        let now = registry.deletions();
        let (first, second) = (known(1, 1, "alice").await, known(2, 1, "alice").await);
        assert!(registry.add(first.clone(), None, now).unwrap().is_none());
        assert!(registry.add(second.clone(), Some(9), now).unwrap().is_none(), "no such socket");
        let third = known(3, 1, "alice").await;
        let too_many = |why, counter| NotAdded::TooMany(TooMany(why, counter));
        assert_eq!(
            registry.add(third.clone(), None, now).unwrap_err(),
            too_many("of one user", Counter::RefusedSocketsOfUser)
        );
        // One that takes another's place does not count.
        let superseded = registry.add(third.clone(), Some(first.token), now).unwrap().unwrap();
        assert_eq!(superseded.wire.number, 1);
        let others = known(4, 1, "bob").await;
        assert!(registry.add(others, Some(second.token), now).unwrap().is_none(), "it is another user's");
        let fourth = known(5, 1, "carol").await;
        assert_eq!(
            registry.add(fourth.clone(), None, now).unwrap_err(),
            too_many("of one service", Counter::RefusedSocketsOfService)
        );
        assert!(registry.add(known(6, 2, "carol").await, None, now).is_ok());
        registry.remove(&first);
        registry.remove(&third);
        registry.remove(&third);
        assert!(registry.add(fourth, None, now).is_ok());
        assert_eq!(registry.of_service(Sid::from_bits(1)).len(), 3);
    }

    #[tokio::test]
    async fn what_is_deleted_ends_sockets() {
        let registry = Registry::new(LIMITS);
        let [a, b, c] = [known(1, 1, "alice").await, known(2, 2, "alice").await, known(3, 1, "bob").await];
        for known in [&a, &b, &c] {
            registry.add(known.clone(), None, registry.deletions()).unwrap();
        }
        let before = registry.deletions();
        let again = known(4, 1, "bob").await;
        registry.add(again.clone(), None, before).unwrap();
        registry.end_user(&c.socket.user, c.since);
        assert_eq!(again.wire.take_end(), None, "it came after the deletion");
        registry.remove(&again);
        registry.end_key(Sid::from_bits(1), Cause::KeyDeleted);
        registry.end_service(Sid::from_bits(2), Cause::ServiceDeleted);
        let ends = [&a, &b, &c].map(|known| known.wire.take_end());
        assert_eq!(ends, [Some(Cause::KeyDeleted), Some(Cause::ServiceDeleted), Some(Cause::UserDeleted)]);
        let late = known(5, 1, "carol").await;
        assert_eq!(registry.add(late.clone(), None, before).unwrap_err(), NotAdded::Outdated);
        assert!(registry.add(late.clone(), None, registry.deletions()).is_ok());
        assert!(!registry.renew(&late, Sid::from_bits(7), before));
        assert!(registry.renew(&late, Sid::from_bits(7), registry.deletions()));
        registry.end_key(Sid::from_bits(7), Cause::Doubtful);
        assert_eq!(late.wire.take_end(), Some(Cause::Doubtful));
        assert_eq!(registry.drain().len(), 4);
        assert_eq!(
            registry.add(known(6, 1, "dave").await, None, registry.deletions()).unwrap_err(),
            NotAdded::Draining
        );
        assert!(Arc::new(registry).place([127, 0, 0, 1].into()).is_err());
    }
}
