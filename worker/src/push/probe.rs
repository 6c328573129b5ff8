//! Checking one registration.

use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::{Credential, Method, RegistrationCheck};
use reachability_domain::push::message::{Probe, ProbeCause, PushMessage};
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::{Push, PushKind};
use reachability_domain::sid::Sid;

use super::{FollowUps, MAX_CHECKS, Pusher};

/// How registrations with this credential are checked on this occasion; `None` if they are not.
pub(super) fn check(credential: &Credential, cause: ProbeCause) -> Option<PushKind> {
    match (&credential.method, credential.check, cause) {
        // SNS knows the state without a push. A push could trigger feedback, and so another check.
        (Method::PlatformApplication { .. }, ..) | (_, RegistrationCheck::DryRun, _) => Some(PushKind::DryRun),
        // The app is running.
        (_, RegistrationCheck::Once | RegistrationCheck::Silent, ProbeCause::Registered) => Some(PushKind::Silent),
        (_, RegistrationCheck::Silent, ProbeCause::Scan | ProbeCause::Feedback) => Some(PushKind::Silent),
        // It may wake the app, which connects: whoever has gone offline would be online again.
        (_, RegistrationCheck::Silent, ProbeCause::Offline) => None,
        (_, RegistrationCheck::Once | RegistrationCheck::None, _) => None,
    }
}

impl Pusher {
    pub(super) async fn probe(&self, probe: Probe) -> FollowUps {
        let Some(binding) = self.ports.bindings.binding(probe.service, probe.binding).await? else { return Ok(vec![]) };
        // It was answered since the check was requested, possibly by an earlier delivery of this message.
        let is_answered = binding.confirmed_at.is_some_and(|at| probe.asked_at <= at) || binding.death.is_some();
        let credential = match binding.credential_sid {
            Some(sid) if !is_answered => self.credentials.get(sid, (self.clock)()).await?,
            _ => None,
        };
        let Some(credential) = credential else { return Ok(vec![]) };
        let Some(kind) = check(&credential, probe.cause) else { return Ok(vec![]) };
        let push = Push {
            // A repeated check has the same id.
            id: binding.sid.bits() ^ u128::from(probe.asked_at.as_millis().unsigned_abs()),
            collapse_id: format!("{:032x}", binding.sid.bits()),
            expires_at: None,
            kind,
        };
        let answer = self.ask(&credential, &binding, &push).await?;
        self.learn(&credential, &answer).await?;
        // Others need not begin as well while this is retried, or if the answer says nothing.
        if probe.attempts == 0 && answer.verdict(&credential).is_none() {
            self.apply(&binding, &BindingCommand::NoteAsked(binding.sid, answer.asked_at)).await?;
        }
        let PushOutcome::Unavailable { trouble, retry_after, .. } = answer.outcome else { return Ok(vec![]) };
        let attempts = probe.attempts + 1;
        if attempts >= MAX_CHECKS {
            // Without an answer, the registration keeps its state until the next trigger.
            return Ok(vec![]);
        }
        let due_at = Some(self.retry_at(trouble.first_wait(), attempts, retry_after));
        Ok(vec![PushMessage::Probe(Probe { attempts, due_at, ..probe })])
    }
}
