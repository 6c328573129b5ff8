//! Records what comes of pushes: of deliveries, and what providers say about registrations and credentials.

use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::metrics::Counter;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::notification::Delivery;
use reachability_domain::push::ports::Applied;
use reachability_domain::push::verdict::{TokenState, Verdict};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use tracing::{debug, warn};

use super::attempt::Attempted;
use super::{Answer, Pusher};

/// A confirmation is not written again within this time. If the provider contradicts itself within it, the dead-token
/// answer wins.
const RECONFIRM_AFTER: Duration = Duration::from_secs(86_400);

impl Pusher {
    /// Stores what came of attempts, then what was learnt from them.
    ///
    /// # Errors
    /// If the deliveries could not be stored. A failure to store what was learnt does not change them: the next push will
    /// record the same answer.
    pub(super) async fn record(&self, service: ServiceSid, attempted: Vec<Attempted<'_>>) -> Result<(), StoreError> {
        let (deliveries, answers): (Vec<Delivery>, Vec<_>) =
            attempted.into_iter().map(|attempted| (attempted.delivery, attempted.answer)).unzip();
        let stored = match &deliveries[..] {
            [] => Ok(()),
            deliveries => self.ports.notifications.replace_deliveries(deliveries).await,
        };
        self.learn_all(service, answers.into_iter().flatten().collect()).await;
        stored
    }

    /// Records what answers say about registrations of a service, and about credentials.
    async fn learn_all(&self, service: ServiceSid, answers: Vec<(&Credential, Answer)>) {
        let mut asked: Vec<&Binding> = Vec::new();
        let mut commands = Vec::new();
        for (credential, answer) in &answers {
            if let Some(command) = answer.verdict(credential).and_then(|verdict| news(&answer.binding, verdict)) {
                asked.push(&answer.binding);
                commands.push((answer.binding.device(), command));
            }
        }
        if !commands.is_empty() {
            let applied = self.ports.bindings.apply_all(service, &commands, (self.clock)()).await;
            for ((binding, (_, command)), applied) in asked.into_iter().zip(&commands).zip(applied) {
                match applied {
                    Ok(applied) => self.note(binding, command, applied),
                    Err(error) => not_recorded(binding, &error),
                }
            }
        }
        for (credential, answer) in &answers {
            if let Err(error) = self.credentials.learn(credential, &answer.outcome, (self.clock)()).await {
                not_recorded(&answer.binding, &error);
            }
        }
    }

    /// Records what an answer says about the registration and the credential.
    pub(super) async fn learn(&self, credential: &Credential, answer: &Answer) -> Result<(), StoreError> {
        if let Some(command) = answer.verdict(credential).and_then(|verdict| news(&answer.binding, verdict)) {
            let applied = self.apply(&answer.binding, &command).await?;
            self.note(&answer.binding, &command, applied);
        }
        self.credentials.learn(credential, &answer.outcome, (self.clock)()).await
    }

    /// Counts what a verdict did to the stored binding.
    fn note(&self, binding: &Binding, command: &BindingCommand, applied: Applied) {
        let was_alive = applied.before.as_ref().is_some_and(|before| before.death.is_none());
        match (command, applied.after.and_then(|after| after.death)) {
            (_, Some(death)) if was_alive => {
                self.ports.metrics.count(&death);
                debug!(service.sid = %binding.service_sid, binding.sid = %binding.sid, reason = %death.reason, "a registration is dead");
            }
            // The device has registered again, the binding is gone, or its death is already stored.
            (
                BindingCommand::ApplyVerdict(
                    _,
                    Verdict { token: TokenState::Dead { reason, .. } | TokenState::Mismatched { reason }, .. },
                ),
                _,
            ) => {
                self.ports.metrics.count(Counter::DeathsIgnored);
                debug!(service.sid = %binding.service_sid, binding.sid = %binding.sid, %reason, "a dead-token answer was ignored");
            }
            _ => {}
        }
    }
}

/// What is to be done to a binding about which there is a verdict; `None` if that is known.
fn news(binding: &Binding, verdict: Verdict) -> Option<BindingCommand> {
    let is_recent = |at: Timestamp| verdict.asked_at.since(at) < RECONFIRM_AFTER;
    let is_known = verdict.token == TokenState::Alive
        && binding.death.is_none()
        && binding.confirmed_at.is_some_and(is_recent)
        && binding.learnt_with == verdict.credential.since;
    (!is_known).then_some(BindingCommand::ApplyVerdict(binding.sid, verdict))
}

fn not_recorded(binding: &Binding, error: &StoreError) {
    warn!(binding.sid = %binding.sid, error = %ErrorChain(error), "a provider's answer could not be recorded");
}
