//! The tasks of the hub: they encode what changed, once for others and once for the user's own sockets, and send it to whom it
//! concerns. All of one user goes through the same lane, in the order of the commits, and so does of which channels it is a member:
//! what is read to be told is never older than what was told before.

use std::sync::Arc;

use bytes::Bytes;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::feed::{Seen, Sight};
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::snapshot::UserSnapshot;
use reachability_domain::presence::view::UserView;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_functions::app::Ports;
use reachability_gateway::json::events;
use reachability_infra::clock;
use tokio::task::yield_now;
use tracing::warn;

use super::hub::channel::{Channel, Gone};
use super::hub::{Hub, Tasks, Told, What};
use crate::sockets::fan_out::tell_each;
use crate::sockets::frames::Frame;
use crate::sockets::lanes::{self, Teller};
use crate::sockets::wire::Wire;

/// After how many users others have a turn: a store may read without waiting.
const READ_AT_ONCE: usize = 32;

/// Starts the tasks. They run as long as the hub is there.
pub(in crate::sockets) fn start(hub: &Arc<Hub>, tasks: Tasks, ports: &Ports, metrics: &Arc<dyn Metrics>) {
    for (shard, begun) in tasks.0.into_iter().enumerate() {
        let task = Task { hub: hub.clone(), shard, ports: ports.clone(), metrics: metrics.clone() };
        tokio::spawn(lanes::empty(hub.lanes(shard), begun, Arc::new(task)));
    }
}

struct Task {
    hub: Arc<Hub>,
    shard: usize,
    ports: Ports,
    metrics: Arc<dyn Metrics>,
}

/// The sockets of a user itself, and those of others.
struct Hearers {
    own: Vec<Arc<Wire>>,
    others: Vec<Arc<Wire>>,
}

impl Hearers {
    fn of(wires: Vec<Arc<Wire>>, user: &Identity) -> Self {
        let (own, others) = wires.into_iter().partition(|wire| wire.is_of(user));
        Self { own, others }
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty()
    }

    /// Tells each what it sees. Returns how many hear it.
    async fn tell(&self, encode: impl Fn(Viewer) -> Bytes) -> u64 {
        for (wires, viewer) in [(&self.others, Viewer::Other), (&self.own, Viewer::User)] {
            if !wires.is_empty() {
                tell(wires, &encode(viewer)).await;
            }
        }
        (self.own.len() + self.others.len()) as u64
    }

    /// What is to be told cannot be read: they come back, and read it then.
    fn cut(&self, error: &StoreError) -> u64 {
        warn!(error = %ErrorChain(error), "watchers are cut off, since what changed cannot be read");
        self.own.iter().chain(&self.others).for_each(|wire| wire.cut());
        0
    }
}

/// Sends the same to some sockets.
async fn tell(wires: &[Arc<Wire>], message: &[u8]) {
    let frame = Frame::message(true, message);
    tell_each(wires, |wire| wire.tell(&frame)).await;
}

impl Teller for Task {
    type Told = Told;

    async fn tell(&self, Told { what, committed }: &Told) {
        let heard = match what {
            What::Seen(seen) => self.seen(seen).await,
            What::Profile { user, sid, sequence, at } => {
                let is_meant = |user: &User| user.sid == *sid;
                self.read(user, is_meant, None, *sequence, |user| events::user_updated(user, *at)).await
            }
            What::Deleted { user, sequence, at } => {
                let hearers = Hearers::of(self.hub.watchers(user), &user.identity);
                hearers.tell(|_| events::user_deleted(&user.identity, *sequence, *at)).await
            }
            What::Member { channel, user, is_member: true } => self.added(channel, user.clone()).await,
            What::Member { channel, user, is_member: false } => {
                let sockets = channel.sockets();
                tell(&sockets, &events::member_removed(&channel.key.cid, user)).await;
                sockets.len() as u64
            }
            What::Gone(channel, Gone { sockets, over }) => {
                tell(sockets, &events::channel_deleted(&channel.key.cid)).await;
                if let Some(members) = over {
                    self.hub.end(channel, members);
                }
                sockets.len() as u64
            }
            What::Switched { service, configuration, sequence, at } => {
                let mut heard = 0;
                for (count, user) in self.hub.watched_of(self.shard, *service).iter().enumerate() {
                    if count % READ_AT_ONCE == READ_AT_ONCE - 1 {
                        yield_now().await;
                    }
                    heard += self.switched(user, *configuration, *sequence, *at).await;
                }
                heard
            }
        };
        self.metrics.add_many(Counter::FramesSent, heard);
        self.metrics.fan_out(committed.elapsed());
    }

    fn cut(&self, told: &Told) {
        self.hub.cut(self.shard, told);
    }
}

impl Task {
    /// Tells what is seen of a user after a write of its state. Returns how many hear it.
    async fn seen(&self, seen: &Seen) -> u64 {
        let Seen { user, sid, at, by_others, by_user } = seen;
        let mut hearers = Hearers::of(self.hub.watchers(user), &user.identity);
        if !by_user.is_changed {
            hearers.own.clear();
        }
        if !by_others.is_changed {
            hearers.others.clear();
        }
        if hearers.is_empty() {
            return 0;
        }
        let profile = match self.ports.users.user(user.service, &UserRef::Identity(user.identity.clone())).await {
            // If it was deleted since, watchers hear of that next.
            Ok(found) => match found.filter(|found| found.sid == *sid) {
                Some(profile) => profile,
                None => return 0,
            },
            Err(error) => return hearers.cut(&error),
        };
        let encode = |viewer| {
            let Sight { appearance, sequence, .. } = if viewer == Viewer::User { by_user } else { by_others };
            let view = UserView {
                user: profile.clone(),
                appearance: appearance.clone(),
                reachability_enabled: true,
                sequence: *sequence,
            };
            events::presence_changed(&PublicUser::of(&view, viewer), *at)
        };
        hearers.tell(encode).await
    }

    /// Tells how a user looks since its service was switched.
    async fn switched(&self, user: &UserKey, configuration: Configuration, sequence: u64, at: Timestamp) -> u64 {
        self.read(user, |_| true, Some(configuration), sequence, |user| events::presence_changed(user, at)).await
    }

    /// Reads a user, and tells its watchers. Nobody is told of one who is not there, or is not meant. Those who hear it order it
    /// by this sequence, whatever is read with it: what comes after it is told after it.
    async fn read(
        &self,
        user: &UserKey,
        is_meant: impl Fn(&User) -> bool,
        configuration: Option<Configuration>,
        sequence: u64,
        encode: impl Fn(&PublicUser<'_>) -> Bytes,
    ) -> u64 {
        let hearers = Hearers::of(self.hub.watchers(user), &user.identity);
        if hearers.is_empty() {
            return 0;
        }
        let snapshot = match self.snapshot(user).await {
            Ok(Some(snapshot)) if is_meant(&snapshot.user) => snapshot,
            Ok(_) => return 0,
            Err(error) => return hearers.cut(&error),
        };
        let snapshot = UserSnapshot { configuration: configuration.unwrap_or(snapshot.configuration), ..snapshot };
        let shown = |viewer| {
            let view = UserView { sequence, ..UserView::of(&snapshot, clock::now(), viewer) };
            encode(&PublicUser::of(&view, viewer))
        };
        hearers.tell(shown).await
    }

    async fn snapshot(&self, user: &UserKey) -> Result<Option<UserSnapshot>, StoreError> {
        self.ports.snapshots.user_snapshot(user.service, &UserRef::Identity(user.identity.clone())).await
    }

    /// Tells who came to a channel. Returns how many hear of it.
    async fn added(&self, channel: &Channel, user: Identity) -> u64 {
        let hearers = Hearers::of(channel.sockets(), &user);
        if hearers.is_empty() {
            return 0;
        }
        let key = UserKey { service: channel.key.service, identity: user };
        let snapshot = match self.snapshot(&key).await {
            Ok(snapshot) => snapshot,
            Err(error) => return hearers.cut(&error),
        };
        let cid = &channel.key.cid;
        let encode = |viewer| match &snapshot {
            Some(snapshot) => {
                let view = UserView::of(snapshot, clock::now(), viewer);
                events::member_added(cid, &PublicUser::of(&view, viewer))
            }
            None => events::member_added(cid, &PublicUser::nobody(&key.identity)),
        };
        hearers.tell(encode).await
    }
}
