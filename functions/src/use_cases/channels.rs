//! Channels: creating and finding them, and who their members are.
//!
//! The owner does with them what it wants. A client sees the channels of which its user is a member: others look to it as if
//! they did not exist, but that it cannot watch them.

use std::collections::BTreeSet;

use reachability_domain::channel::Channel;
use reachability_domain::channel::fields::ChannelRow;
use reachability_domain::channel::key::{ChannelKey, Cid};
use reachability_domain::channel::ports::{Channels, OverLimit};
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::query::Query;
use reachability_domain::query::cursor::InvalidCursor;
use reachability_domain::query::plan::Plan;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::{Clock, Timestamp};
use serde_json::{Map, Value};

use crate::use_cases::asker::Asker;
use crate::use_cases::scan::{QueryError, Source, scan, select};
use crate::use_cases::update::{Versioned, update};

/// Why a request for a channel is not done.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// There is no such channel, or no such service.
    #[error("there is no such channel")]
    NotFound,
    /// The asker is not a member of the channel.
    #[error("only members of the channel may do that")]
    Forbidden,
    /// There is such a channel already.
    #[error("there is such a channel already")]
    Exists,
    /// Too many members, or too many channels of one creator.
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for ChannelError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing => Self::NotFound,
            StoreError::Exists => Self::Exists,
            error => Self::Store(error),
        }
    }
}

/// The command to create a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateChannel {
    /// What names it.
    pub key: ChannelKey,
    /// The app's own fields, which must be valid ([`custom`]).
    ///
    /// [`custom`]: reachability_domain::channel::data::custom
    pub custom: Map<String, Value>,
    /// When the last message was sent; `None` if the app does not say.
    pub last_message_at: Option<Timestamp>,
    /// The first members. A user who creates a channel becomes one in any case.
    pub members: Vec<Identity>,
}

/// Creates a channel. Returns it.
///
/// # Errors
/// [`ChannelError::Exists`] if there is one, [`ChannelError::NotFound`] if there is no such service.
pub async fn create_channel(
    channels: &dyn Channels,
    command: CreateChannel,
    asker: &Asker,
    now: Timestamp,
) -> Result<Channel, ChannelError> {
    let CreateChannel { key, custom, last_message_at, mut members } = command;
    let created_by = match asker {
        Asker::Owner { .. } => None,
        Asker::User(user) => Some(user.clone()),
    };
    members.extend(created_by.clone());
    let channel = Channel {
        key,
        custom,
        created_by,
        created_at: now,
        updated_at: now,
        last_message_at,
        member_count: 0,
        version: 0,
    };
    Ok(channels.create_channel(&channel, &members).await??)
}

/// The channel that a client wants to watch, and whether this created it: from the command, if there was none.
///
/// # Errors
/// [`ChannelError::Forbidden`] if there is one, and the user is not a member.
pub async fn watch_channel(
    channels: &dyn Channels,
    command: CreateChannel,
    user: &Identity,
    now: Timestamp,
) -> Result<(Channel, bool), ChannelError> {
    let (key, asker) = (command.key.clone(), Asker::User(user.clone()));
    match channels.channel(&key).await? {
        Some(channel) => check_member(channels, &key, &asker).await.map(|()| (channel, false)),
        None => match create_channel(channels, command, &asker, now).await {
            // Another request has created it in the meantime.
            Err(ChannelError::Exists) => {
                check_member(channels, &key, &asker).await?;
                let channel = channels.channel(&key).await?.ok_or(ChannelError::NotFound)?;
                Ok((channel, false))
            }
            created => created.map(|channel| (channel, true)),
        },
    }
}

/// Adds members. Returns who was not a member before, and the channel as it is then.
///
/// # Errors
/// [`ChannelError::NotFound`] if there is no such channel, [`ChannelError::Forbidden`] if the asker is not a member.
pub async fn add_members(
    channels: &dyn Channels,
    key: &ChannelKey,
    members: &[Identity],
    asker: &Asker,
) -> Result<(Vec<Identity>, Channel), ChannelError> {
    check_member(channels, key, asker).await?;
    Ok(channels.add_members(key, members).await??)
}

/// Removes members. Returns who was a member, and the channel as it is then.
///
/// # Errors
/// [`ChannelError::NotFound`] if there is no such channel, [`ChannelError::Forbidden`] if the asker is not a member.
pub async fn remove_members(
    channels: &dyn Channels,
    key: &ChannelKey,
    members: &[Identity],
    asker: &Asker,
) -> Result<(Vec<Identity>, Channel), ChannelError> {
    check_member(channels, key, asker).await?;
    Ok(channels.remove_members(key, members).await?)
}

async fn check_member(channels: &dyn Channels, key: &ChannelKey, asker: &Asker) -> Result<(), ChannelError> {
    let Asker::User(user) = asker else { return Ok(()) };
    let (keys, users) = (std::slice::from_ref(key), std::slice::from_ref(user));
    let is_member = channels.members_among(keys, users).await?.iter().any(|members| !members.is_empty());
    if is_member {
        return Ok(());
    }
    let exists = channels.channel(key).await?.is_some();
    Err(if exists { ChannelError::Forbidden } else { ChannelError::NotFound })
}

/// The fields of a channel to set; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ChannelChange {
    pub(crate) custom: Option<Map<String, Value>>,
    pub(crate) last_message_at: Option<Option<Timestamp>>,
}

/// Changes the fields of a channel. Returns the changed channel, or `None` if there is none.
pub(crate) async fn update_channel(
    channels: &dyn Channels,
    ids: &dyn Ids,
    clock: Clock,
    key: &ChannelKey,
    change: ChannelChange,
) -> Result<Option<Channel>, StoreError> {
    let Some(channel) = channels.channel(key).await? else { return Ok(None) };
    let place = StoredChannel { channels, key, clock };
    update(place, ids, channel, |channel| {
        if let Some(custom) = &change.custom {
            channel.custom.clone_from(custom);
        }
        if let Some(last_message_at) = change.last_message_at {
            channel.last_message_at = last_message_at;
        }
        Ok(())
    })
    .await
}

struct StoredChannel<'a> {
    channels: &'a dyn Channels,
    key: &'a ChannelKey,
    clock: Clock,
}

impl Versioned for StoredChannel<'_> {
    type Record = Channel;

    async fn read(&self) -> Result<Option<Channel>, StoreError> {
        self.channels.channel(self.key).await
    }

    async fn replace(&mut self, channel: &mut Channel) -> Result<(), StoreError> {
        channel.updated_at = (self.clock)();
        self.channels.replace_channel(channel).await
    }
}

/// The answer to a query for channels.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundChannels {
    /// The channels, in the order that was asked for.
    pub channels: Vec<Channel>,
    /// The cursor of the channels after them; `None` if there are none. Before a cursor there may be fewer channels than were
    /// asked for, or none.
    pub cursor: Option<String>,
    /// The index that answered; `None` if all channels of the service were looked at.
    pub index: Option<&'static str>,
    /// How many channels were looked at.
    pub looked_at: usize,
}

/// Finds channels of a service: for a client, among those of which its user is a member.
///
/// # Errors
/// If it is too broad, or the store fails.
pub async fn query_channels(
    channels: &dyn Channels,
    service: ServiceSid,
    query: &Query,
    asker: &Asker,
) -> Result<FoundChannels, QueryError> {
    let own = match asker {
        Asker::Owner { .. } => None,
        Asker::User(user) => Some(user),
    };
    let plan = query.plan();
    let named = query.filter.named_members().into_iter().filter_map(|member| member.parse().ok());
    let named: Vec<Identity> = named.chain(own.cloned()).collect();
    let member = match (own, &plan) {
        (None, Plan::Member(member)) => member.parse().ok(),
        (own, _) => own.cloned(),
    };
    let index = if member.is_some() { Some("members") } else { plan.index(query) };
    let source = ChannelsOf { channels, service, named, member };
    let (found, index) = match &plan {
        Plan::Keys(cids) => {
            let rows = source.with_keys(cids).await?.into_iter();
            let seen = rows.filter(|row| own.is_none_or(|own| row.named.contains(own)));
            (select(seen.collect(), cids.len(), query).await, plan.index(query))
        }
        _ => (scan(&source, query).await?, index),
    };
    Ok(FoundChannels {
        channels: found.rows.into_iter().map(|row| row.channel).collect(),
        cursor: found.cursor,
        index,
        looked_at: found.looked_at,
    })
}

/// The channels of a service, or those of a member.
struct ChannelsOf<'a> {
    channels: &'a dyn Channels,
    service: ServiceSid,
    /// The identities of whom the query has to know whether they are members.
    named: Vec<Identity>,
    member: Option<Identity>,
}

impl ChannelsOf<'_> {
    /// Those of any members, with these names.
    async fn with_keys(&self, cids: &[String]) -> Result<Vec<ChannelRow>, QueryError> {
        let mut found = Vec::new();
        // What is not the name of a channel names nothing.
        for cid in cids.iter().filter_map(|cid| cid.parse().ok()) {
            found.extend(self.channels.channel(&ChannelKey { service: self.service, cid }).await?);
        }
        self.rows(found).await
    }

    async fn rows(&self, channels: Vec<Channel>) -> Result<Vec<ChannelRow>, QueryError> {
        let keys: Vec<ChannelKey> = channels.iter().map(|channel| channel.key.clone()).collect();
        let members = self.channels.members_among(&keys, &self.named).await?;
        let named = members.into_iter().map(BTreeSet::from_iter);
        Ok(channels.into_iter().zip(named).map(|(channel, named)| ChannelRow { channel, named }).collect())
    }
}

impl Source for ChannelsOf<'_> {
    type Row = ChannelRow;

    async fn read(&self, after: Option<&str>, at_most: usize) -> Result<Vec<ChannelRow>, QueryError> {
        let after: Option<Cid> = after.map(|cid| cid.parse().map_err(|_| InvalidCursor)).transpose()?;
        let channels = match &self.member {
            Some(member) => self.channels.channels_of(self.service, member, after.as_ref(), at_most).await?,
            None => self.channels.channels(self.service, after.as_ref(), at_most).await?,
        };
        self.rows(channels).await
    }
}
