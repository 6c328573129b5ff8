//! Removal of what deleted services leave behind. Deleting a service deletes one item; a message at a time removes the
//! rest.

use async_trait::async_trait;
use reachability_domain::directory::ports::DeletedServices;
use reachability_domain::directory::user::User;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::Binding;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::store::StoreError;
use serde::de::DeserializeOwned;

use super::key::{Key, SHARDS};
use super::store::DynamoStore;
use super::table::{Looks, read_documents};

impl DynamoStore {
    /// The first records across all shards, up to `at_most`, and whether more exist.
    async fn first_of<T: DeserializeOwned>(
        &self,
        shard: impl Fn(u8) -> String,
        at_most: usize,
    ) -> Result<(Vec<T>, bool), StoreError> {
        // The type of the sid does not matter: every list starts at the same position.
        let page = PageRequest::<UserSid> { position: Cursor::Start, limit: at_most };
        let items = self.table.query_in_turn((0..SHARDS).map(shard), page, |_| true, Looks::few(page)).await?.items;
        let page = page.page_of_read(read_documents(items)?);
        Ok((page.items, page.more))
    }
}

#[async_trait]
impl DeletedServices for DynamoStore {
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError> {
        let (users, more_users) = self.first_of::<User>(|shard| Key::users(sid, shard), at_most).await?;
        // This includes the bindings of the users found here: both are in the service's own partitions.
        let (bindings, more_bindings) = self.first_of::<Binding>(|shard| Key::bindings(sid, shard), at_most).await?;
        let bindings: Vec<Key> = bindings.iter().map(|binding| Key::binding(sid, binding.device())).collect();
        let states: Vec<Key> = users.iter().map(|user| Key::state(sid, &user.identity)).collect();
        let profiles: Vec<Key> = users.iter().map(|user| Key::user(sid, user.sid)).collect();
        // The states go before the profiles: without its profile, a user's state could not be found.
        for keys in [bindings, states, profiles] {
            self.table.delete_all(&keys).await?;
        }
        Ok(more_users || more_bindings)
    }
}
