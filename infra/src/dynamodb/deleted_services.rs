//! Removal of what deleted services leave behind. Deleting a service deletes one item; messages, one for each shard, remove
//! the rest.

use async_trait::async_trait;
use futures_util::future::try_join;
use reachability_domain::directory::ports::DeletedServices;
use reachability_domain::directory::user::User;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::Binding;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use serde::de::DeserializeOwned;

use super::key::{Key, SHARDS};
use super::store::DynamoStore;

impl DynamoStore {
    /// The first records of a partition, up to `at_most`, and whether more exist.
    async fn first_of<T: DeserializeOwned>(&self, pk: String, at_most: usize) -> Result<(Vec<T>, bool), StoreError> {
        // The type of the sid does not matter: every list starts at the same position.
        let page = PageRequest::<UserSid> { position: Cursor::Start, limit: at_most };
        let page = self.table.page(pk, page).await?;
        Ok((page.items, page.more))
    }

    async fn purge_users(&self, sid: ServiceSid, shard: u8, at_most: usize) -> Result<bool, StoreError> {
        let (users, more) = self.first_of::<User>(Key::users(sid, shard), at_most).await?;
        let states: Vec<Key> = users.iter().map(|user| Key::state(sid, &user.identity)).collect();
        let profiles: Vec<Key> = users.iter().map(|user| Key::user(sid, user.sid)).collect();
        // The states go before the profiles: without its profile, a user's state could not be found.
        self.table.delete_all(&states).await?;
        self.table.delete_all(&profiles).await?;
        Ok(more)
    }

    async fn purge_bindings(&self, sid: ServiceSid, shard: u8, at_most: usize) -> Result<bool, StoreError> {
        let (bindings, more) = self.first_of::<Binding>(Key::bindings(sid, shard), at_most).await?;
        let bindings: Vec<Key> = bindings.iter().map(|binding| Key::binding(sid, binding.device())).collect();
        self.table.delete_all(&bindings).await?;
        Ok(more)
    }
}

#[async_trait]
impl DeletedServices for DynamoStore {
    fn parts(&self) -> u8 {
        SHARDS
    }

    /// Bindings are in partitions of the service, so those of all its users are found without them.
    async fn purge(&self, sid: ServiceSid, part: u8, at_most: usize) -> Result<bool, StoreError> {
        let both = try_join(self.purge_users(sid, part, at_most), self.purge_bindings(sid, part, at_most));
        let (more_users, more_bindings) = both.await?;
        Ok(more_users || more_bindings)
    }
}
