//! A client's watches, and who is in them. Pure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::request::Target;

type Names = HashSet<Arc<str>>;

/// What a watch is of: identities, or channels by their `cid`.
#[derive(Debug)]
enum Watched {
    Users(Names),
    Channels(Names),
}

impl Watched {
    fn has_channel(&self, cid: &str) -> bool {
        matches!(self, Self::Channels(cids) if cids.contains(cid))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Watches {
    watches: BTreeMap<u64, Watched>,
    /// The members of every watched channel.
    channels: HashMap<Arc<str>, Names>,
}

impl Watches {
    /// Begins a watch of users.
    pub(crate) fn begin_users(&mut self, watch: u64, ids: impl Iterator<Item = Arc<str>>) {
        self.watches.insert(watch, Watched::Users(ids.collect()));
    }

    /// Begins a watch of channels with these members.
    pub(crate) fn begin_channels(&mut self, watch: u64, channels: Vec<(Arc<str>, Names)>) {
        let cids = channels.iter().map(|(cid, _)| Arc::clone(cid)).collect();
        self.watches.insert(watch, Watched::Channels(cids));
        self.channels.extend(channels);
    }

    /// Ends a watch.
    pub(crate) fn end(&mut self, watch: u64) {
        self.watches.remove(&watch);
        let Self { watches, channels } = self;
        channels.retain(|cid, _| watches.values().any(|watched| watched.has_channel(cid)));
    }

    /// Adds a member to a channel. Returns whether it is a new one of a watched channel.
    pub(crate) fn add_member(&mut self, cid: &str, id: &Arc<str>) -> bool {
        self.channels.get_mut(cid).is_some_and(|members| members.insert(Arc::clone(id)))
    }

    /// Removes a member of a channel. Returns whether it was one of a watched channel.
    pub(crate) fn remove_member(&mut self, cid: &str, id: &str) -> bool {
        self.channels.get_mut(cid).is_some_and(|members| members.remove(id))
    }

    /// Replaces the members of a channel. Returns the old ones, if it is watched.
    pub(crate) fn replace_members(&mut self, cid: &str, members: Names) -> Option<Names> {
        self.channels.get_mut(cid).map(|old| std::mem::replace(old, members))
    }

    /// Removes a channel from all watches. Returns whether it was watched.
    pub(crate) fn delete_channel(&mut self, cid: &str) -> bool {
        for watched in self.watches.values_mut() {
            if let Watched::Channels(cids) = watched {
                cids.remove(cid);
            }
        }
        self.channels.remove(cid).is_some()
    }

    /// Whether a user is watched.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.sets_of_users().any(|ids| ids.contains(id))
    }

    /// Everybody who is watched.
    pub(crate) fn everybody(&self) -> HashSet<&str> {
        self.sets_of_users().flatten().map(|id| &**id).collect()
    }

    fn sets_of_users(&self) -> impl Iterator<Item = &Names> {
        let users = self.watches.values().filter_map(|watched| match watched {
            Watched::Users(ids) => Some(ids),
            Watched::Channels(_) => None,
        });
        users.chain(self.channels.values())
    }

    /// What is to be restored, in steps for one request each; `size` says how large a user or a channel makes its request, and is
    /// asked with whose revisions come along. A watch that has nobody left needs no restoring.
    pub(crate) fn plan(&self, limit: usize, size: impl Fn(&str, &[&str]) -> usize) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        let mut left = 0;
        for (&watch, watched) in &self.watches {
            let (target, names) = match watched {
                Watched::Users(ids) => (Target::Users, ids),
                Watched::Channels(cids) => (Target::Channels, cids),
            };
            for name in names {
                let size = size(name, &self.users_of(target, name));
                if size > left || steps.is_empty() {
                    steps.push_back(Step::default());
                    left = limit;
                }
                left = left.saturating_sub(size);
                let Some(step) = steps.back_mut() else { continue };
                match step.last_mut() {
                    Some(entry) if entry.watch == watch => entry.names.push(Arc::clone(name)),
                    _ => step.push(Entry { watch, target, names: vec![Arc::clone(name)] }),
                }
            }
        }
        steps
    }

    /// The users whom a user, or a channel, makes watched.
    pub(crate) fn users_of<'a>(&'a self, target: Target, name: &'a str) -> Vec<&'a str> {
        match target {
            Target::Users => vec![name],
            Target::Channels => self.channels.get(name).into_iter().flatten().map(|id| &**id).collect(),
        }
    }
}

/// What one request restores.
pub(crate) type Step = Vec<Entry>;

/// A part of a watch: some of its users, or channels.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) watch: u64,
    pub(crate) target: Target,
    pub(crate) names: Vec<Arc<str>>,
}
