//! A channel that is watched: who its members are, and which sockets watch it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachability_domain::channel::key::ChannelKey;
use reachability_domain::channel::ports::MembersChange;
use reachability_domain::identity::Identity;
use reachability_gateway::json::RequestNumber;

use crate::sockets::wire::Wire;

/// A watched channel.
#[derive(Debug)]
pub(in crate::sockets::json) struct Channel {
    pub(in crate::sockets::json) key: ChannelKey,
    /// Whoever reads the members holds this.
    pub(super) loading: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By number.
    sockets: HashMap<u64, Watcher>,
    /// `None` until they are read.
    members: Option<BTreeSet<Identity>>,
    /// What changed while they are read.
    pending: Vec<MembersChange>,
    /// Nobody watches it any more. Whoever wants to makes another one.
    is_over: bool,
}

#[derive(Debug)]
struct Watcher {
    wire: Arc<Wire>,
    /// The watches of the socket that have the channel.
    watches: Vec<RequestNumber>,
}

/// What a change of the members means.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) added: Vec<Identity>,
    pub(super) removed: Vec<Identity>,
    pub(super) gone: Gone,
}

/// For whom a channel is gone.
#[derive(Debug, Default)]
pub(in crate::sockets::json) struct Gone {
    pub(in crate::sockets::json) sockets: Vec<Arc<Wire>>,
    /// The members that there were, if nobody watches it any more.
    pub(in crate::sockets::json) over: Option<BTreeSet<Identity>>,
}

impl Channel {
    pub(super) fn new(key: ChannelKey) -> Self {
        Self { key, loading: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    /// A watch of this socket has the channel from now on. Returns whether the socket did not watch it before; `None` if it is
    /// over.
    pub(super) fn join(&self, wire: &Arc<Wire>, watch: RequestNumber) -> Option<bool> {
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        let mut is_new = false;
        let watcher = state.sockets.entry(wire.number).or_insert_with(|| {
            is_new = true;
            Watcher { wire: wire.clone(), watches: Vec::with_capacity(1) }
        });
        if !watcher.watches.contains(&watch) {
            watcher.watches.push(watch);
        }
        Some(is_new)
    }

    /// A watch of this socket ends; `None`: all that have the channel. Returns whether the socket watches it no more, and the
    /// members if nobody does.
    pub(super) fn leave(&self, wire: &Wire, watch: Option<RequestNumber>) -> (bool, Option<BTreeSet<Identity>>) {
        let mut state = self.lock();
        let Some(watcher) = state.sockets.get_mut(&wire.number) else { return (false, None) };
        watcher.watches.retain(|it| watch.is_some_and(|watch| *it != watch));
        if !watcher.watches.is_empty() {
            return (false, None);
        }
        state.sockets.remove(&wire.number);
        (true, state.end())
    }

    /// How many members a socket watches here.
    pub(in crate::sockets::json) fn watched_by(&self, wire: &Wire) -> usize {
        let state = self.lock();
        let members = state.sockets.contains_key(&wire.number).then(|| state.members.as_ref().map(BTreeSet::len));
        members.flatten().unwrap_or_default()
    }

    /// The members, if they were read.
    pub(super) fn members(&self) -> Option<Vec<Identity>> {
        self.lock().members.as_ref().map(|members| members.iter().cloned().collect())
    }

    /// The members were read, and are in the index. Returns them as they are now; `None` if nobody waits for them any more. What
    /// has changed meanwhile is put into the index, or taken out of it.
    pub(super) fn loaded(
        &self,
        mut members: BTreeSet<Identity>,
        mut index: impl FnMut(&Identity, bool),
    ) -> Option<Vec<Identity>> {
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        for mut change in std::mem::take(&mut state.pending) {
            if change.is_deleted {
                change.removed = members.iter().cloned().collect();
            }
            apply(&mut members, &change, &mut index);
        }
        let all = members.iter().cloned().collect();
        state.members = Some(members);
        Some(all)
    }

    /// Takes a change of the members, with the index. `None` if it is for later.
    pub(super) fn change(&self, change: &MembersChange, mut index: impl FnMut(&Identity, bool)) -> Option<Changed> {
        let mut state = self.lock();
        let State { sockets, members, pending, .. } = &mut *state;
        let Some(members) = members else {
            pending.push(change.clone());
            return None;
        };
        let mut changed = apply(members, change, &mut index);
        let is_gone = |wire: &Wire| change.is_deleted || changed.removed.iter().any(|user| wire.is_of(user));
        let gone = sockets.extract_if(|_, watcher| is_gone(&watcher.wire)).map(|(_, watcher)| watcher.wire).collect();
        changed.gone = Gone { sockets: gone, over: state.end() };
        Some(changed)
    }

    /// The sockets that watch it.
    pub(in crate::sockets::json) fn sockets(&self) -> Vec<Arc<Wire>> {
        self.lock().sockets.values().map(|watcher| watcher.wire.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// If nobody watches the channel any more, it is over. Returns the members that there were.
    fn end(&mut self) -> Option<BTreeSet<Identity>> {
        if !self.sockets.is_empty() || self.is_over {
            return None;
        }
        self.is_over = true;
        self.pending = vec![];
        Some(self.members.take().unwrap_or_default())
    }
}

/// Applies a change, and says what it really changed.
fn apply(members: &mut BTreeSet<Identity>, change: &MembersChange, index: &mut impl FnMut(&Identity, bool)) -> Changed {
    let added: Vec<_> = change.added.iter().filter(|user| members.insert((*user).clone())).cloned().collect();
    let removed: Vec<_> = change.removed.iter().filter(|user| members.remove(*user)).cloned().collect();
    added.iter().for_each(|user| index(user, true));
    removed.iter().for_each(|user| index(user, false));
    Changed { added, removed, gone: Gone::default() }
}
