//! What clients ask for, done by the use cases that REST has as well.
//!
//! Who is to be watched is watched first and read then, so that no change is missed in between. What is told before the answer
//! has a revision, and the client keeps whatever is newer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use reachability_domain::channel::key::{ChannelKey, Cid};
use reachability_domain::channel::ports::Channels;
use reachability_domain::directory::user::UserRef;
use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::view::UserView;
use reachability_domain::query::Query;
use reachability_domain::store::StoreError;
use reachability_functions::app::Ports;
use reachability_functions::use_cases::asker::Asker;
use reachability_functions::use_cases::channels::{self, CreateChannel};
use reachability_functions::use_cases::presence::{query_users, set_presence};
use reachability_gateway::json::settings::{MAX_USERS, REQUEST_WITHIN};
use reachability_gateway::json::{ChannelData, Command, CommandError, RequestNumber, RestoredWatch, Watched};
use reachability_infra::clock;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::failure::Failure;
use super::outcome::{Outcome, Shown, Watchable};
use super::watches::Watches;

/// How many users are read at a time.
const READ_AT_ONCE: usize = 200;

/// How many members of a channel are read at a time.
const MEMBERS_AT_ONCE: usize = 1_000;

/// A request of a client.
pub(super) struct Request {
    pub(super) ports: Ports,
    pub(super) watches: Arc<Watches>,
    pub(super) number: RequestNumber,
    pub(super) command: Command,
}

impl Request {
    /// Whether it begins a watch.
    fn watches(&self) -> bool {
        match &self.command {
            Command::QueryUsers { presence, .. }
            | Command::QueryChannels { presence, .. }
            | Command::WatchChannel { presence, .. } => *presence,
            _ => false,
        }
    }

    /// Does what the client asks for.
    ///
    /// # Errors
    /// If that is not possible. Then nothing is watched for it.
    pub(super) async fn answer(self) -> Result<Outcome, CommandError> {
        let (number, watches, begins) = (self.number, self.watches.clone(), self.watches());
        if begins {
            watches.begin(number)?;
        }
        let done = match timeout(REQUEST_WITHIN, self.done()).await {
            Ok(done) => done.map_err(|Failure(error)| error),
            // A write that has begun is finished all the same.
            Err(_) => Err(CommandError::Unavailable),
        };
        if begins && done.is_err() {
            watches.end(number);
        }
        done
    }

    async fn done(self) -> Result<Outcome, Failure> {
        let Self { ports, watches, number, command } = self;
        let asked = Asked { ports, watches, number };
        match command {
            Command::SetUser(wish) => asked.set_user(&wish).await,
            Command::QueryUsers { query, presence } => asked.query_users(&query, presence).await,
            Command::QueryChannels { query, presence } => asked.query_channels(&query, presence).await,
            Command::WatchChannel { channel, data, presence } => asked.watch_channel(channel, data, presence).await,
            Command::AddMembers { channel, members } => asked.change_members(channel, &members, true).await,
            Command::RemoveMembers { channel, members } => asked.change_members(channel, &members, false).await,
            Command::Unwatch { watch } => {
                asked.watches.end(watch);
                Ok(Outcome::Unwatched)
            }
            Command::Restore { watches, known } => asked.restore(watches, &known).await,
        }
    }
}

/// Who asks, and what for.
struct Asked {
    ports: Ports,
    watches: Arc<Watches>,
    number: RequestNumber,
}

impl Asked {
    fn asker(&self) -> Asker {
        Asker::User(self.own().clone())
    }

    fn own(&self) -> &Identity {
        &self.watches.user().identity
    }

    fn channels(&self) -> Result<Arc<dyn Channels>, CommandError> {
        self.ports.channels.clone().ok_or(CommandError::NotSupported)
    }

    fn channel(&self, cid: Cid) -> ChannelKey {
        ChannelKey { service: self.watches.user().service, cid }
    }

    async fn set_user(&self, wish: &Disclose) -> Result<Outcome, Failure> {
        let (ports, user, now) = (&self.ports, self.watches.user(), clock::now());
        let service = ports.services.service(user.service).await?.ok_or(StoreError::Missing)?;
        let own = UserRef::Identity(user.identity.clone());
        let set = set_presence(&*ports.users, &*ports.states, &service, &own, wish, now).await?;
        // It was deleted: its sockets end.
        let set = set.ok_or(StoreError::Missing)?;
        Ok(Outcome::User(set.view(now, Viewer::User)))
    }

    async fn query_users(&self, query: &Query, presence: bool) -> Result<Outcome, Failure> {
        let service = self.watches.user().service;
        let found = query_users(&*self.ports.search, service, query, &self.asker(), clock::now()).await?;
        let (cursor, index) = (found.cursor, found.index);
        let users = if presence {
            let users: Vec<Identity> = found.users.into_iter().map(|(view, _)| view.user.identity).collect();
            self.watches.watch(self.number, &users)?;
            let shown = self.read(&users).await?;
            // Of whom was deleted in between, nothing was promised.
            shown.into_iter().filter(|shown| matches!(shown, Shown::User(..))).collect()
        } else {
            found.users.into_iter().map(|(view, viewer)| Shown::User(Box::new(view), viewer)).collect()
        };
        Ok(Outcome::Users { users, cursor, index })
    }

    async fn query_channels(&self, query: &Query, presence: bool) -> Result<Outcome, Failure> {
        let store = self.channels()?;
        let service = self.watches.user().service;
        let found = channels::query_channels(&*store, service, query, &self.asker()).await?;
        let (mut shown, mut count) = (Vec::with_capacity(found.channels.len()), 0);
        for channel in found.channels {
            let members = if presence {
                // Whoever is no member any more does not see it any more.
                let Some(members) = self.watches.watch_channel(self.number, &channel.key, &*store).await? else {
                    continue;
                };
                count += members.len();
                self.check(count)?;
                members
            } else {
                all_members(&*store, &channel.key).await?
            };
            shown.push(Watchable::new(channel, Some(members)));
        }
        let mut seen = HashSet::new();
        let members = shown.iter().flat_map(|channel: &Watchable| channel.members.iter().flatten());
        let members: Vec<Identity> = members.filter(|member| seen.insert(*member)).cloned().collect();
        let users = self.read_some(&members, presence).await?;
        Ok(Outcome::Channels { channels: shown, users, cursor: found.cursor, index: found.index })
    }

    async fn watch_channel(&self, channel: Cid, data: Option<ChannelData>, presence: bool) -> Result<Outcome, Failure> {
        let (store, key, now) = (self.channels()?, self.channel(channel), clock::now());
        let ChannelData { members, custom } = data.unwrap_or_default();
        if presence && members.len() >= self.watches.users_per_watch() && store.channel(&key).await?.is_none() {
            // Nothing is created for a watch that is not possible.
            let distinct: HashSet<&Identity> = members.iter().chain([self.own()]).collect();
            self.check(distinct.len())?;
        }
        let command = CreateChannel { key: key.clone(), custom, last_message_at: None, members };
        let (channel, created) = channels::watch_channel(&*store, command, self.own(), now).await?;
        let members = if presence {
            let members = self.watches.watch_channel(self.number, &key, &*store).await?;
            members.ok_or(CommandError::Forbidden)?
        } else {
            all_members(&*store, &key).await?
        };
        if presence {
            self.check(members.len())?;
        }
        let users = self.read_some(&members, presence).await?;
        Ok(Outcome::Channel { channel: Watchable::new(channel, Some(members)), users, created })
    }

    async fn change_members(&self, channel: Cid, members: &[Identity], adds: bool) -> Result<Outcome, Failure> {
        let (store, key, asker) = (self.channels()?, self.channel(channel), self.asker());
        let (_, channel) = if adds {
            channels::add_members(&*store, &key, members, &asker).await?
        } else {
            channels::remove_members(&*store, &key, members, &asker).await?
        };
        Ok(Outcome::Members(Watchable::new(channel, None)))
    }

    async fn restore(&self, watches: Vec<RestoredWatch>, known: &HashMap<Identity, u64>) -> Result<Outcome, Failure> {
        let mut begun = vec![];
        let restored = self.restored(watches, known, &mut begun).await;
        if restored.is_err() {
            begun.into_iter().for_each(|watch| self.watches.end(watch));
        }
        restored
    }

    async fn restored(
        &self,
        watches: Vec<RestoredWatch>,
        known: &HashMap<Identity, u64>,
        begun: &mut Vec<RequestNumber>,
    ) -> Result<Outcome, Failure> {
        let (mut all, mut shown, mut gone) = (HashSet::new(), vec![], vec![]);
        let mut asked_for = HashSet::new();
        for RestoredWatch { watch, of } in watches {
            if self.watches.begin(watch)? {
                begun.push(watch);
            }
            match of {
                Watched::Users(users) => {
                    self.watches.watch(watch, &users)?;
                    all.extend(users);
                }
                Watched::Channels(cids) => {
                    let store = self.channels()?;
                    for cid in cids {
                        let members = self.watches.watch_channel(watch, &self.channel(cid.clone()), &*store).await?;
                        if !asked_for.insert(cid.clone()) {
                            continue;
                        }
                        match members {
                            Some(members) => {
                                all.extend(members.iter().cloned());
                                shown.push((cid, members));
                            }
                            None => gone.push(cid),
                        }
                    }
                }
            }
        }
        let all: Vec<Identity> = all.into_iter().collect();
        let is_news = |shown: &Shown| {
            let user = shown.public();
            known.get(user.id) != Some(&user.revision)
        };
        let users = self.read(&all).await?.into_iter().filter(is_news).collect();
        Ok(Outcome::Restored { users, channels: shown, gone })
    }

    /// So many users of one watch.
    fn check(&self, users: usize) -> Result<(), CommandError> {
        let limit = self.watches.users_per_watch();
        if users > limit { Err(CommandError::TooManyUsers { limit: limit as u64 }) } else { Ok(()) }
    }

    /// Members as users: all if they are watched, or else some.
    async fn read_some(&self, members: &[Identity], presence: bool) -> Result<Vec<Shown>, Failure> {
        let most = if presence { usize::MAX } else { usize::try_from(MAX_USERS).unwrap_or(usize::MAX) };
        self.read(&members[..members.len().min(most)]).await
    }

    /// Users as they are seen now, in this order.
    async fn read(&self, users: &[Identity]) -> Result<Vec<Shown>, Failure> {
        let mut shown = Vec::with_capacity(users.len());
        for some in users.chunks(READ_AT_ONCE) {
            let found = self.ports.search.users_by_identity(self.watches.user().service, some).await?;
            let now = clock::now();
            let mut found: HashMap<Identity, UserView> = found
                .iter()
                .map(|it| (it.user.identity.clone(), UserView::of(it, now, Viewer::at(&it.user.identity, self.own()))))
                .collect();
            shown.extend(some.iter().map(|user| match found.remove(user) {
                Some(view) => Shown::User(Box::new(view), Viewer::at(user, self.own())),
                None => Shown::Nobody(user.clone()),
            }));
            yield_now().await;
        }
        Ok(shown)
    }
}

async fn all_members(channels: &dyn Channels, key: &ChannelKey) -> Result<Vec<Identity>, Failure> {
    let mut members: Vec<Identity> = vec![];
    loop {
        let page = channels.members(key, members.last(), MEMBERS_AT_ONCE).await?;
        let is_last = page.len() < MEMBERS_AT_ONCE;
        members.extend(page);
        if is_last {
            return Ok(members);
        }
    }
}
