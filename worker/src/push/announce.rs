//! Telling of registrations once reachability is switched on: until then nobody was told of them.

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
        // One of each user's will do.
        let users: BTreeMap<UserKey, &Binding> = bindings.iter().map(|binding| (binding.user(), binding)).collect();
        let keys: Vec<UserKey> = users.keys().cloned().collect();
        let states = self.ports.states.states(&keys).await?;
        // Some were told already: by what they did since, or by this message's first delivery.
        let untold = users.values().zip(states);
        let untold = untold.filter(|(_, state)| state.registrations.announced_in() < Some(announce.generation));
        let untold: Vec<&Binding> = untold.map(|(binding, _)| *binding).collect();
        for some in untold.chunks(WRITES_AT_ONCE) {
            try_join_all(some.iter().map(|binding| self.tell(binding, announce.generation))).await?;
        }
        Ok(rest.into_iter().map(|span| PushMessage::Announce(Announce { span, ..announce })).collect())
    }

    async fn tell(&self, binding: &Binding, generation: Generation) -> Result<(), StoreError> {
        let action = BindingCommand::Announce(binding.sid, generation);
        self.ports.bindings.apply(binding.service_sid, binding.device(), &action, None, (self.clock)()).await.map(drop)
    }
}
