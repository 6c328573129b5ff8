//! The hub: who watches whom over Twilsock, and tells watchers what changed. That of the JSON protocol is [`json::Hub`].
//!
//! The store says what it committed, on its own thread, which must not wait. So it only looks whether anybody watches the user;
//! tasks encode the change once, and send it to the watchers of that user and to nobody else. All of one user goes through the
//! same task: watchers hear it in the order of the commits.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reachability_domain::channel::ports::MembersChange;
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::presence::at_commit::AtCommit;
use reachability_domain::presence::change::{Notice, ProfileChange, Switch};
use reachability_domain::presence::feed::{FeedEntry, Seen};
use reachability_domain::presence::map::UserMap;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::time::Timestamp;
use reachability_gateway::sync::{Item, changed};
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;
use tracing::warn;

use super::fan_out::tell_each;
use super::frames::Frame;
use super::json;
use super::presence::Presence;
use super::registry::Registry;
use super::wire::Wire;

/// The number of tasks, and of parts of the watches.
const SHARDS: usize = 8;

/// How many changes may wait for a task. Watchers of more are cut off, and hear what they missed when they are back.
const MAX_WAITING: usize = 16_384;

/// Whose map is watched: a user of the watcher's own service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Watched {
    pub(super) service: ServiceSid,
    pub(super) user: UserSid,
}

/// The watches.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Shard>,
    hasher: RandomState,
    others: UnboundedSender<Other>,
    /// The watches of sockets that speak the other protocol.
    pub(super) json: Arc<json::Hub>,
}

#[derive(Debug)]
struct Shard {
    watchers: Mutex<HashMap<Watched, Watchers>>,
    changes: Sender<Told>,
}

/// By the numbers of their sockets.
type Watchers = HashMap<u64, Arc<Wire>>;

/// Something to tell.
#[derive(Debug)]
struct Told {
    what: What,
    sequence: u64,
    at: Timestamp,
    committed: Instant,
}

#[derive(Debug)]
enum What {
    Reachability(Watched, Box<Seen>),
    Profile(Watched, Box<ProfileChange>),
    /// Nothing is known of anybody.
    SwitchedOff(ServiceSid),
}

/// What is no watcher's business, but that of the sockets.
#[derive(Debug)]
enum Other {
    SwitchedOn(ServiceSid),
    Deleted(UserKey, Timestamp),
}

/// What the hub's tasks receive.
#[derive(Debug)]
pub(crate) struct Tasks {
    changes: Vec<Receiver<Told>>,
    others: UnboundedReceiver<Other>,
}

impl Hub {
    /// A hub, and what its tasks receive.
    pub(crate) fn new(json: Arc<json::Hub>) -> (Arc<Self>, Tasks) {
        let (shards, changes) = (0..SHARDS)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(MAX_WAITING);
                (Shard { watchers: Mutex::default(), changes: sender }, receiver)
            })
            .unzip();
        let (sender, others) = mpsc::unbounded_channel();
        (Arc::new(Self { shards, hasher: RandomState::new(), others: sender, json }), Tasks { changes, others })
    }

    /// Starts the tasks. They run as long as the hub is there.
    pub(crate) fn start(
        self: &Arc<Self>,
        tasks: Tasks,
        registry: Arc<Registry>,
        presence: Presence,
        metrics: Arc<dyn Metrics>,
    ) {
        for (index, changes) in tasks.changes.into_iter().enumerate() {
            tokio::spawn(self.clone().tell_all(index, changes, metrics.clone()));
        }
        let mut others = tasks.others;
        tokio::spawn(async move {
            while let Some(other) = others.recv().await {
                match other {
                    Other::SwitchedOn(service) => {
                        // A socket leaves the registry before its disconnect is said.
                        let registry = registry.clone();
                        presence.renew(move || registry.of_service(service));
                    }
                    Other::Deleted(user, at) => registry.end_user(&user, at),
                }
            }
        });
    }

    /// From now on this socket hears of the user. Returns whether it did not before.
    pub(super) fn watch(&self, watched: Watched, wire: &Arc<Wire>) -> bool {
        self.shard(watched).lock().entry(watched).or_default().insert(wire.number, wire.clone()).is_none()
    }

    /// This socket does not hear of the user any more.
    pub(super) fn unwatch(&self, watched: Watched, wire: &Wire) {
        let mut watches = self.shard(watched).lock();
        let Some(watchers) = watches.get_mut(&watched) else { return };
        watchers.remove(&wire.number);
        if watchers.is_empty() {
            watches.remove(&watched);
        } else if watchers.capacity() > 64 && watchers.capacity() / 4 > watchers.len() {
            watchers.shrink_to_fit();
        }
    }

    fn shard(&self, watched: Watched) -> &Shard {
        &self.shards[self.hasher.hash_one(watched) as usize % SHARDS]
    }

    /// Hands a change of a user to its task, if anybody watches the user.
    fn hand_over(&self, watched: Watched, told: Told) {
        let shard = self.shard(watched);
        let is_watched = shard.lock().contains_key(&watched);
        if is_watched && shard.changes.try_send(told).is_err() {
            warn!("watchers are cut off, since too many changes wait for them");
            for wire in shard.lock().get(&watched).into_iter().flat_map(HashMap::values) {
                wire.cut();
            }
        }
    }

    fn switched(&self, switch: &Switch, sequence: u64, committed: Instant) {
        let service = switch.service_sid;
        if switch.after.reachability_enabled {
            // The tasks are there until the process ends.
            let _ = self.others.send(Other::SwitchedOn(service));
            return;
        }
        let at = switch.at.unwrap_or_default();
        for shard in &self.shards {
            let told = Told { what: What::SwitchedOff(service), sequence, at, committed };
            if shard.changes.try_send(told).is_err() {
                for (_, watchers) in shard.lock().iter().filter(|(watched, _)| watched.service == service) {
                    watchers.values().for_each(|wire| wire.cut());
                }
            }
        }
    }

    async fn tell_all(self: Arc<Self>, shard: usize, mut changes: Receiver<Told>, metrics: Arc<dyn Metrics>) {
        let shard = &self.shards[shard];
        while let Some(told) = changes.recv().await {
            let heard = match &told.what {
                What::Reachability(watched, seen) => shard.tell_reachability(*watched, seen, &told).await,
                What::Profile(watched, change) => {
                    let (was, is) = (&change.before, &change.profile);
                    let mut items = vec![];
                    if was.friendly_name != is.friendly_name {
                        items.push(Item::FriendlyName(is.friendly_name.as_deref()));
                    }
                    if was.attributes != is.attributes {
                        items.push(Item::Attributes(&is.attributes));
                    }
                    if items.is_empty() { 0 } else { shard.tell(*watched, &items, &told).await }
                }
                What::SwitchedOff(service) => {
                    let nothing = Reachability::default();
                    let all: Vec<Watched> =
                        shard.lock().keys().filter(|watched| watched.service == *service).copied().collect();
                    let mut heard = 0;
                    for watched in all {
                        heard += shard.tell(watched, &[Item::Reachability(nothing)], &told).await;
                    }
                    heard
                }
            };
            metrics.add_many(Counter::FramesSent, heard);
            metrics.fan_out(told.committed.elapsed());
        }
    }
}

impl Shard {
    /// Tells the watchers of a user how it is reachable now, as each of them sees it. Returns how many hear of it.
    async fn tell_reachability(&self, watched: Watched, seen: &Seen, told: &Told) -> u64 {
        let mut heard = 0;
        for (sight, is_own) in [(&seen.by_others, false), (&seen.by_user, true)] {
            if sight.is_reachability_changed {
                let items = [Item::Reachability(sight.appearance.reachability)];
                let hears = |wire: &Wire| wire.is_of(&seen.user.identity) == is_own;
                heard += self.tell_some(watched, &items, sight.sequence, told.at, hears).await;
            }
        }
        heard
    }

    /// Tells the watchers of a user what changed. Returns how many there are.
    async fn tell(&self, watched: Watched, items: &[Item<'_>], told: &Told) -> u64 {
        self.tell_some(watched, items, told.sequence, told.at, |_| true).await
    }

    async fn tell_some(
        &self,
        watched: Watched,
        items: &[Item<'_>],
        sequence: u64,
        at: Timestamp,
        hears: impl Fn(&Wire) -> bool,
    ) -> u64 {
        // Who comes later reads it.
        let watchers: Vec<Arc<Wire>> = self
            .lock()
            .get(&watched)
            .into_iter()
            .flat_map(HashMap::values)
            .filter(|wire| hears(wire))
            .cloned()
            .collect();
        if watchers.is_empty() {
            return 0;
        }
        let payload = changed(UserMap::Info(watched.user).sid(), sequence, items, at);
        let mut frames = [None, None];
        let tell = |wire: &Wire| {
            let is_text = wire.is_text();
            wire.tell(frames[usize::from(is_text)].get_or_insert_with(|| Frame::message(is_text, &payload)));
        };
        tell_each(&watchers, tell).await;
        watchers.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Watched, Watchers>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AtCommit for Hub {
    fn committed(&self, entries: Vec<FeedEntry>) {
        let committed = Instant::now();
        self.json.committed(&entries, committed);
        for FeedEntry { notice, sequence, seen, .. } in entries {
            if let Some(seen) = seen
                && (seen.by_others.is_reachability_changed || seen.by_user.is_reachability_changed)
            {
                let (watched, at) = (Watched { service: seen.user.service, user: seen.sid }, seen.at);
                self.hand_over(watched, Told { what: What::Reachability(watched, seen), sequence, at, committed });
            }
            match notice {
                Some(Notice::User(change)) if change.before.exists && !change.after.exists => {
                    let _ = self.others.send(Other::Deleted(change.user, change.at));
                }
                Some(Notice::User(_)) | None => {}
                Some(Notice::Profile(change)) => {
                    let watched = Watched { service: change.user.service, user: change.user_sid };
                    let at = change.at;
                    let what = What::Profile(watched, Box::new(change));
                    self.hand_over(watched, Told { what, sequence, at, committed });
                }
                Some(Notice::Service(switch)) => self.switched(&switch, sequence, committed),
            }
        }
    }

    fn members_changed(&self, change: &MembersChange) {
        self.json.members_changed(change);
    }
}
