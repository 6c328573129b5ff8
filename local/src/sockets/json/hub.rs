//! The hub of the JSON protocol: who watches whom, by identity.
//!
//! A socket watches users, and channels with all their members. The members of a watched channel are in memory, once for all
//! sockets that watch it, and the index of users names the channel. So a watch of a channel costs a socket the same however many
//! members it has, and a change finds the sockets of a user and of its channels, each once.
//!
//! As with the hub of Twilsock, the store's thread only looks whether anybody watches, and tasks do the rest ([`super::tell`]).
//! The members of channels it changes itself: whoever reads them sees what was committed before.

pub(super) mod channel;

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachability_domain::channel::key::ChannelKey;
use reachability_domain::channel::ports::{Channels, MembersChange};
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::feed::{FeedEntry, Seen};
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_gateway::json::{CommandError, RequestNumber};
use tokio::time::Instant;
use tracing::warn;

use self::channel::{Changed, Channel, Gone};
use crate::sockets::budget::{Budget, Exhausted};
use crate::sockets::lanes::{Begun, Lanes, Tell};
use crate::sockets::wire::Wire;

/// The number of parts of the index.
const SHARDS: usize = 8;

/// How many members of a channel are read at a time.
const READ_AT_ONCE: usize = 1_000;

/// The watches.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Shard>,
    hasher: RandomState,
    channels: Mutex<HashMap<ChannelKey, Arc<Channel>>>,
    /// How much is watched, over both protocols.
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Shard {
    users: Mutex<HashMap<UserKey, Watched>>,
    lanes: Arc<Lanes<Told>>,
}

/// Who watches a user.
#[derive(Debug, Default)]
struct Watched {
    /// The sockets that watch the user, by number.
    sockets: HashMap<u64, Arc<Wire>>,
    /// The watched channels of which the user is a member.
    channels: Vec<Arc<Channel>>,
}

/// Something to tell.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) what: What,
    pub(super) committed: Instant,
}

#[derive(Debug)]
pub(super) enum What {
    Seen(Box<Seen>),
    Profile {
        user: UserKey,
        sid: UserSid,
        sequence: u64,
        at: Timestamp,
    },
    Deleted {
        user: UserKey,
        sequence: u64,
        at: Timestamp,
    },
    /// A user became a member of a channel, or is none any more.
    Member {
        channel: Arc<Channel>,
        user: Identity,
        is_member: bool,
    },
    Gone(Arc<Channel>, Gone),
    /// All users of a service look otherwise.
    Switched {
        service: ServiceSid,
        configuration: Configuration,
        sequence: u64,
        at: Timestamp,
    },
}

impl Tell for Told {
    fn absorb(&mut self, later: Self) -> Result<(), Self> {
        match (&mut self.what, later.what) {
            (What::Seen(seen), What::Seen(then)) if (&seen.user, seen.sid) == (&then.user, then.sid) => {
                seen.absorb(*then);
            }
            // The profile is read when it is told.
            (
                What::Profile { user, sid, sequence, at },
                What::Profile { user: of, sid: and, sequence: later, at: then },
            ) if (&*user, *sid) == (&of, and) => {
                (*sequence, *at) = (later, then);
            }
            (_, what) => return Err(Self { what, ..later }),
        }
        Ok(())
    }
}

/// What the hub's tasks receive.
#[derive(Debug)]
pub(crate) struct Tasks(pub(super) Vec<Begun>);

impl Hub {
    /// A hub, and what its tasks receive.
    pub(in crate::sockets) fn new(budget: Arc<Budget>) -> (Arc<Self>, Tasks) {
        let (shards, begun) = (0..SHARDS)
            .map(|_| {
                let (lanes, begun) = Lanes::new();
                (Shard { users: Mutex::default(), lanes }, begun)
            })
            .unzip();
        let hub = Self { shards, hasher: RandomState::new(), channels: Mutex::default(), budget };
        (Arc::new(hub), Tasks(begun))
    }

    /// From now on this socket hears of the user.
    ///
    /// # Errors
    /// If too much is watched already.
    pub(super) fn watch(&self, user: UserKey, wire: &Arc<Wire>) -> Result<(), CommandError> {
        let service = user.service;
        self.take(service)?;
        let old = self.shard(&user).lock().entry(user).or_default().sockets.insert(wire.number, wire.clone());
        if old.is_some() {
            self.budget.free(service, 1);
        }
        Ok(())
    }

    /// This socket does not hear of the user any more, unless as a member of a channel.
    pub(super) fn unwatch(&self, user: UserKey, wire: &Wire) {
        let service = user.service;
        let mut users = self.shard(&user).lock();
        let Entry::Occupied(mut watched) = users.entry(user) else { return };
        let sockets = &mut watched.get_mut().sockets;
        if sockets.remove(&wire.number).is_none() {
            return;
        }
        self.budget.free(service, 1);
        if sockets.capacity() > 64 && sockets.capacity() / 4 > sockets.len() {
            sockets.shrink_to_fit();
        }
        watched.get().is_empty().then(|| watched.remove());
    }

    /// From now on this watch of a socket has the channel. Its members are to be read next ([`Hub::members`]).
    ///
    /// # Errors
    /// If too much is watched already.
    pub(super) fn join(
        &self,
        key: &ChannelKey,
        wire: &Arc<Wire>,
        watch: RequestNumber,
    ) -> Result<Arc<Channel>, CommandError> {
        self.take(key.service)?;
        loop {
            let channel =
                self.channels().entry(key.clone()).or_insert_with(|| Arc::new(Channel::new(key.clone()))).clone();
            match channel.join(wire, watch) {
                Some(true) => return Ok(channel),
                Some(false) => {
                    self.budget.free(key.service, 1);
                    return Ok(channel);
                }
                None => self.forget(&channel),
            }
        }
    }

    /// The members of a channel that a socket has joined; `None` if it left it meanwhile.
    ///
    /// # Errors
    /// If they cannot be read, or too much is watched already.
    pub(super) async fn members(
        &self,
        channel: &Arc<Channel>,
        channels: &dyn Channels,
    ) -> Result<Option<Vec<Identity>>, MembersError> {
        let _turn = channel.loading.lock().await;
        if let Some(members) = channel.members() {
            return Ok(Some(members));
        }
        let mut read: Vec<Identity> = vec![];
        loop {
            let page = channels.members(&channel.key, read.last(), READ_AT_ONCE).await?;
            let is_last = page.len() < READ_AT_ONCE;
            read.extend(page);
            if is_last {
                break;
            }
        }
        // From here on nothing waits: what is put into the index is taken out again.
        self.budget.check(channel.key.service, read.len()).map_err(too_much)?;
        let members: BTreeSet<Identity> = read.into_iter().collect();
        members.iter().for_each(|user| self.index(channel, user, true));
        let loaded = channel.loaded(members.clone(), |user, is_member| self.index(channel, user, is_member));
        if loaded.is_none() {
            members.iter().for_each(|user| self.index(channel, user, false));
        }
        Ok(loaded)
    }

    /// A watch of a socket has the channel no more; `None`: none of its watches.
    pub(super) fn leave(&self, channel: &Arc<Channel>, wire: &Wire, watch: Option<RequestNumber>) {
        let (is_left, over) = channel.leave(wire, watch);
        if is_left {
            self.budget.free(channel.key.service, 1);
        }
        if let Some(members) = over {
            self.end(channel, &members);
        }
    }

    /// Nobody watches the channel any more.
    pub(super) fn end(&self, channel: &Arc<Channel>, members: &BTreeSet<Identity>) {
        self.forget(channel);
        members.iter().for_each(|user| self.index(channel, user, false));
    }

    fn forget(&self, channel: &Arc<Channel>) {
        let mut channels = self.channels();
        if channels.get(&channel.key).is_some_and(|known| Arc::ptr_eq(known, channel)) {
            channels.remove(&channel.key);
        }
    }

    /// A user is a member of a watched channel, or is none any more.
    fn index(&self, channel: &Arc<Channel>, user: &Identity, is_member: bool) {
        let key = UserKey { service: channel.key.service, identity: user.clone() };
        let mut users = self.shard(&key).lock();
        if is_member {
            self.budget.add(channel.key.service, 1);
            users.entry(key).or_default().channels.push(channel.clone());
            return;
        }
        let Entry::Occupied(mut watched) = users.entry(key) else { return };
        let channels = &mut watched.get_mut().channels;
        let Some(place) = channels.iter().position(|known| Arc::ptr_eq(known, channel)) else { return };
        channels.swap_remove(place);
        self.budget.free(channel.key.service, 1);
        watched.get().is_empty().then(|| watched.remove());
    }

    fn take(&self, service: ServiceSid) -> Result<(), CommandError> {
        self.budget.take(service).map_err(too_much)
    }

    /// The sockets that watch a user, each once.
    pub(super) fn watchers(&self, user: &UserKey) -> Vec<Arc<Wire>> {
        let (sockets, channels) = match self.shard(user).lock().get(user) {
            Some(watched) => (watched.sockets.values().cloned().collect::<Vec<_>>(), watched.channels.clone()),
            None => return vec![],
        };
        match channels.as_slice() {
            [] => sockets,
            [channel] if sockets.is_empty() => channel.sockets(),
            channels => {
                let of_channels = channels.iter().flat_map(|channel| channel.sockets());
                let all: HashMap<u64, Arc<Wire>> =
                    sockets.into_iter().chain(of_channels).map(|wire| (wire.number, wire)).collect();
                all.into_values().collect()
            }
        }
    }

    /// What waits to be told of the users in a part of the index.
    pub(super) fn lanes(&self, shard: usize) -> Arc<Lanes<Told>> {
        self.shards[shard].lanes.clone()
    }

    /// The users of a service that are watched, of a part of the index.
    pub(super) fn watched_of(&self, shard: usize, service: ServiceSid) -> Vec<UserKey> {
        self.shards[shard].lock().keys().filter(|user| user.service == service).cloned().collect()
    }

    /// Hands over what a write led to. It is called where the write was committed.
    pub(in crate::sockets) fn committed(&self, entries: &[FeedEntry], committed: Instant) {
        for FeedEntry { notice, sequence, seen, .. } in entries {
            let sequence = *sequence;
            match notice {
                Some(Notice::User(change)) if change.before.exists && !change.after.exists => {
                    let (user, at) = (&change.user, change.at);
                    self.hand_over(user, committed, || What::Deleted { user: user.clone(), sequence, at });
                    continue;
                }
                Some(Notice::Profile(change)) => {
                    let (was, is) = (&change.before, &change.profile);
                    if was.friendly_name != is.friendly_name || was.attributes != is.attributes {
                        let (user, sid, at) = (&change.user, change.user_sid, change.at);
                        self.hand_over(user, committed, || What::Profile { user: user.clone(), sid, sequence, at });
                    }
                }
                Some(Notice::Service(switch)) => {
                    let configuration = Configuration {
                        reachability_enabled: switch.after.reachability_enabled,
                        generation: switch.after.generation,
                        ..Configuration::default()
                    };
                    let (service, at) = (switch.service_sid, switch.at.unwrap_or_default());
                    for index in 0..SHARDS {
                        let what = What::Switched { service, configuration, sequence, at };
                        self.push(index, service, None, Told { what, committed });
                    }
                }
                Some(Notice::User(_)) | None => {}
            }
            if let Some(seen) = seen.as_ref().filter(|seen| seen.by_others.is_changed || seen.by_user.is_changed) {
                self.hand_over(&seen.user, committed, || What::Seen(seen.clone()));
            }
        }
    }

    /// Hands a change of a user to its task, if anybody watches the user.
    fn hand_over(&self, user: &UserKey, committed: Instant, what: impl FnOnce() -> What) {
        let hash = self.hash(user);
        let shard = hash as usize % SHARDS;
        let is_watched = self.shards[shard].lock().contains_key(user);
        if is_watched {
            self.push(shard, user.service, Some(hash), Told { what: what(), committed });
        }
    }

    /// Returns whether it waits now. Otherwise those whom it concerns are cut off.
    fn push(&self, shard: usize, service: ServiceSid, user: Option<u64>, told: Told) -> bool {
        let pushed = self.shards[shard].lanes.push(service, user, told);
        if let Err(told) = &pushed {
            warn!("watchers are cut off, since too many changes wait for them");
            self.cut(shard, told);
        }
        pushed.is_ok()
    }

    /// Cuts off those whom this concerns.
    pub(super) fn cut(&self, shard: usize, told: &Told) {
        let of_user = |user: &UserKey| cut_each(&self.watchers(user));
        match &told.what {
            What::Seen(seen) => of_user(&seen.user),
            What::Profile { user, .. } | What::Deleted { user, .. } => of_user(user),
            What::Member { channel, .. } => cut_each(&channel.sockets()),
            What::Gone(channel, Gone { sockets, over }) => {
                cut_each(sockets);
                if let Some(members) = over {
                    self.end(channel, members);
                }
            }
            What::Switched { service, .. } => self.watched_of(shard, *service).iter().for_each(of_user),
        }
    }

    /// Takes a change of the members of a channel. It is called where the change was committed.
    pub(in crate::sockets) fn members_changed(&self, change: &MembersChange) {
        let Some(channel) = self.channels().get(&change.channel).cloned() else { return };
        let Some(changed) = channel.change(change, |user, is_member| self.index(&channel, user, is_member)) else {
            return;
        };
        let Changed { added, removed, gone } = changed;
        let committed = Instant::now();
        self.budget.free(channel.key.service, gone.sockets.len());
        if gone.over.is_some() {
            // Whoever comes next makes another one.
            self.forget(&channel);
        } else {
            let moved = removed.into_iter().map(|user| (user, false)).chain(added.into_iter().map(|user| (user, true)));
            for (user, is_member) in moved {
                // With all else of the user, so that nothing that is told before can be newer.
                let key = UserKey { service: channel.key.service, identity: user.clone() };
                let what = What::Member { channel: channel.clone(), user, is_member };
                let hash = self.hash(&key);
                let told = Told { what, committed };
                if !self.push(hash as usize % SHARDS, key.service, Some(hash), told) {
                    break;
                }
            }
        }
        if !gone.sockets.is_empty() || gone.over.is_some() {
            let shard = self.hasher.hash_one(&channel.key) as usize % SHARDS;
            self.push(shard, channel.key.service, None, Told { what: What::Gone(channel, gone), committed });
        }
    }

    fn hash(&self, user: &UserKey) -> u64 {
        self.hasher.hash_one(user)
    }

    fn shard(&self, user: &UserKey) -> &Shard {
        &self.shards[self.hash(user) as usize % SHARDS]
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<ChannelKey, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashMap<UserKey, Watched>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.channels.is_empty()
    }
}

fn too_much(Exhausted { limit }: Exhausted) -> CommandError {
    CommandError::LimitReached { what: "watched users of all clients", limit: limit as u64 }
}

fn cut_each(sockets: &[Arc<Wire>]) {
    sockets.iter().for_each(|wire| wire.cut());
}

/// Why the members of a channel are not watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum MembersError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Limit(#[from] CommandError),
}

#[cfg(test)]
mod tests;
