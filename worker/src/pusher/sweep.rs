//! Looking through all registrations: a year's end has no event of its own, and no timer waits for a year.

use reachability_domain::binding::{Binding, BindingFilter};
use reachability_domain::queue::{Message, Probe, Sweep};
use reachability_domain::registration::{Action, CHECK_BEFORE_END, KEEP_DEAD, Registration};
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_domain::store::{Position, StoreError, Window};
use reachability_domain::time::Timestamp;

use super::{FollowUps, Pusher};

/// How many bindings one message looks through.
const BINDINGS_AT_ONCE: usize = 500;

/// How many services one message looks through.
const SERVICES_AT_ONCE: usize = 100;

impl Pusher {
    pub(super) async fn sweep(&self, sweep: Sweep) -> FollowUps {
        match sweep.service {
            None => self.sweep_services(sweep).await,
            Some(service) => self.sweep_bindings(service, sweep).await,
        }
    }

    async fn sweep_services(&self, sweep: Sweep) -> FollowUps {
        let services = self.store.services(window(sweep, SERVICES_AT_ONCE)).await?;
        let mut follow_ups: Vec<Message> = services
            .items
            .iter()
            .map(|service| Message::Sweep(Sweep { service: Some(service.sid), after: None }))
            .collect();
        if let Some(last) = services.items.last().filter(|_| services.more) {
            follow_ups.push(Message::Sweep(Sweep { service: None, after: Some(last.sid.bits()) }));
        }
        Ok(follow_ups)
    }

    async fn sweep_bindings(&self, service: ServiceSid, sweep: Sweep) -> FollowUps {
        let bindings = self.store.bindings(service, &BindingFilter::default(), window(sweep, BINDINGS_AT_ONCE)).await?;
        let now = (self.clock)();
        let mut follow_ups = Vec::new();
        for binding in &bindings.items {
            follow_ups.extend(self.look_at(binding, now).await?);
        }
        if let Some(last) = bindings.items.last().filter(|_| bindings.more) {
            follow_ups.push(Message::Sweep(Sweep { service: Some(service), after: Some(last.sid.bits()) }));
        }
        Ok(follow_ups)
    }

    async fn look_at(&self, binding: &Binding, now: Timestamp) -> Result<Option<Message>, StoreError> {
        let registration = Registration::of(binding);
        let action = match &binding.death {
            Some(death) if death.at.plus(KEEP_DEAD) <= now => Action::Unregister(binding.sid),
            None if registration.ends_at() <= now => Action::Expire(binding.sid),
            None if registration.ends_at() <= now.plus(CHECK_BEFORE_END) && registration.wants_check(now) => {
                let (service, binding) = (binding.service_sid, binding.sid);
                return Ok(Some(Message::Probe(Probe { service, binding, asked_at: now, attempts: 0, due_at: None })));
            }
            _ => return Ok(None),
        };
        let bound = self.store.act(binding.service_sid, binding.device(), &action, None, now).await?;
        if let (None, Some(death)) = (&binding.death, bound.after.and_then(|after| after.death)) {
            self.metrics.count(&death);
        }
        Ok(None)
    }
}

fn window<K: Sid>(sweep: Sweep, limit: usize) -> Window<K> {
    let position = sweep.after.map_or(Position::Start, |bits| Position::After(K::from_bits(bits)));
    Window { position, limit }
}
