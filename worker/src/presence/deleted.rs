//! Messages of services that do not exist.

use std::collections::BTreeSet;

use reachability_domain::presence::outcome::EventOutcome;
use reachability_domain::sid::ServiceSid;
use tracing::info;

use super::{Handled, UserBatch, Worker};
use crate::Failure;

/// What was dropped of a batch, since its services have been deleted.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    services: BTreeSet<ServiceSid>,
    events: usize,
    timers: usize,
}

impl Dropped {
    /// Logs it, in one line whatever there is.
    pub(super) fn log(&self) {
        if let Some(first) = self.services.first() {
            let (services, events, timers) = (self.services.len(), self.events, self.timers);
            info!(service.sid = %first, services, events, timers, "messages of deleted services were dropped");
        }
    }
}

impl Worker {
    /// For a service that does not exist. A timer was set while it did. So did an event come with a stamp: whoever accepted it
    /// looked for the service. Sids are not used again, so nobody will ever ask for what these say, and they are dropped.
    ///
    /// Nobody looked for the service of an event without a stamp, which was sent straight to the queue. If its sid is wrong, who
    /// sends it is to learn that, so it fails.
    pub(super) fn without_service(&self, service: ServiceSid, batch: &UserBatch, dropped: &mut Dropped) -> Handled {
        let mut handled = Handled::default();
        for (index, accepted, _) in &batch.events {
            if accepted.acceptance.is_some() {
                self.ports.metrics.count(EventOutcome::Dropped);
                dropped.events += 1;
            } else {
                self.ports.metrics.count(EventOutcome::Refused);
                handled.failures.push((*index, Failure::UnknownService(service)));
            }
        }
        dropped.timers += batch.checks.len();
        if handled.failures.len() < batch.events.len() + batch.checks.len() {
            dropped.services.insert(service);
        }
        handled
    }
}
