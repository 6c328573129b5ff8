//! Telling of registrations once reachability is switched on: until then nobody was told of them.

use futures_util::{StreamExt, TryStreamExt, stream};
use reachability_domain::binding::{Binding, BindingFilter};
use reachability_domain::queue::{Announce, Message};
use reachability_domain::registration::Action;
use reachability_domain::store::{Position, StoreError, Window};

use super::{FollowUps, Pusher};

/// How many bindings one message tells of.
const BINDINGS_AT_ONCE: usize = 500;

/// How many of them are written at a time.
const WRITES_AT_ONCE: usize = 32;

impl Pusher {
    pub(super) async fn announce(&self, announce: Announce) -> FollowUps {
        let service = self.store.service(announce.service).await?;
        let is_on = |enabled: bool, generation| enabled && generation == announce.generation;
        let configuration = service.map(|service| service.configuration);
        if !configuration.is_some_and(|it| is_on(it.reachability_enabled, it.generation)) {
            return Ok(vec![]);
        }
        let position = announce.after.map_or(Position::Start, Position::After);
        let window = Window { position, limit: BINDINGS_AT_ONCE };
        let bindings = self.store.bindings(announce.service, &BindingFilter::default(), window).await?;
        let now = (self.clock)();
        let tell = async |binding: &Binding| {
            let action = Action::Announce(binding.sid, announce.generation);
            self.store.act(announce.service, binding.device(), &action, None, now).await.map(drop)
        };
        stream::iter(&bindings.items)
            .map(tell)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<()>()
            .await
            .map_err(|error: StoreError| error)?;
        let last = bindings.items.last().filter(|_| bindings.more);
        let more = last.map(|last| Message::Announce(Announce { after: Some(last.sid), ..announce }));
        Ok(more.into_iter().collect())
    }
}
