//! What one socket watches.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachability_domain::channel::key::ChannelKey;
use reachability_domain::channel::ports::Channels;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::metrics::{Counter, Metrics};
use reachability_gateway::json::settings::MAX_WATCHES;
use reachability_gateway::json::{CommandError, RequestNumber, Settings};

use super::hub::channel::Channel;
use super::hub::{Hub, MembersError};
use crate::sockets::frames::Frame;
use crate::sockets::wire::Wire;

/// What one socket watches, by the requests that began the watches.
pub(in crate::sockets) struct Watches {
    hub: Arc<Hub>,
    wire: Arc<Wire>,
    /// Whose socket it is.
    user: UserKey,
    settings: Settings,
    metrics: Arc<dyn Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watches: HashMap<RequestNumber, Watch>,
    /// How many of the watches have a user.
    users: HashMap<Identity, u32>,
}

#[derive(Default)]
struct Watch {
    users: Vec<Identity>,
    channels: Vec<Arc<Channel>>,
}

impl State {
    /// The channels, each once. The hub may have ended some of them.
    fn channels(&self) -> Vec<&Arc<Channel>> {
        let mut channels: Vec<_> = self.watches.values().flat_map(|watch| &watch.channels).collect();
        channels.sort_unstable_by_key(|channel| Arc::as_ptr(channel));
        channels.dedup_by_key(|channel| Arc::as_ptr(channel));
        channels
    }
}

impl Watches {
    pub(super) fn new(
        hub: Arc<Hub>,
        wire: Arc<Wire>,
        user: UserKey,
        settings: Settings,
        metrics: Arc<dyn Metrics>,
    ) -> Self {
        Self { hub, wire, user, settings, metrics, state: Mutex::default() }
    }

    /// Whose socket it is.
    pub(super) fn user(&self) -> &UserKey {
        &self.user
    }

    /// The sending side of the socket.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Sends a part of an answer, once little waits for the client. Only the socket's task may do so.
    pub(super) async fn send(&self, part: &[u8]) {
        self.wire.room().await;
        self.metrics.add(Counter::FramesSent);
        self.wire.send(&Frame::message(true, part));
    }

    /// The most users of one watch.
    pub(super) fn users_per_watch(&self) -> usize {
        usize::try_from(self.settings.users_per_watch).unwrap_or(usize::MAX)
    }

    /// Begins a watch, which watches nothing yet. Returns whether there was none of this name.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn begin(&self, watch: RequestNumber) -> Result<bool, CommandError> {
        let mut state = self.lock();
        let count = state.watches.len() as u64;
        match state.watches.entry(watch) {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(_) if count >= MAX_WATCHES => {
                Err(CommandError::LimitReached { what: "watches", limit: MAX_WATCHES })
            }
            Entry::Vacant(place) => {
                place.insert(Watch::default());
                Ok(true)
            }
        }
    }

    /// Adds users to a watch. If the client has ended it meanwhile, nobody is watched.
    ///
    /// # Errors
    /// If they are too many. Some may be watched if those of all sockets are: the watch is to be ended.
    pub(super) fn watch(&self, watch: RequestNumber, users: &[Identity]) -> Result<(), CommandError> {
        let mut state = self.lock();
        let new: HashSet<&Identity> = users.iter().filter(|user| !state.users.contains_key(*user)).collect();
        self.check(&state, new.len())?;
        let State { watches, users: known } = &mut *state;
        let Some(watch) = watches.get_mut(&watch) else { return Ok(()) };
        let mut had: HashSet<Identity> = watch.users.iter().cloned().collect();
        let mut begun = 0;
        for user in users {
            if !had.insert(user.clone()) {
                continue;
            }
            match known.entry(user.clone()) {
                Entry::Occupied(mut count) => *count.get_mut() += 1,
                Entry::Vacant(place) => {
                    self.hub.watch(self.key(user.clone()), &self.wire)?;
                    place.insert(1);
                    begun += 1;
                }
            }
            watch.users.push(user.clone());
        }
        watch.users.shrink_to_fit();
        self.metrics.add_many(Counter::WatchesBegun, begun);
        Ok(())
    }

    /// Adds a channel to a watch. Returns its members; `None` if the client's user is not one, or the client has ended the watch
    /// meanwhile.
    ///
    /// # Errors
    /// If they cannot be read, or are too many. Then the watch does not have it.
    pub(super) async fn watch_channel(
        &self,
        watch: RequestNumber,
        key: &ChannelKey,
        channels: &dyn Channels,
    ) -> Result<Option<Vec<Identity>>, MembersError> {
        let channel = {
            let mut state = self.lock();
            let Some(watched) = state.watches.get_mut(&watch) else { return Ok(None) };
            let channel = self.hub.join(key, &self.wire, watch)?;
            if !watched.channels.iter().any(|known| Arc::ptr_eq(known, &channel)) {
                watched.channels.push(channel.clone());
                self.metrics.add(Counter::WatchesBegun);
            }
            channel
        };
        let members = self.hub.members(&channel, channels).await;
        let members = members.and_then(|members| {
            self.check(&self.lock(), 0)?;
            Ok(members.filter(|members| members.contains(&self.user.identity)))
        });
        if let Ok(Some(_)) = members {
            return members;
        }
        if let Some(watched) = self.lock().watches.get_mut(&watch) {
            watched.channels.retain(|known| !Arc::ptr_eq(known, &channel));
        }
        self.leave(&channel, Some(watch));
        members
    }

    /// Whether so many more users can be watched.
    fn check(&self, state: &State, more: usize) -> Result<(), CommandError> {
        let members: usize = state.channels().iter().map(|channel| channel.watched_by(&self.wire)).sum();
        let limit = u64::from(self.settings.watched_users);
        if (state.users.len() + members + more) as u64 > limit {
            Err(CommandError::TooManyUsers { limit })
        } else {
            Ok(())
        }
    }

    /// Ends a watch, if there is one of this name.
    pub(super) fn end(&self, watch: RequestNumber) {
        let mut state = self.lock();
        let Some(Watch { users, channels }) = state.watches.remove(&watch) else { return };
        let mut ended = 0;
        for user in users {
            let Entry::Occupied(mut count) = state.users.entry(user) else { continue };
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                let (user, _) = count.remove_entry();
                self.hub.unwatch(self.key(user), &self.wire);
                ended += 1;
            }
        }
        self.metrics.add_many(Counter::WatchesEnded, ended);
        for channel in channels {
            self.leave(&channel, Some(watch));
        }
        if state.watches.is_empty() {
            // A socket that watches nothing holds no memory for it.
            *state = State::default();
        }
    }

    /// Ends all watches.
    pub(super) fn end_all(&self) {
        let State { watches, users } = std::mem::take(&mut *self.lock());
        self.metrics.add_many(Counter::WatchesEnded, users.len() as u64);
        for (user, _) in users {
            self.hub.unwatch(self.key(user), &self.wire);
        }
        for channel in watches.into_values().flat_map(|watch| watch.channels) {
            self.leave(&channel, None);
        }
    }

    fn leave(&self, channel: &Arc<Channel>, watch: Option<RequestNumber>) {
        self.hub.leave(channel, &self.wire, watch);
        self.metrics.add(Counter::WatchesEnded);
    }

    fn key(&self, identity: Identity) -> UserKey {
        UserKey { service: self.user.service, identity }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
