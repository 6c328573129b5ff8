//! One attempt to deliver a notification to one device.

use std::time::Duration;

use reachability_domain::push::binding::Binding;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::message::Deliver;
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::outcome::{Fault, PushOutcome, Rejection, Trouble};
use reachability_domain::push::payload::{Push, PushKind};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::retry;
use reachability_domain::sid::{BindingSid, Sid};

use super::{Answer, Pusher};

/// What there is to attempt.
pub(super) struct Attempt<'a> {
    pub(super) notification: &'a Notification,
    /// The message that led to it.
    pub(super) deliver: &'a Deliver,
    /// As it is stored: queued.
    pub(super) delivery: Delivery,
    /// `None` if the device is not registered any more.
    pub(super) binding: Option<&'a Binding>,
    /// `None` if there is none.
    pub(super) credential: Option<&'a Credential>,
}

/// What came of an attempt.
pub(super) struct Attempted<'a> {
    /// As it is to be stored.
    pub(super) delivery: Delivery,
    /// The next attempt; `None` if there is none.
    pub(super) again: Option<Deliver>,
    /// The provider's answer, and the credential that was used; `None` if nothing was sent.
    pub(super) answer: Option<(&'a Credential, Answer)>,
}

impl Pusher {
    /// Sends the notification to the device. The result is not stored yet.
    ///
    /// # Errors
    /// The device, if there is no time left to begin.
    pub(super) async fn attempt<'a>(&self, attempt: Attempt<'a>) -> Result<Attempted<'a>, BindingSid> {
        let Attempt { notification, deliver, delivery: known, binding, credential } = attempt;
        let sid = known.binding_sid;
        // The first attempt ignores the expiry: a TTL of zero means "now or never".
        if deliver.attempts > 0 && notification.retried_until() <= (self.clock)() {
            let last = match &known.status {
                DeliveryStatus::Queued { reason } => reason.clone(),
                DeliveryStatus::Accepted { .. } | DeliveryStatus::Failed { .. } | DeliveryStatus::Skipped => None,
            };
            return Ok(self.give_up(known, deliver, last.unwrap_or_else(|| Reason::new(Reason::EXPIRED))));
        }
        let Some(binding) = binding.filter(|binding| binding.death.is_none()) else {
            return Ok(self.give_up(known, deliver, Reason::new(Reason::NOT_REGISTERED)));
        };
        let Some(credential) = credential else {
            return Ok(self.give_up(known, deliver, Reason::new("NoCredential")));
        };

        // With a rejected credential nothing is sent, so there is nothing to learn.
        let answer = match self.credentials.held(credential, (self.clock)()) {
            Some(reason) => Err(PushOutcome::Rejected(Rejection { reason, fault: Fault::Credential })),
            None => Ok(self.ask(credential, binding, &push(notification, binding)).await.map_err(|_| sid)?),
        };
        let outcome = match &answer {
            Ok(answer) => &answer.outcome,
            Err(held) => held,
        };
        let attempts = deliver.attempts + 1;
        let (mut next_attempt_at, mut again) = (None, None);
        let status = match Next::after(outcome, deliver.unanswered) {
            Next::Ends(status) => status,
            Next::Retry { first, retry_after, unanswered, reason } => {
                let due_at = self.retry_at(first, attempts, retry_after);
                if due_at < notification.retried_until() {
                    next_attempt_at = Some(due_at);
                    again = Some(Deliver { attempts, unanswered, due_at: Some(due_at), ..deliver.to_one(sid) });
                    DeliveryStatus::Queued { reason: Some(reason) }
                } else {
                    DeliveryStatus::Failed { reason }
                }
            }
        };
        let (service_sid, date_updated) = (Some(deliver.service), (self.clock)());
        let delivery = Delivery { service_sid, status, attempts, next_attempt_at, date_updated, ..known };
        Ok(Attempted { delivery, again, answer: answer.ok().map(|answer| (credential, answer)) })
    }

    /// The end of a delivery to which no further attempt is made.
    fn give_up<'a>(&self, known: Delivery, deliver: &Deliver, reason: Reason) -> Attempted<'a> {
        let delivery = Delivery {
            service_sid: Some(deliver.service),
            status: DeliveryStatus::Failed { reason },
            attempts: deliver.attempts,
            next_attempt_at: None,
            date_updated: (self.clock)(),
            ..known
        };
        Attempted { delivery, again: None, answer: None }
    }
}

/// What follows from an attempt.
enum Next {
    Ends(DeliveryStatus),
    Retry {
        /// The first wait before a retry.
        first: Duration,
        retry_after: Option<Duration>,
        /// How many attempts were sent without an answer.
        unanswered: u32,
        reason: Reason,
    },
}

impl Next {
    /// After an attempt. `unanswered` earlier ones were sent without an answer.
    fn after(outcome: &PushOutcome, unanswered: u32) -> Self {
        match outcome {
            PushOutcome::Accepted { id } => Self::Ends(DeliveryStatus::Accepted { id: id.clone() }),
            // The owner may upload another key.
            PushOutcome::Rejected(Rejection { reason, fault: Fault::Credential }) => {
                Self::Retry { first: retry::LONG, retry_after: None, unanswered, reason: reason.clone() }
            }
            PushOutcome::Rejected(Rejection { reason, .. }) => {
                Self::Ends(DeliveryStatus::Failed { reason: reason.clone() })
            }
            PushOutcome::Unavailable { reason, trouble, retry_after, .. } => {
                let unanswered = unanswered + u32::from(*trouble == Trouble::Unanswered);
                if unanswered >= retry::MAX_UNANSWERED {
                    return Self::Ends(DeliveryStatus::Failed { reason: reason.clone() });
                }
                Self::Retry {
                    first: trouble.first_wait(),
                    retry_after: *retry_after,
                    unanswered,
                    reason: reason.clone(),
                }
            }
        }
    }
}

fn push(notification: &Notification, binding: &Binding) -> Push {
    // Only the 32 digits: every provider accepts a collapse id of that length.
    let its_own = || format!("{:032x}", notification.sid.bits());
    Push {
        id: notification.push_id(binding.sid),
        collapse_id: notification.content.collapse_id.clone().unwrap_or_else(its_own),
        expires_at: notification.expires_at(),
        kind: PushKind::Alert(notification.content.for_channel(binding.channel)),
    }
}
