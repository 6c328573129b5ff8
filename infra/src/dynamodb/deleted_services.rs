//! What is left of deleted services. A service is one item; what lies in it is removed a part at a time.

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
use super::table::read_documents;

impl DynamoStore {
    /// Up to so many records of those that lie in shards, and whether there are more.
    async fn first_of<T: DeserializeOwned>(
        &self,
        shard: impl Fn(u8) -> String,
        at_most: usize,
    ) -> Result<(Vec<T>, bool), StoreError> {
        // Of whatever sid: the start is the same for all.
        let page = PageRequest::<UserSid> { position: Cursor::Start, limit: at_most };
        let items = self.table.query_in_turn((0..SHARDS).map(shard), page, |_| true).await?;
        let page = page.page_of_read(read_documents(items)?);
        Ok((page.items, page.more))
    }
}

#[async_trait]
impl DeletedServices for DynamoStore {
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError> {
        let (users, more_users) = self.first_of::<User>(|shard| Key::users(sid, shard), at_most).await?;
        // Those of users who are found are found as well: both are in the service's own partitions.
        let (bindings, more_bindings) = self.first_of::<Binding>(|shard| Key::bindings(sid, shard), at_most).await?;
        let bindings: Vec<Key> = bindings.iter().map(|binding| Key::binding(sid, binding.device())).collect();
        let states: Vec<Key> = users.iter().map(|user| Key::state(sid, &user.identity)).collect();
        let profiles: Vec<Key> = users.iter().map(|user| Key::user(sid, user.sid)).collect();
        // A user's state goes first: with its profile gone, nobody would find it.
        for keys in [bindings, states, profiles] {
            self.table.delete_all(&keys).await?;
        }
        Ok(more_users || more_bindings)
    }
}
