//! The port of channels.

use async_trait::async_trait;

use crate::channel::Channel;
use crate::channel::key::{ChannelKey, Cid};
use crate::identity::Identity;
use crate::sid::ServiceSid;
use crate::store::StoreError;

/// Why members or a channel were not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// The channel would have more than [`MAX_MEMBERS`] members.
    ///
    /// [`MAX_MEMBERS`]: crate::channel::MAX_MEMBERS
    #[error("a channel has at most {} members", crate::channel::MAX_MEMBERS)]
    Members,
    /// Its creator would have created more than [`MAX_CREATED`] channels.
    ///
    /// [`MAX_CREATED`]: crate::channel::MAX_CREATED
    #[error("a user can create at most {} channels", crate::channel::MAX_CREATED)]
    Created,
}

/// What a write changed among the members of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersChange {
    /// The channel.
    pub channel: ChannelKey,
    /// Who is a member since then, and was not before.
    pub added: Vec<Identity>,
    /// Who was a member before, and is not since then. Those of a deleted channel are not told.
    pub removed: Vec<Identity>,
    /// Whether the channel was deleted.
    pub is_deleted: bool,
}

/// Stores channels and who their members are. They are deleted with their service. Lists are in the order of `cid`s, or of
/// identities.
///
/// A member is an identity, whether or not there is a user: deleting a user removes it from no channel.
#[async_trait]
pub trait Channels: Send + Sync {
    /// Adds a channel with these members. Returns the channel as it is stored.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is a channel with its key, [`StoreError::Missing`] if there is no such service.
    async fn create_channel(
        &self,
        channel: &Channel,
        members: &[Identity],
    ) -> Result<Result<Channel, OverLimit>, StoreError>;

    /// A channel; `None` if it does not exist.
    async fn channel(&self, key: &ChannelKey) -> Result<Option<Channel>, StoreError>;

    /// Replaces the fields of a channel, and increments its version. Its members stay.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] unless the stored version equals the given one, [`StoreError::Missing`] if the channel does
    /// not exist.
    async fn replace_channel(&self, channel: &Channel) -> Result<(), StoreError>;

    /// Deletes a channel with its members. Returns whether it existed.
    async fn delete_channel(&self, key: &ChannelKey) -> Result<bool, StoreError>;

    /// Adds members, or none if they are too many. Returns who was not a member before, and the channel as it is then.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if the channel does not exist.
    async fn add_members(
        &self,
        key: &ChannelKey,
        members: &[Identity],
    ) -> Result<Result<(Vec<Identity>, Channel), OverLimit>, StoreError>;

    /// Removes members. Returns who was a member, and the channel as it is then.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if the channel does not exist.
    async fn remove_members(
        &self,
        key: &ChannelKey,
        members: &[Identity],
    ) -> Result<(Vec<Identity>, Channel), StoreError>;

    /// Members of a channel after this one, at most so many. None if the channel does not exist.
    async fn members(
        &self,
        key: &ChannelKey,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<Identity>, StoreError>;

    /// For each of these channels, which of the identities are members of it.
    async fn members_among(
        &self,
        channels: &[ChannelKey],
        identities: &[Identity],
    ) -> Result<Vec<Vec<Identity>>, StoreError>;

    /// Channels of a service after this one, at most so many.
    async fn channels(
        &self,
        service: ServiceSid,
        after: Option<&Cid>,
        at_most: usize,
    ) -> Result<Vec<Channel>, StoreError>;

    /// Channels with this member after this one, at most so many.
    async fn channels_of(
        &self,
        service: ServiceSid,
        member: &Identity,
        after: Option<&Cid>,
        at_most: usize,
    ) -> Result<Vec<Channel>, StoreError>;
}
