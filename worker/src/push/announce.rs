//! Announces registrations after reachability was switched on. Until then their values are not published.

use futures_util::future::try_join_all;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::message::{Announce, AnnounceUser, PushMessage};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;

use super::{FollowUps, Pusher, WRITES_AT_ONCE};

/// How many users one message announces.
const USERS_AT_ONCE: usize = 1_000;

impl Pusher {
    /// Announces one page of users. It goes by users and not by bindings: who has no registration any more is announced too.
    pub(super) async fn announce(&self, announce: Announce) -> FollowUps {
        if !self.is_current(announce.service, announce.generation).await? {
            return Ok(vec![]);
        }
        let position = announce.after_user.map_or(Cursor::Start, Cursor::After);
        let page = PageRequest { position, limit: USERS_AT_ONCE };
        let page = self.ports.users.users(announce.service, page).await?;
        let keys: Vec<UserKey> = page.items.iter().map(User::key).collect();
        let states = self.ports.states.states(&keys).await?;
        // Some users are already announced: by a change since then, or by an earlier delivery of this message.
        let unannounced = keys.iter().zip(states).filter(|(_, state)| {
            state.registrations.announced_in().is_some_and(|announced_in| announced_in < announce.generation)
        });
        let unannounced: Vec<&UserKey> = unannounced.map(|(user, _)| user).collect();
        for some in unannounced.chunks(WRITES_AT_ONCE) {
            try_join_all(some.iter().map(|user| self.announce_one(user, announce.generation))).await?;
        }
        let last = page.items.last().map(|user| user.sid).filter(|_| page.more);
        let rest = last.map(|last| PushMessage::Announce(Announce { after_user: Some(last), ..announce }));
        Ok(rest.into_iter().collect())
    }

    /// Announces one user.
    pub(super) async fn announce_user(&self, announce: AnnounceUser) -> FollowUps {
        if self.is_current(announce.user.service, announce.generation).await? {
            self.announce_one(&announce.user, announce.generation).await?;
        }
        Ok(vec![])
    }

    /// Whether reachability is still on, in this generation.
    async fn is_current(&self, service: ServiceSid, generation: Generation) -> Result<bool, StoreError> {
        let service = self.ports.services.service(service).await?;
        Ok(service.is_some_and(|service| {
            let configuration = service.configuration;
            configuration.reachability_enabled && configuration.generation == generation
        }))
    }

    async fn announce_one(&self, user: &UserKey, generation: Generation) -> Result<(), StoreError> {
        self.ports.states.announce(user, generation, (self.clock)()).await
    }
}
