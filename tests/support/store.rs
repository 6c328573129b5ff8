//! All ports of a store together, for tests that use a whole store.

use async_trait::async_trait;
use reachability_domain::directory::ports::{Accounts, ApiKeys, DeletedServices, Services, Users};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::snapshot::UserSnapshots;
use reachability_domain::push::ports::{Bindings, Credentials, Notifications};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::memory::MemoryStore;
use reachability_infra::sqlite::SqliteStore;

/// Removes what a deleted service leaves behind; a store that leaves nothing does nothing.
#[async_trait]
pub trait Leftovers {
    /// Like [`DeletedServices::purge`], of all parts.
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError>;
}

#[async_trait]
impl Leftovers for MemoryStore {
    async fn purge(&self, _: ServiceSid, _: usize) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl Leftovers for SqliteStore {
    async fn purge(&self, _: ServiceSid, _: usize) -> Result<bool, StoreError> {
        Ok(self.purge_some().await?.is_some())
    }
}

#[async_trait]
impl Leftovers for DynamoStore {
    async fn purge(&self, sid: ServiceSid, at_most: usize) -> Result<bool, StoreError> {
        let mut more = false;
        for part in 0..self.parts() {
            more |= DeletedServices::purge(self, sid, part, at_most).await?;
        }
        Ok(more)
    }
}

/// The ports that are not about pushes.
pub trait Store: Accounts + ApiKeys + Services + Users + States + Leftovers {}
impl<T: Accounts + ApiKeys + Services + Users + States + Leftovers> Store for T {}

/// All ports of a store.
pub trait PushStore: Store + UserSnapshots + Bindings + Credentials + Notifications {}
impl<T: Store + UserSnapshots + Bindings + Credentials + Notifications> PushStore for T {}
