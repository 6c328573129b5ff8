//! Channels and their members.

use std::collections::BTreeSet;

use async_trait::async_trait;
use reachability_domain::channel::key::{ChannelKey, Cid};
use reachability_domain::channel::ports::{Channels, OverLimit};
use reachability_domain::channel::{Channel, MAX_CREATED, MAX_MEMBERS};
use reachability_domain::identity::Identity;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use super::{Contents, MemoryStore};

/// A channel with its members.
#[derive(Debug)]
pub(super) struct Held {
    channel: Channel,
    members: BTreeSet<Identity>,
}

impl Held {
    fn channel(&self) -> Channel {
        Channel { member_count: self.members.len(), ..self.channel.clone() }
    }
}

impl Contents {
    fn channel(&self, key: &ChannelKey) -> Option<&Held> {
        self.services.get(&key.service)?.channels.get(&key.cid.to_string())
    }

    fn channel_mut(&mut self, key: &ChannelKey) -> Result<&mut Held, StoreError> {
        let scope = self.services.get_mut(&key.service).ok_or(StoreError::Missing)?;
        scope.channels.get_mut(&key.cid.to_string()).ok_or(StoreError::Missing)
    }

    fn list(
        &self,
        service: ServiceSid,
        after: Option<&Cid>,
        at_most: usize,
        is_wanted: impl Fn(&Held) -> bool,
    ) -> Vec<Channel> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let channels = self.services.get(&service).into_iter().flat_map(|scope| &scope.channels);
        let channels = channels.filter(|(cid, held)| **cid > after && is_wanted(held));
        channels.take(at_most).map(|(_, held)| held.channel()).collect()
    }
}

#[async_trait]
impl Channels for MemoryStore {
    async fn create_channel(
        &self,
        channel: &Channel,
        members: &[Identity],
    ) -> Result<Result<Channel, OverLimit>, StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&channel.key.service).ok_or(StoreError::Missing)?;
        let cid = channel.key.cid.to_string();
        if scope.channels.contains_key(&cid) {
            return Err(StoreError::Exists);
        }
        let held =
            Held { channel: Channel { version: 0, ..channel.clone() }, members: members.iter().cloned().collect() };
        if held.members.len() > MAX_MEMBERS {
            return Ok(Err(OverLimit::Members));
        }
        let creator = &channel.created_by;
        let created = scope.channels.values().filter(|held| held.channel.created_by == *creator).count();
        if creator.is_some() && created >= MAX_CREATED {
            return Ok(Err(OverLimit::Created));
        }
        let created = held.channel();
        scope.channels.insert(cid, held);
        Ok(Ok(created))
    }

    async fn channel(&self, key: &ChannelKey) -> Result<Option<Channel>, StoreError> {
        Ok(self.contents().channel(key).map(Held::channel))
    }

    async fn replace_channel(&self, channel: &Channel) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let held = contents.channel_mut(&channel.key)?;
        if held.channel.version != channel.version {
            return Err(StoreError::Conflict);
        }
        held.channel = Channel { version: channel.version + 1, ..channel.clone() };
        Ok(())
    }

    async fn delete_channel(&self, key: &ChannelKey) -> Result<bool, StoreError> {
        let mut contents = self.contents();
        let scope = contents.services.get_mut(&key.service);
        Ok(scope.is_some_and(|scope| scope.channels.remove(&key.cid.to_string()).is_some()))
    }

    async fn add_members(
        &self,
        key: &ChannelKey,
        members: &[Identity],
    ) -> Result<Result<(Vec<Identity>, Channel), OverLimit>, StoreError> {
        let mut contents = self.contents();
        let held = contents.channel_mut(key)?;
        let added: BTreeSet<Identity> = members.iter().filter(|it| !held.members.contains(*it)).cloned().collect();
        if held.members.len() + added.len() > MAX_MEMBERS {
            return Ok(Err(OverLimit::Members));
        }
        held.members.extend(added.iter().cloned());
        Ok(Ok((added.into_iter().collect(), held.channel())))
    }

    async fn remove_members(
        &self,
        key: &ChannelKey,
        members: &[Identity],
    ) -> Result<(Vec<Identity>, Channel), StoreError> {
        let mut contents = self.contents();
        let held = contents.channel_mut(key)?;
        let removed: BTreeSet<Identity> = members.iter().filter_map(|member| held.members.take(member)).collect();
        Ok((removed.into_iter().collect(), held.channel()))
    }

    async fn members(
        &self,
        key: &ChannelKey,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<Identity>, StoreError> {
        let contents = self.contents();
        let members = contents.channel(key).into_iter().flat_map(|held| &held.members);
        Ok(members.filter(|member| after.is_none_or(|after| *member > after)).take(at_most).cloned().collect())
    }

    async fn members_among(
        &self,
        channels: &[ChannelKey],
        identities: &[Identity],
    ) -> Result<Vec<Vec<Identity>>, StoreError> {
        let contents = self.contents();
        let among = |key| {
            let held = contents.channel(key)?;
            let identities: BTreeSet<&Identity> = identities.iter().filter(|it| held.members.contains(*it)).collect();
            Some(identities.into_iter().cloned().collect())
        };
        Ok(channels.iter().map(|key| among(key).unwrap_or_default()).collect())
    }

    async fn channels(
        &self,
        service: ServiceSid,
        after: Option<&Cid>,
        at_most: usize,
    ) -> Result<Vec<Channel>, StoreError> {
        Ok(self.contents().list(service, after, at_most, |_| true))
    }

    async fn channels_of(
        &self,
        service: ServiceSid,
        member: &Identity,
        after: Option<&Cid>,
        at_most: usize,
    ) -> Result<Vec<Channel>, StoreError> {
        Ok(self.contents().list(service, after, at_most, |held| held.members.contains(member)))
    }
}
