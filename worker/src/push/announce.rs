//! Announces registrations after reachability was switched on. Until then their values are not published.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::identity::UserKey;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::message::{Announce, PushMessage};
use reachability_domain::store::StoreError;

use super::{FollowUps, Pusher, WRITES_AT_ONCE};

impl Pusher {
    pub(super) async fn announce(&self, announce: Announce) -> FollowUps {
        let service = self.ports.services.service(announce.service).await?;
        let is_on = service.is_some_and(|service| {
            let configuration = service.configuration;
            configuration.reachability_enabled && configuration.generation == announce.generation
        });
        if !is_on {
            return Ok(vec![]);
        }
        let (bindings, rest) = self.page(announce.service, announce.span).await?;
        // One binding per user is enough.
        let users: BTreeMap<UserKey, &Binding> = bindings.iter().map(|binding| (binding.user(), binding)).collect();
        let keys: Vec<UserKey> = users.keys().cloned().collect();
        let states = self.ports.states.states(&keys).await?;
        // Some users are already announced: by a change since then, or by an earlier delivery of this message.
        let unannounced = users.values().zip(states);
        let unannounced =
            unannounced.filter(|(_, state)| state.registrations.announced_in() < Some(announce.generation));
        let unannounced: Vec<&Binding> = unannounced.map(|(binding, _)| *binding).collect();
        for some in unannounced.chunks(WRITES_AT_ONCE) {
            try_join_all(some.iter().map(|binding| self.announce_one(binding, announce.generation))).await?;
        }
        Ok(rest.into_iter().map(|span| PushMessage::Announce(Announce { span, ..announce })).collect())
    }

    async fn announce_one(&self, binding: &Binding, generation: Generation) -> Result<(), StoreError> {
        let action = BindingCommand::Announce(binding.sid, generation);
        self.ports.bindings.apply(binding.service_sid, binding.device(), &action, None, (self.clock)()).await.map(drop)
    }
}
