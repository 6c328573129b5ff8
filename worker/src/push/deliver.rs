//! Delivers notifications.

use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::outcome::{Fault, PushOutcome, Rejection, Trouble};
use reachability_domain::push::payload::{Push, PushKind};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::registration::{MAX_DEVICES, Registration};
use reachability_domain::push::retry;
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::time::Timestamp;
use tracing::warn;

use super::recipients::{Decided, First};
use super::{FollowUps, Pusher};
use crate::Failure;

impl Pusher {
    /// Looks up the devices, and produces one message for each.
    pub(super) async fn deliver_to_all(&self, deliver: Deliver) -> FollowUps {
        let Some(notification) = self.ports.notifications.notification(deliver.service, deliver.notification).await?
        else {
            return Ok(vec![]);
        };
        let now = (self.clock)();
        let identities = notification.identities.clone();
        let page = PageRequest { position: Cursor::Start, limit: identities.len().saturating_mul(MAX_DEVICES) };
        let filter =
            BindingFilter { identities: identities.clone(), channels: vec![], tags: notification.tags.clone() };
        let bindings = self.ports.bindings.bindings(deliver.service, &filter, page).await?.items;
        let live: Vec<&Binding> = bindings.iter().filter(|it| Registration::of(it).is_deliverable(now)).collect();
        let decided = Decided::of(&notification);
        let new = |binding: &&Binding| {
            let (status, decided_at) = decided.status(&binding.identity, now);
            delivery(&notification, binding, status, decided_at)
        };
        // Deliveries that an earlier delivery of this message has added, and perhaps sent, are unchanged.
        self.ports.notifications.add_deliveries(&live.iter().map(new).collect::<Vec<_>>()).await?;
        let mut messages = self.without_device(&decided, &identities, &live).await?;
        let open = live.iter().filter(|binding| decided.is_open(&binding.identity));
        messages.extend(open.map(|binding| {
            let due_at = decided.due_at(&binding.identity, now);
            PushMessage::Deliver(Deliver { binding: Some(binding.sid), due_at, ..deliver.clone() })
        }));
        Ok(messages)
    }

    /// Sends the notification to one device. If this is interrupted before the result is stored, the retry has the same
    /// collapse id, so the device shows the notification once.
    pub(super) async fn deliver_to(&self, sid: BindingSid, deliver: Deliver) -> FollowUps {
        let known = self.ports.notifications.delivery(deliver.notification, sid).await?;
        let Some(known) = known.filter(|known| known.status.is_queued()) else { return Ok(vec![]) };
        let Some(notification) = self.ports.notifications.notification(deliver.service, deliver.notification).await?
        else {
            return Ok(vec![]);
        };
        let known = match self.decide_first(&notification, known).await? {
            First::Send(known) => known,
            First::Wait(due_at) => return Ok(vec![PushMessage::Deliver(Deliver { due_at: Some(due_at), ..deliver })]),
            First::Done => return Ok(vec![]),
        };
        let keep = async |status, attempts, next_attempt_at| {
            let date_updated = (self.clock)();
            let delivery = Delivery { status, attempts, next_attempt_at, date_updated, ..known.clone() };
            self.ports.notifications.replace_delivery(&delivery).await
        };
        let give_up = async |reason: Reason| {
            keep(DeliveryStatus::Failed { reason }, deliver.attempts, None)
                .await
                .map(|()| vec![])
                .map_err(Failure::from)
        };
        // The first attempt ignores the expiry: a TTL of zero means "now or never".
        if deliver.attempts > 0 && notification.retried_until() <= (self.clock)() {
            let last = match known.status.clone() {
                DeliveryStatus::Queued { reason } => reason,
                DeliveryStatus::Accepted { .. } | DeliveryStatus::Failed { .. } | DeliveryStatus::Skipped => None,
            };
            return give_up(last.unwrap_or_else(|| Reason::new(Reason::EXPIRED))).await;
        }
        let binding =
            self.ports.bindings.binding(deliver.service, sid).await?.filter(|binding| binding.death.is_none());
        let Some(binding) = binding else { return give_up(Reason::new(Reason::NOT_REGISTERED)).await };
        let credential = match binding.credential_sid {
            Some(sid) => self.credentials.get(sid, (self.clock)()).await?,
            None => None,
        };
        let Some(credential) = credential else { return give_up(Reason::new("NoCredential")).await };

        // With a rejected credential nothing is sent, so there is nothing to learn.
        let answer = match self.credentials.held(&credential, (self.clock)()) {
            Some(reason) => Err(PushOutcome::Rejected(Rejection { reason, fault: Fault::Credential })),
            None => Ok(self.ask(&credential, &binding, &push(&notification, sid)).await?),
        };
        let outcome = match &answer {
            Ok(answer) => &answer.outcome,
            Err(held) => held,
        };
        let attempts = deliver.attempts + 1;
        let mut again = None;
        match Next::after(outcome, deliver.unanswered) {
            Next::Ends(status) => keep(status, attempts, None).await?,
            Next::Retry { first, retry_after, unanswered, reason } => {
                let due_at = self.retry_at(first, attempts, retry_after);
                if due_at < notification.retried_until() {
                    keep(DeliveryStatus::Queued { reason: Some(reason) }, attempts, Some(due_at)).await?;
                    again = Some(Deliver { attempts, unanswered, due_at: Some(due_at), ..deliver });
                } else {
                    keep(DeliveryStatus::Failed { reason }, attempts, None).await?;
                }
            }
        }
        // A failure here does not change the delivery. The next push will record the same answer.
        if let Ok(answer) = answer
            && let Err(error) = self.learn(&credential, &answer).await
        {
            warn!(binding.sid = %sid, error = %ErrorChain(&error), "a provider's answer could not be recorded");
        }
        Ok(again.map(PushMessage::Deliver).into_iter().collect())
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

fn delivery(
    notification: &Notification,
    binding: &Binding,
    status: DeliveryStatus,
    date_updated: Timestamp,
) -> Delivery {
    Delivery {
        notification_sid: notification.sid,
        binding_sid: binding.sid,
        identity: binding.identity.clone(),
        channel: binding.channel,
        status,
        attempts: 0,
        next_attempt_at: None,
        decided_at: None,
        date_updated,
    }
}

fn push(notification: &Notification, binding: BindingSid) -> Push {
    Push {
        id: notification.push_id(binding),
        // Only the 32 digits: every provider accepts a collapse id of that length.
        collapse_id: format!("{:032x}", notification.sid.bits()),
        expires_at: notification.expires_at(),
        kind: PushKind::Alert(notification.content.clone()),
    }
}
