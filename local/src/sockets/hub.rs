//! The hub: who watches whom over Twilsock, and tells watchers what changed. That of the JSON protocol is [`json::Hub`].
//!
//! The store says what it committed, on its own thread, which must not wait. So it only looks whether anybody watches the user;
//! tasks encode the change once, and send it to the watchers of that user and to nobody else. All of one user goes through the
//! same [lane](lanes): watchers hear it in the order of the commits.

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
use reachability_functions::app::Ports;
use reachability_gateway::sync::{Item, changed};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;
use tracing::warn;

use super::budget::Budget;
use super::fan_out::tell_each;
use super::frames::Frame;
use super::json;
use super::lanes::{self, Begun, Lanes, Tell, Teller};
use super::presence::Presence;
use super::registry::Registry;
use super::wire::Wire;

/// The number of parts of the watches.
const SHARDS: usize = 8;

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
    /// How much is watched, over both protocols.
    budget: Arc<Budget>,
    /// The watches of sockets that speak the other protocol.
    pub(super) json: Arc<json::Hub>,
}

#[derive(Debug)]
struct Shard {
    watchers: Mutex<HashMap<Watched, Watchers>>,
    lanes: Arc<Lanes<Told>>,
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

impl Tell for Told {
    fn absorb(&mut self, later: Self) -> Result<(), Self> {
        match (&mut self.what, later.what) {
            (What::Reachability(watched, seen), What::Reachability(of, then)) if *watched == of => {
                seen.absorb(*then);
            }
            (What::Profile(watched, change), What::Profile(of, then)) if *watched == of => {
                **change = ProfileChange { before: change.before.clone(), ..*then };
            }
            (_, what) => return Err(Self { what, ..later }),
        }
        (self.sequence, self.at) = (later.sequence, later.at);
        Ok(())
    }
}

/// What the hub's tasks receive.
#[derive(Debug)]
pub(crate) struct Tasks {
    changes: Vec<Begun>,
    others: UnboundedReceiver<Other>,
    json: json::Tasks,
}

impl Hub {
    /// A hub, and what its tasks and those of the other protocol receive.
    pub(crate) fn new() -> (Arc<Self>, Tasks) {
        let budget = Arc::<Budget>::default();
        let (json, json_tasks) = json::Hub::new(budget.clone());
        let (shards, changes) = (0..SHARDS)
            .map(|_| {
                let (lanes, begun) = Lanes::new();
                (Shard { watchers: Mutex::default(), lanes }, begun)
            })
            .unzip();
        let (sender, others) = mpsc::unbounded_channel();
        let hub = Self { shards, hasher: RandomState::new(), others: sender, budget, json };
        (Arc::new(hub), Tasks { changes, others, json: json_tasks })
    }

    /// Starts the tasks. They run as long as the hub is there.
    pub(crate) fn start(
        self: &Arc<Self>,
        tasks: Tasks,
        registry: Arc<Registry>,
        presence: Presence,
        ports: &Ports,
        metrics: Arc<dyn Metrics>,
    ) {
        json::start(&self.json, tasks.json, ports, &metrics);
        for (index, begun) in tasks.changes.into_iter().enumerate() {
            let task = Task { hub: self.clone(), shard: index, metrics: metrics.clone() };
            tokio::spawn(lanes::empty(self.shards[index].lanes.clone(), begun, Arc::new(task)));
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

    /// From now on this socket hears of the user, whom it does not watch yet. Returns whether it does: not if too much is watched
    /// already.
    pub(super) fn watch(&self, watched: Watched, wire: &Arc<Wire>) -> bool {
        if self.budget.take(watched.service).is_err() {
            return false;
        }
        self.shard(watched).lock().entry(watched).or_default().insert(wire.number, wire.clone());
        true
    }

    /// This socket does not hear of the user any more.
    pub(super) fn unwatch(&self, watched: Watched, wire: &Wire) {
        let mut watches = self.shard(watched).lock();
        let Some(watchers) = watches.get_mut(&watched) else { return };
        if watchers.remove(&wire.number).is_some() {
            self.budget.free(watched.service, 1);
        }
        if watchers.is_empty() {
            watches.remove(&watched);
        } else if watchers.capacity() > 64 && watchers.capacity() / 4 > watchers.len() {
            watchers.shrink_to_fit();
        }
    }

    fn hash(&self, watched: Watched) -> u64 {
        self.hasher.hash_one(watched)
    }

    fn shard(&self, watched: Watched) -> &Shard {
        &self.shards[self.hash(watched) as usize % SHARDS]
    }

    /// Hands a change of a user to its task, if anybody watches the user.
    fn hand_over(&self, watched: Watched, told: Told) {
        let hash = self.hash(watched);
        let shard = &self.shards[hash as usize % SHARDS];
        let is_watched = shard.lock().contains_key(&watched);
        if is_watched && let Err(told) = shard.lanes.push(watched.service, Some(hash), told) {
            warn!("watchers are cut off, since too many changes wait for them");
            shard.cut(&told);
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
            if let Err(told) = shard.lanes.push(service, None, told) {
                shard.cut(&told);
            }
        }
    }
}

/// Tells what waits in a part of the watches.
struct Task {
    hub: Arc<Hub>,
    shard: usize,
    metrics: Arc<dyn Metrics>,
}

impl Teller for Task {
    type Told = Told;

    async fn tell(&self, told: &Told) {
        let shard = &self.hub.shards[self.shard];
        let heard = match &told.what {
            What::Reachability(watched, seen) => shard.tell_reachability(*watched, seen, told).await,
            What::Profile(watched, change) => {
                let (was, is) = (&change.before, &change.profile);
                let mut items = vec![];
                if was.friendly_name != is.friendly_name {
                    items.push(Item::FriendlyName(is.friendly_name.as_deref()));
                }
                if was.attributes != is.attributes {
                    items.push(Item::Attributes(&is.attributes));
                }
                if items.is_empty() { 0 } else { shard.tell(*watched, &items, told).await }
            }
            What::SwitchedOff(service) => {
                let nothing = Reachability::default();
                let all: Vec<Watched> =
                    shard.lock().keys().filter(|watched| watched.service == *service).copied().collect();
                let mut heard = 0;
                for watched in all {
                    heard += shard.tell(watched, &[Item::Reachability(nothing)], told).await;
                }
                heard
            }
        };
        self.metrics.add_many(Counter::FramesSent, heard);
        self.metrics.fan_out(told.committed.elapsed());
    }

    fn cut(&self, told: &Told) {
        self.hub.shards[self.shard].cut(told);
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

    /// Cuts off the watchers whom this concerns.
    fn cut(&self, told: &Told) {
        let watches = self.lock();
        let cut = |watchers: &Watchers| watchers.values().for_each(|wire| wire.cut());
        match &told.what {
            What::Reachability(watched, _) | What::Profile(watched, _) => {
                watches.get(watched).into_iter().for_each(cut);
            }
            What::SwitchedOff(service) => {
                watches.iter().filter(|(of, _)| of.service == *service).for_each(|(_, watchers)| cut(watchers));
            }
        }
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
