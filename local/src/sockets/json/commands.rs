//! What clients ask for, done by the use cases that REST has as well.
//!
//! Who is to be watched is watched first and read then, so that no change is missed in between. What is told before the answer
//! has a revision, and the client keeps whatever is newer.
//!
//! Users and members are told in parts, which are read as the client takes them ([`super::telling`]): so an answer of any length
//! holds little memory, and what changes meanwhile is told in between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use reachability_domain::channel::Channel;
use reachability_domain::channel::key::{ChannelKey, Cid};
use reachability_domain::channel::ports::Channels;
use reachability_domain::directory::user::UserRef;
use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::query::Query;
use reachability_domain::store::StoreError;
use reachability_functions::app::Ports;
use reachability_functions::use_cases::asker::Asker;
use reachability_functions::use_cases::channels::{self, CreateChannel};
use reachability_functions::use_cases::presence::{query_users, set_presence};
use reachability_functions::use_cases::scan::{MAX_SCANNED, QueryError};
use reachability_gateway::json::settings::{MAX_USERS, MEMBERS_IN_CHANNEL};
use reachability_gateway::json::{ChannelData, Command, CommandError, RequestNumber, RestoredWatch, Watched};
use reachability_infra::clock;

use super::failure::Failure;
use super::outcome::{Outcome, Shown, Watchable};
use super::telling::in_time;
use super::watches::Watches;

/// As how many users a channel counts whose watch is restored, beside its members.
const LOOKED_AT_PER_CHANNEL: usize = 10;

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

    /// Does what the client asks for. Returns what came of it, and how many users, channels and members were looked at.
    ///
    /// It fails if that is not possible. Then nothing is watched for it.
    pub(super) async fn answer(self) -> (Result<Outcome, CommandError>, usize) {
        let begins = self.watches();
        let Self { ports, watches, number, command } = self;
        let mut asked = Asked { ports, watches: watches.clone(), number, begun: vec![], looked_at: 0 };
        if begins && let Err(error) = asked.begin(number) {
            return (Err(error), 0);
        }
        let done = match in_time(&watches, asked.done(command)).await {
            Some(done) => done.map_err(|Failure(error)| error),
            // A write that has begun is finished all the same.
            None => Err(CommandError::Unavailable),
        };
        if done.is_err() {
            asked.begun.into_iter().for_each(|watch| watches.end(watch));
        }
        (done, asked.looked_at)
    }
}

/// Who asks, and what for.
pub(super) struct Asked {
    pub(super) ports: Ports,
    pub(super) watches: Arc<Watches>,
    pub(super) number: RequestNumber,
    /// The watches that it has begun.
    begun: Vec<RequestNumber>,
    looked_at: usize,
}

impl Asked {
    async fn done(&mut self, command: Command) -> Result<Outcome, Failure> {
        match command {
            Command::SetUser(wish) => self.set_user(&wish).await,
            Command::QueryUsers { query, presence } => self.query_users(&query, presence).await,
            Command::QueryChannels { query, presence } => self.query_channels(&query, presence).await,
            Command::WatchChannel { channel, data, presence } => self.watch_channel(channel, data, presence).await,
            Command::AddMembers { channel, members } => self.change_members(channel, &members, true).await,
            Command::RemoveMembers { channel, members } => self.change_members(channel, &members, false).await,
            Command::Unwatch { watch } => {
                self.watches.end(watch);
                Ok(Outcome::Unwatched)
            }
            Command::Restore { watches, known } => self.restore(watches, &known).await,
        }
    }

    /// Begins a watch, unless there is one of this name.
    fn begin(&mut self, watch: RequestNumber) -> Result<(), CommandError> {
        if self.watches.begin(watch)? {
            self.begun.push(watch);
        }
        Ok(())
    }

    /// So many users, channels or members more were looked at.
    pub(super) fn looks_at(&mut self, count: usize) {
        self.looked_at = self.looked_at.saturating_add(count);
    }

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

    async fn query_users(&mut self, query: &Query, presence: bool) -> Result<Outcome, Failure> {
        let service = self.watches.user().service;
        let found = query_users(&*self.ports.search, service, query, &self.asker(), clock::now()).await;
        let found = found.inspect_err(|error| self.failed(error))?;
        self.looks_at(found.looked_at);
        let (cursor, index) = (found.cursor, found.index);
        let count = if presence {
            let users: Vec<Identity> = found.users.into_iter().map(|(view, _)| view.user.identity).collect();
            self.watches.watch(self.number, &users)?;
            // Of whom was deleted in between, nothing was promised.
            self.tell_users(&users, |shown| matches!(shown, Shown::User(..))).await?
        } else {
            let users = found.users.into_iter().map(|(view, viewer)| Shown::User(Box::new(view), viewer));
            self.tell(users.collect()).await
        };
        Ok(Outcome::Users { count, cursor, index })
    }

    async fn query_channels(&mut self, query: &Query, presence: bool) -> Result<Outcome, Failure> {
        let store = self.channels()?;
        let service = self.watches.user().service;
        let found = channels::query_channels(&*store, service, query, &self.asker()).await;
        let found = found.inspect_err(|error| self.failed(error))?;
        self.looks_at(found.looked_at);
        let (mut shown, mut all, mut seen) = (vec![], vec![], HashSet::new());
        let mut count = 0;
        for channel in found.channels {
            self.looks_at(channel.member_count);
            let (members, member_count) = if presence {
                // Whoever is no member any more does not see it any more.
                let Some(members) = self.watches.watch_channel(self.number, &channel.key, &*store).await? else {
                    continue;
                };
                let of_channel = members.len();
                count += of_channel;
                self.check(count)?;
                (members, of_channel)
            } else {
                // There may be many channels, so only the first members are told of each.
                let members = store.members(&channel.key, None, MEMBERS_IN_CHANNEL).await?;
                let are_all = members.len() < MEMBERS_IN_CHANNEL;
                let of_channel = if are_all { members.len() } else { channel.member_count.max(members.len()) };
                (members, of_channel)
            };
            all.extend(members.iter().filter(|member| seen.insert((*member).clone())).cloned());
            shown.push(self.watchable(channel, members, member_count).await);
        }
        self.tell_members(&all, presence).await?;
        Ok(Outcome::Channels { channels: shown, cursor: found.cursor, index: found.index })
    }

    async fn watch_channel(
        &mut self,
        channel: Cid,
        data: Option<ChannelData>,
        presence: bool,
    ) -> Result<Outcome, Failure> {
        let (store, key, now) = (self.channels()?, self.channel(channel), clock::now());
        let ChannelData { members, custom } = data.unwrap_or_default();
        if presence && members.len() >= self.watches.users_per_watch() && store.channel(&key).await?.is_none() {
            // Nothing is created for a watch that is not possible.
            let distinct: HashSet<&Identity> = members.iter().chain([self.own()]).collect();
            self.check(distinct.len())?;
        }
        let command = CreateChannel { key: key.clone(), custom, last_message_at: None, members };
        let (channel, created) = channels::watch_channel(&*store, command, self.own(), now).await?;
        self.looks_at(channel.member_count);
        let members = if presence {
            let members = self.watches.watch_channel(self.number, &key, &*store).await?;
            members.ok_or(CommandError::Forbidden)?
        } else {
            all_members(&*store, &key).await?
        };
        if presence {
            self.check(members.len())?;
        }
        let count = members.len();
        let channel = self.watchable(channel, members.clone(), count).await;
        self.tell_members(&members, presence).await?;
        Ok(Outcome::Channel { channel, created })
    }

    /// A channel with its members, which are told now if they are many.
    async fn watchable(&mut self, channel: Channel, members: Vec<Identity>, member_count: usize) -> Watchable {
        let channel = Channel { member_count, ..channel };
        if members.len() <= MEMBERS_IN_CHANNEL {
            return Watchable { channel, members: Some(members) };
        }
        self.tell_list(&channel.key.cid, &members).await;
        Watchable { channel, members: None }
    }

    async fn change_members(&self, channel: Cid, members: &[Identity], adds: bool) -> Result<Outcome, Failure> {
        let (store, key, asker) = (self.channels()?, self.channel(channel), self.asker());
        let (_, channel) = if adds {
            channels::add_members(&*store, &key, members, &asker).await?
        } else {
            channels::remove_members(&*store, &key, members, &asker).await?
        };
        Ok(Outcome::Members(Watchable { channel, members: None }))
    }

    async fn restore(
        &mut self,
        watches: Vec<RestoredWatch>,
        known: &HashMap<Identity, u64>,
    ) -> Result<Outcome, Failure> {
        let (mut all, mut shown, mut gone) = (HashSet::new(), vec![], vec![]);
        let mut asked_for = HashSet::new();
        for RestoredWatch { watch, of } in watches {
            self.begin(watch)?;
            match of {
                Watched::Users(users) => {
                    self.watches.watch(watch, &users)?;
                    all.extend(users);
                }
                Watched::Channels(cids) => {
                    let store = self.channels()?;
                    for cid in cids {
                        // Also if it is not there, or not for this user.
                        self.looks_at(LOOKED_AT_PER_CHANNEL);
                        let members = self.watches.watch_channel(watch, &self.channel(cid.clone()), &*store).await?;
                        self.looks_at(members.as_ref().map_or(0, Vec::len));
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
        for (cid, members) in &shown {
            self.tell_list(cid, members).await;
        }
        let all: Vec<Identity> = all.into_iter().collect();
        let is_news = |shown: &Shown| {
            let user = shown.public();
            known.get(user.id) != Some(&user.revision)
        };
        self.tell_users(&all, is_news).await?;
        Ok(Outcome::Restored { gone })
    }

    /// So many users of one watch.
    fn check(&self, users: usize) -> Result<(), CommandError> {
        let limit = self.watches.users_per_watch();
        if users > limit { Err(CommandError::TooManyUsers { limit: limit as u64 }) } else { Ok(()) }
    }

    /// A query failed.
    fn failed(&mut self, error: &QueryError) {
        if let QueryError::TooBroad = error {
            self.looks_at(MAX_SCANNED);
        }
    }

    /// Tells members as users: all if they are watched, or else some.
    async fn tell_members(&mut self, members: &[Identity], presence: bool) -> Result<usize, Failure> {
        let most = if presence { usize::MAX } else { usize::try_from(MAX_USERS).unwrap_or(usize::MAX) };
        self.tell_users(&members[..members.len().min(most)], |_| true).await
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
