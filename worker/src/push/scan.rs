//! Scans all registrations: the end of an expired one has no event, and a queue cannot delay a message for months. It also
//! finds those whose credential has changed in its keys or in how long registrations count, and those that are to be checked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use futures_util::future::try_join_all;
use reachability_domain::metrics::Counter;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::message::{Probe, ProbeCause, PushMessage, ScanBindings, ScanServices, Span};
use reachability_domain::push::registration::Registration;
use reachability_domain::sid::CredentialSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::probe::check;
use super::{FollowUps, Pusher, WRITES_AT_ONCE};

/// How many services one message processes.
const SERVICES_AT_ONCE: usize = 100;

/// Over how long the checks are spread that a scan leads to: as far ahead as every queue delays messages.
const SPREAD: Duration = Duration::from_secs(15 * 60);

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
        let credentials = self.credentials_of(&bindings).await?;
        let now = (self.clock)();
        let mut follow_ups: Vec<PushMessage> =
            rest.into_iter().map(|span| PushMessage::ScanBindings(ScanBindings { service, span })).collect();
        for some in bindings.chunks(WRITES_AT_ONCE) {
            let probes = some.iter().map(|binding| {
                let credential = binding.credential_sid.and_then(|sid| credentials.get(&sid)).and_then(Option::as_ref);
                self.look_at(binding, credential, now)
            });
            follow_ups.extend(try_join_all(probes).await?.into_iter().flatten());
        }
        Ok(follow_ups)
    }

    /// The credentials of these bindings as they are stored: one that has just changed may be the cause of the scan.
    async fn credentials_of(
        &self,
        bindings: &[Binding],
    ) -> Result<HashMap<CredentialSid, Option<Credential>>, StoreError> {
        let mut credentials = HashMap::new();
        for sid in bindings.iter().filter_map(|binding| binding.credential_sid) {
            if let Entry::Vacant(place) = credentials.entry(sid) {
                place.insert(self.ports.credentials.credential(sid).await?);
            }
        }
        Ok(credentials)
    }

    async fn look_at(
        &self,
        binding: &Binding,
        credential: Option<&Credential>,
        now: Timestamp,
    ) -> Result<Option<PushMessage>, StoreError> {
        let forget =
            credential.map(|credential| BindingCommand::ForgetCredential(binding.sid, credential.current_use()));
        // Usually there is nothing to forget, and nothing is written.
        let forgotten = forget.as_ref().and_then(|forget| forget.transition(Some(binding), now)?.binding);
        if let (Some(forget), Some(_)) = (&forget, &forgotten) {
            self.apply(binding, forget).await?;
        }
        let binding = forgotten.as_ref().unwrap_or(binding);
        // Earlier versions let every registration count for a year. Without its credential, nothing else changes.
        let lifetime =
            credential.map_or(binding.lifetime, Credential::lifetime).min(Lifetime::longest(binding.channel));
        let action = match &binding.death {
            Some(_) => BindingCommand::RemoveDead(binding.sid),
            None if binding.ends_at() <= now => BindingCommand::Expire(binding.sid),
            None if binding.lifetime != lifetime => BindingCommand::SetLifetime(binding.sid, lifetime),
            None => return Ok(self.probe_of(binding, credential, now)),
        };
        if action.transition(Some(binding), now).is_none() {
            return Ok(None);
        }
        let bound = self.apply(binding, &action).await?;
        if let (None, Some(death)) = (&binding.death, bound.after.as_ref().and_then(|after| after.death.as_ref())) {
            self.ports.metrics.count(death);
        }
        Ok(bound.after.and_then(|after| self.probe_of(&after, credential, now)))
    }

    /// The check of a registration that was not confirmed for long, if its credential is made for that.
    fn probe_of(&self, binding: &Binding, credential: Option<&Credential>, now: Timestamp) -> Option<PushMessage> {
        let cause = ProbeCause::Scan;
        let is_checked = Registration::of(binding).wants_check(now) && check(credential?, cause).is_some();
        // A scan finds many at once.
        let due_at = Some(now.plus(self.ports.ids.jitter(SPREAD)));
        let (service, binding) = (binding.service_sid, binding.sid);
        is_checked.then_some(PushMessage::Probe(Probe { service, binding, asked_at: now, attempts: 0, due_at, cause }))
    }
}
