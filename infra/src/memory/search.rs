//! Finding users.

use async_trait::async_trait;
use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::presence::search::{UserSearch, looks_online};
use reachability_domain::presence::snapshot::UserSnapshot;
use reachability_domain::presence::state::UserState;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use super::MemoryStore;

impl MemoryStore {
    /// The users whose identity and state are wanted, at most so many, in the order of identities.
    fn search(
        &self,
        service: ServiceSid,
        at_most: usize,
        is_wanted: impl Fn(&Identity, &UserState) -> bool,
    ) -> Vec<UserSnapshot> {
        let contents = self.contents();
        let Some(scope) = contents.services.get(&service) else { return Vec::new() };
        let snapshot = |user: &User| {
            let state = scope.states.get(&user.identity).filter(|state| is_wanted(&user.identity, state))?;
            Some(UserSnapshot { configuration: scope.service.configuration, user: user.clone(), state: state.into() })
        };
        let mut found: Vec<UserSnapshot> = scope.users.values().filter_map(snapshot).collect();
        found.sort_by(|one, other| one.user.identity.cmp(&other.user.identity));
        found.truncate(at_most);
        found
    }
}

#[async_trait]
impl UserSearch for MemoryStore {
    async fn users_by_identity(
        &self,
        service: ServiceSid,
        identities: &[Identity],
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        Ok(self.search(service, usize::MAX, |identity, _| identities.contains(identity)))
    }

    async fn users_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        Ok(self.search(service, at_most, |identity, _| after.is_none_or(|after| identity > after)))
    }

    async fn online_after(
        &self,
        service: ServiceSid,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<UserSnapshot>, StoreError> {
        let is_after = |identity: &Identity| after.is_none_or(|after| identity > after);
        Ok(self.search(service, at_most, |identity, state| is_after(identity) && looks_online(state)))
    }
}
