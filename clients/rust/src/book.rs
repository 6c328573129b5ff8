//! What a client knows: who is watched, and the newest that was heard of each. Pure.
//!
//! The server tells of one user in the order of revisions, but an answer and an event may overtake each other, and after a reconnect
//! the same is told again. So whatever is heard of a user goes through [`Book::learn`], which lets nothing by that is not newer,
//! and finds out what is to be told by comparing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::event::Event;
use crate::request::{Restore, RestoredWatch, Target};
use crate::user::{KnownUser, User};
use crate::watches::{Entry, Step, Watches};

/// From what a user was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// An answer: it is told what differs.
    Answer,
    /// `user.presence.changed`.
    Presence,
    /// `user.updated`.
    Profile,
}

#[derive(Debug)]
pub(crate) struct Book {
    own: Arc<str>,
    known: HashMap<Arc<str>, Arc<User>>,
    watches: Watches,
    /// How many answers are awaited that begin or restore watches. Until they are here, events may be of users of whom nothing is
    /// known yet.
    awaited: usize,
    /// Members that came (or went) while one was awaited: the lists in it may be older.
    moved: Vec<Moved>,
    /// Of whom was told meanwhile. An answer that says that there is no such user may be older.
    told: HashSet<Arc<str>>,
    is_fresh: bool,
}

#[derive(Debug)]
struct Moved {
    cid: Arc<str>,
    id: Arc<str>,
    is_added: bool,
}

impl Book {
    /// One of this user, that watches nobody.
    pub(crate) fn new(own: User) -> Self {
        Self {
            own: Arc::clone(&own.id),
            known: HashMap::from([(Arc::clone(&own.id), Arc::new(own))]),
            watches: Watches::default(),
            awaited: 0,
            moved: Vec::new(),
            told: HashSet::new(),
            is_fresh: true,
        }
    }

    /// What is known of a user.
    pub(crate) fn known(&self, id: &str) -> Option<KnownUser> {
        self.known.get(id).map(|user| KnownUser { user: Arc::clone(user), stale: !self.is_fresh })
    }

    /// What is known of the own user.
    pub(crate) fn own(&self) -> KnownUser {
        // It is known from the start, and never forgotten.
        self.known(&self.own)
            .unwrap_or_else(|| KnownUser { user: Arc::new(User::absent(Arc::clone(&self.own), 0)), stale: true })
    }

    /// From now on what is known may be out of date.
    pub(crate) fn connection_lost(&mut self) {
        self.is_fresh = false;
        self.awaited = 0;
        self.settle();
    }

    /// From now on it is not.
    pub(crate) fn is_restored(&mut self) {
        self.is_fresh = true;
    }

    /// An answer is awaited that begins or restores watches.
    pub(crate) fn awaits(&mut self) {
        self.awaited += 1;
    }

    /// It came, or will not.
    pub(crate) fn awaits_no_more(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
        self.settle();
    }

    fn settle(&mut self) {
        if self.awaited == 0 {
            self.moved.clear();
            self.told.clear();
            self.forget_unwatched();
        }
    }

    /// Learns of a user. Returns the newest that is known of it, which may be newer than this.
    pub(crate) fn learn(
        &mut self,
        user: User,
        source: Source,
        at: Option<&Arc<str>>,
        events: &mut Vec<Event>,
    ) -> Arc<User> {
        if self.awaited > 0 && source != Source::Answer {
            self.told.insert(Arc::clone(&user.id));
        }
        let old = match self.known.get(&user.id) {
            Some(old) if user.revision <= old.revision => return Arc::clone(old),
            old => old.cloned(),
        };
        let is_watched = self.watches.has(&user.id);
        // What others see of the own user says nothing of its being invisible.
        let invisible = user.invisible.or(old.as_ref().and_then(|old| old.invisible));
        let user = Arc::new(User { invisible, ..user });
        if old.is_none() && self.awaited == 0 && !is_watched {
            // It is of a watch that was just stopped, or of a query without one.
            return user;
        }
        self.known.insert(Arc::clone(&user.id), Arc::clone(&user));
        if user.id == self.own && source == Source::Answer && !is_watched {
            // It is known though nobody watches it.
            return user;
        }
        let differs = |differ: fn(&User, &User) -> bool| old.as_ref().is_some_and(|old| differ(old, &user));
        if source == Source::Presence || differs(User::presence_differs) {
            events.push(Event::PresenceChanged { user: Arc::clone(&user), at: at.cloned() });
        }
        if source == Source::Profile || differs(User::profile_differs) {
            events.push(Event::UserUpdated { user: Arc::clone(&user), at: at.cloned() });
        }
        user
    }

    /// The newest that is known of a user, or this.
    pub(crate) fn newest(&self, user: Arc<User>) -> Arc<User> {
        self.known.get(&user.id).filter(|known| known.revision > user.revision).cloned().unwrap_or(user)
    }

    /// Learns that a user was deleted, and the revision of that; `None` if it is found out by an answer.
    pub(crate) fn user_deleted(
        &mut self,
        id: &Arc<str>,
        revision: Option<u64>,
        at: Option<Arc<str>>,
        events: &mut Vec<Event>,
    ) {
        // What was told before it stays outdated; what it is when it is there again is newer.
        let absent = |revision| Arc::new(User::absent(Arc::clone(id), revision));
        let Some(known) = self.known.get_mut(id) else {
            if let Some(revision) = revision.filter(|_| self.awaited > 0) {
                self.known.insert(Arc::clone(id), absent(revision));
            }
            return;
        };
        let revision = revision.unwrap_or(known.revision);
        if revision < known.revision {
            // There is a new one already.
            return;
        }
        let is_news = known.created_at.is_some();
        *known = absent(revision);
        if is_news {
            events.push(Event::UserDeleted { id: Arc::clone(id), at });
        }
    }

    /// Learns that a user joined a channel.
    pub(crate) fn member_added(&mut self, cid: Arc<str>, user: User, events: &mut Vec<Event>) {
        if self.awaited > 0 {
            self.moved.push(Moved { cid: Arc::clone(&cid), id: Arc::clone(&user.id), is_added: true });
            self.told.extend(user.created_at.is_some().then(|| Arc::clone(&user.id)));
        }
        let is_new = self.watches.add_member(&cid, &user.id);
        let user = self.learn(user, Source::Answer, None, events);
        if is_new {
            events.push(Event::MemberAdded { cid, user });
        }
    }

    /// Learns that a user left a channel.
    pub(crate) fn member_removed(&mut self, cid: Arc<str>, id: Arc<str>, events: &mut Vec<Event>) {
        if self.awaited > 0 {
            self.moved.push(Moved { cid: Arc::clone(&cid), id: Arc::clone(&id), is_added: false });
        }
        if self.watches.remove_member(&cid, &id) {
            if id != self.own && self.awaited == 0 && !self.watches.has(&id) {
                self.known.remove(&id);
            }
            events.push(Event::MemberRemoved { cid, id });
        }
    }

    /// Learns that a channel is gone, or the own user is no member any more.
    pub(crate) fn channel_deleted(&mut self, cid: Arc<str>, events: &mut Vec<Event>) {
        if self.watches.delete_channel(&cid) {
            self.settle();
            events.push(Event::ChannelDeleted { cid });
        }
    }

    /// Begins a watch, of the users or the channels of its answer. Changes the channels' lists of members to what they are by now.
    pub(crate) fn watch<'a>(
        &mut self,
        target: Target,
        watch: u64,
        users: &[Arc<User>],
        channels: impl Iterator<Item = (&'a Arc<str>, &'a mut Vec<Arc<str>>)>,
    ) {
        if target == Target::Users {
            self.watches.begin_users(watch, users.iter().map(|user| Arc::clone(&user.id)));
            return;
        }
        let channels: Vec<_> = channels
            .map(|(cid, list)| {
                let listed: HashSet<Arc<str>> = list.iter().cloned().collect();
                let mut members = listed.clone();
                self.apply_moves(cid, &mut members);
                list.retain(|id| members.contains(id));
                list.extend(members.difference(&listed).cloned());
                (Arc::clone(cid), members)
            })
            .collect();
        self.watches.begin_channels(watch, channels);
    }

    /// Changes a list that came with an answer by who moved while the answer was awaited.
    fn apply_moves(&self, cid: &str, members: &mut HashSet<Arc<str>>) {
        for Moved { id, is_added, .. } in self.moved.iter().filter(|moved| &*moved.cid == cid) {
            if *is_added {
                members.insert(Arc::clone(id));
            } else {
                members.remove(id);
            }
        }
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&mut self, watch: u64) {
        self.watches.end(watch);
        self.settle();
    }

    /// Ends all watches.
    pub(crate) fn unwatch_all(&mut self) {
        self.watches = Watches::default();
        self.settle();
    }

    /// What is to be restored, in steps: a request is at most `limit` bytes.
    pub(crate) fn plan(&self, limit: usize) -> VecDeque<Step> {
        // `"john",` in the watch, and `"john":1795132800123,` among what is known.
        let size = |name: &str| serde_json::to_string(name).map_or(0, |text| text.len() + 1);
        self.watches.plan(limit, |name, ids| size(name) + 60 + ids.iter().map(|id| size(id) + 16).sum::<usize>())
    }

    /// The request of a step.
    pub(crate) fn restore<'a>(&'a self, step: &'a Step) -> Restore<'a> {
        let mut known = BTreeMap::new();
        let watches = step.iter().map(|Entry { watch, target, names }| {
            for id in names.iter().flat_map(|name| self.watches.users_of(*target, name)) {
                known.extend(self.known.get(id).map(|user| (id, user.revision)));
            }
            let names = Some(names.iter().map(|name| &**name).collect());
            let (users, channels) = if *target == Target::Users { (names, None) } else { (None, names) };
            RestoredWatch { watch: *watch, users, channels }
        });
        Restore { watches: watches.collect(), known }
    }

    /// Learns of a user in the answer to `restore`, where one with revision 0 is not there any more.
    pub(crate) fn restored_user(&mut self, user: User, events: &mut Vec<Event>) {
        if user.revision == 0 && user.created_at.is_none() && !self.told.contains(&user.id) {
            self.user_deleted(&user.id, None, None, events);
        }
        self.learn(user, Source::Answer, None, events);
    }

    /// Learns the members of channels, and which are gone, from the answer to `restore`.
    pub(crate) fn restored(
        &mut self,
        lists: HashMap<Arc<str>, Vec<Arc<str>>>,
        gone: Vec<Arc<str>>,
        events: &mut Vec<Event>,
    ) {
        for cid in gone {
            self.channel_deleted(cid, events);
        }
        for (cid, list) in lists {
            let mut members: HashSet<Arc<str>> = list.into_iter().collect();
            self.apply_moves(&cid, &mut members);
            let Some(old) = self.watches.replace_members(&cid, members.clone()) else { continue };
            for id in members.difference(&old) {
                let user = self.known.get(id).cloned();
                let user = user.unwrap_or_else(|| Arc::new(User::absent(Arc::clone(id), 0)));
                events.push(Event::MemberAdded { cid: Arc::clone(&cid), user });
            }
            for id in old.difference(&members) {
                events.push(Event::MemberRemoved { cid: Arc::clone(&cid), id: Arc::clone(id) });
            }
        }
    }

    fn forget_unwatched(&mut self) {
        let Self { own, known, watches, .. } = self;
        let watched = watches.everybody();
        known.retain(|id, _| id == own || watched.contains(&**id));
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
