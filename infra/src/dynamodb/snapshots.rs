//! A user with its service and its state. They are three items, read as far as possible at the same time. There is no index of
//! identities and none of who is online: users are found by their identities only.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::future::{try_join, try_join_all};
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::presence::ports::States;
use reachability_domain::presence::search::UserSearch;
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use super::key::Key;
use super::store::DynamoStore;

#[async_trait]
impl UserSnapshots for DynamoStore {
    async fn user_snapshot(&self, service: ServiceSid, user: &UserRef) -> Result<Option<UserSnapshot>, StoreError> {
        let (found, user, state) = match user {
            UserRef::Identity(identity) => {
                let state = self.state(Key::state(service, identity));
                let (found, state) = try_join(self.service(service), state).await?;
                let Some(sid) = state.state.sid else { return Ok(None) };
                (found, self.table.find::<User>(Key::user(service, sid)).await?, state)
            }
            UserRef::Sid(sid) => {
                let user = self.table.find::<User>(Key::user(service, *sid));
                let (found, user) = try_join(self.service(service), user).await?;
                let Some(user) = user else { return Ok(None) };
                let state = self.state(Key::state(service, &user.identity)).await?;
                (found, Some(user), state)
            }
        };
        let (Some(service), Some(user)) = (found, user) else { return Ok(None) };
        let state = (&state.state).into();
        Ok(Some(UserSnapshot { configuration: service.configuration, user, state }))
    }
}

#[async_trait]
impl UserSearch for DynamoStore {
    async fn users_by_identity(
        &self,
        service: ServiceSid,
        identities: &[Identity],
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        let Some(service) = self.service(service).await? else { return Ok(Vec::new()) };
        let keys = BTreeSet::from_iter(identities).into_iter().cloned();
        let keys: Vec<UserKey> = keys.map(|identity| UserKey { service: service.sid, identity }).collect();
        let states = self.states(&keys).await?;
        let found = states.iter().filter_map(|state| Some((state, state.sid?))).map(async |(state, sid)| {
            let user = self.table.find::<User>(Key::user(service.sid, sid)).await?;
            let snapshot = |user| UserSnapshot { configuration: service.configuration, user, state: state.into() };
            Ok::<_, StoreError>(user.map(snapshot))
        });
        Ok(try_join_all(found).await?.into_iter().flatten().collect())
    }

    async fn users_after(
        &self,
        _: ServiceSid,
        _: Option<&Identity>,
        _: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        Err(StoreError::NotSupported)
    }

    async fn online_after(
        &self,
        _: ServiceSid,
        _: Option<&Identity>,
        _: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        Err(StoreError::NotSupported)
    }
}
