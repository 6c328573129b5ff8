//! Scans all registrations for expired ones: their end has no event, and a queue cannot delay a message for a year.

use futures_util::future::try_join_all;
use reachability_domain::metrics::Counter;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::message::{Probe, PushMessage, ScanBindings, ScanServices, Span};
use reachability_domain::push::registration::{CHECK_BEFORE_END, KEEP_DEAD, Registration};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::{FollowUps, Pusher, WRITES_AT_ONCE};

/// How many services one message processes.
const SERVICES_AT_ONCE: usize = 100;

impl Pusher {
    pub(super) async fn scan_services(&self, scan: ScanServices) -> FollowUps {
        if scan.after.is_none() {
            self.credentials.look_at_certificates((self.clock)()).await?;
        }
        let position = scan.after.map_or(Cursor::Start, Cursor::After);
        let services = self.ports.services.services(PageRequest { position, limit: SERVICES_AT_ONCE }).await?;
        if scan.after.is_none() {
            self.ports.metrics.count(Counter::Sweeps);
        }
        let scan = |service| PushMessage::ScanBindings(ScanBindings { service, span: Span::default() });
        let mut follow_ups: Vec<PushMessage> = services.items.iter().map(|service| scan(service.sid)).collect();
        if let Some(last) = services.items.last().filter(|_| services.more) {
            follow_ups.push(PushMessage::ScanServices(ScanServices { after: Some(last.sid) }));
        }
        Ok(follow_ups)
    }

    pub(super) async fn scan_bindings(&self, scan: ScanBindings) -> FollowUps {
        let service = scan.service;
        let (bindings, rest) = self.page(service, scan.span).await?;
        let now = (self.clock)();
        let mut follow_ups: Vec<PushMessage> =
            rest.into_iter().map(|span| PushMessage::ScanBindings(ScanBindings { service, span })).collect();
        for some in bindings.chunks(WRITES_AT_ONCE) {
            let probes = try_join_all(some.iter().map(|binding| self.look_at(binding, now))).await?;
            follow_ups.extend(probes.into_iter().flatten());
        }
        Ok(follow_ups)
    }

    async fn look_at(&self, binding: &Binding, now: Timestamp) -> Result<Option<PushMessage>, StoreError> {
        let registration = Registration::of(binding);
        let action = match &binding.death {
            Some(death) if death.at.plus(KEEP_DEAD) <= now => BindingCommand::RemoveDead(binding.sid),
            None if registration.ends_at() <= now => BindingCommand::Expire(binding.sid),
            None if registration.ends_at() <= now.plus(CHECK_BEFORE_END) && registration.wants_check(now) => {
                let (service, binding) = (binding.service_sid, binding.sid);
                return Ok(Some(PushMessage::Probe(Probe {
                    service,
                    binding,
                    asked_at: now,
                    attempts: 0,
                    due_at: None,
                })));
            }
            _ => return Ok(None),
        };
        let bound = self.ports.bindings.apply(binding.service_sid, binding.device(), &action, None, now).await?;
        if let (None, Some(death)) = (&binding.death, bound.after.and_then(|after| after.death)) {
            self.ports.metrics.count(&death);
        }
        Ok(None)
    }
}
