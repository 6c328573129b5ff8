//! Delivers notifications.

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::{Push, PushKind};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::registration::{MAX_DEVICES, Registration};
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::time::Timestamp;
use tracing::warn;

use super::{FollowUps, Pusher};

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
        let filter = BindingFilter { identities, channels: vec![], tags: notification.tags.clone() };
        let bindings = self.ports.bindings.bindings(deliver.service, &filter, page).await?.items;
        let live: Vec<&Binding> = bindings.iter().filter(|it| Registration::of(it).is_deliverable(now)).collect();
        let queued = |binding: &&Binding| delivery(&notification, binding, DeliveryStatus::NEW, now);
        // Deliveries that an earlier delivery of this message has added, and perhaps sent, are unchanged.
        self.ports.notifications.add_deliveries(&live.iter().map(queued).collect::<Vec<_>>()).await?;
        let message =
            |binding: &&Binding| PushMessage::Deliver(Deliver { binding: Some(binding.sid), ..deliver.clone() });
        Ok(live.iter().map(message).collect())
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
        let failed = |reason: &str| DeliveryStatus::Failed { reason: Reason::new(reason) };
        let keep = async |status: DeliveryStatus| {
            let date_updated = (self.clock)();
            self.ports.notifications.replace_delivery(&Delivery { status, date_updated, ..known.clone() }).await
        };
        // The first attempt ignores the expiry: a TTL of zero means "now or never".
        if deliver.attempts > 0 && notification.expires_at().is_some_and(|at| at <= (self.clock)()) {
            keep(failed("Expired")).await?;
            return Ok(vec![]);
        }
        let binding =
            self.ports.bindings.binding(deliver.service, sid).await?.filter(|binding| binding.death.is_none());
        let Some(binding) = binding else {
            keep(failed("NotRegistered")).await?;
            return Ok(vec![]);
        };
        let credential = match binding.credential_sid {
            Some(sid) => self.credentials.get(sid, (self.clock)()).await?,
            None => None,
        };
        let Some(credential) = credential else {
            keep(failed("NoCredential")).await?;
            return Ok(vec![]);
        };

        let (outcome, asked_at) = self.ask(&credential, &binding, &push(&notification, sid)).await;
        let mut again = None;
        match &outcome {
            PushOutcome::Accepted { id } => keep(DeliveryStatus::Accepted { id: id.clone() }).await?,
            PushOutcome::Rejected(rejection) => {
                keep(DeliveryStatus::Failed { reason: rejection.reason.clone() }).await?;
            }
            PushOutcome::Unavailable { reason, retry_after, .. } => {
                let attempts = deliver.attempts + 1;
                match self.next_attempt(attempts, *retry_after) {
                    Some(due_at) => {
                        let status = DeliveryStatus::Queued { reason: Some(reason.clone()) };
                        // Usually the reason is the same as that of the last attempt.
                        if status != known.status {
                            keep(status).await?;
                        }
                        again = Some(Deliver { attempts, due_at: Some(due_at), ..deliver });
                    }
                    None => keep(DeliveryStatus::Failed { reason: reason.clone() }).await?,
                }
            }
        }
        // A failure here does not change the delivery. The next push will record the same answer.
        if let Err(error) = self.learn(&credential, &binding, &outcome, asked_at).await {
            warn!(binding.sid = %sid, error = %ErrorChain(&error), "a provider's answer could not be recorded");
        }
        Ok(again.map(PushMessage::Deliver).into_iter().collect())
    }
}

fn delivery(notification: &Notification, binding: &Binding, status: DeliveryStatus, now: Timestamp) -> Delivery {
    Delivery {
        notification_sid: notification.sid,
        binding_sid: binding.sid,
        identity: binding.identity.clone(),
        channel: binding.channel,
        status,
        date_updated: now,
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
