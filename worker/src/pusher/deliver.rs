//! Sending notifications.

use reachability_domain::binding::{Binding, BindingFilter};
use reachability_domain::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::{Outcome, Push, PushKind, Reason};
use reachability_domain::queue::{Deliver, Message};
use reachability_domain::registration::{MAX_DEVICES, Registration};
use reachability_domain::sid::{BindingSid, Sid};
use reachability_domain::store::{Position, Window};
use reachability_domain::time::Timestamp;

use super::{FollowUps, Pusher};

impl Pusher {
    /// Finds the devices, and leaves a message for each.
    pub(super) async fn deliver_to_all(&self, deliver: Deliver) -> FollowUps {
        let Some(notification) = self.store.notification(deliver.service, deliver.notification).await? else {
            return Ok(vec![]);
        };
        let now = (self.clock)();
        let identities = notification.identities.clone();
        let window = Window { position: Position::Start, limit: identities.len().saturating_mul(MAX_DEVICES) };
        let filter = BindingFilter { identities, channels: vec![] };
        let bindings = self.store.bindings(deliver.service, &filter, window).await?.items;
        let live: Vec<&Binding> = bindings.iter().filter(|it| Registration::of(it).is_deliverable(now)).collect();
        let queued = |binding: &&Binding| delivery(&notification, binding, DeliveryStatus::Queued, now);
        // Those that a first delivery of this message has added, and perhaps sent, stay as they are.
        self.store.add_deliveries(&live.iter().map(queued).collect::<Vec<_>>()).await?;
        let message = |binding: &&Binding| Message::Deliver(Deliver { binding: Some(binding.sid), ..deliver.clone() });
        Ok(live.iter().map(message).collect())
    }

    /// Sends it to one device. Should this be interrupted before the result is stored, it is sent again by the same name,
    /// and the device shows it once.
    pub(super) async fn deliver_to(&self, sid: BindingSid, deliver: Deliver) -> FollowUps {
        let known = self.store.delivery(deliver.notification, sid).await?;
        let Some(known) = known.filter(|known| known.status == DeliveryStatus::Queued) else { return Ok(vec![]) };
        let Some(notification) = self.store.notification(deliver.service, deliver.notification).await? else {
            return Ok(vec![]);
        };
        let failed = |reason: &str| DeliveryStatus::Failed { reason: Reason::new(reason) };
        let binding = self.store.binding(deliver.service, sid).await?;
        let status = match binding {
            _ if notification.expires_at().is_some_and(|at| at <= (self.clock)()) => failed("Expired"),
            None => failed("NotRegistered"),
            Some(binding) if binding.death.is_some() => failed("NotRegistered"),
            Some(binding) => {
                let credential = match binding.credential_sid {
                    Some(sid) => self.credentials.get(sid, (self.clock)()).await?,
                    None => None,
                };
                match credential {
                    None => failed("NoCredential"),
                    Some(credential) => match self.ask(&credential, &binding, &push(&notification, sid)).await? {
                        Outcome::Accepted { id } => DeliveryStatus::Accepted { id },
                        Outcome::Rejected(rejection) => DeliveryStatus::Failed { reason: rejection.reason },
                        Outcome::Unavailable { reason, retry_after } => {
                            let attempts = deliver.attempts + 1;
                            if let Some(due_at) = self.next_attempt(attempts, retry_after) {
                                let again = Deliver { attempts, due_at: Some(due_at), ..deliver };
                                return Ok(vec![Message::Deliver(again)]);
                            }
                            DeliveryStatus::Failed { reason }
                        }
                    },
                }
            }
        };
        let date_updated = (self.clock)();
        self.store.replace_delivery(&Delivery { status, date_updated, ..known }).await?;
        Ok(vec![])
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
        // The digits alone: 32 letters are what every provider takes.
        collapse_id: format!("{:032x}", notification.sid.bits()),
        expires_at: notification.expires_at(),
        kind: PushKind::Alert(notification.content.clone()),
    }
}
