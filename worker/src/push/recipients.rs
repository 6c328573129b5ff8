//! Decides about the users of a notification that is for those who are offline ([`reachability_domain::presence::hold`]).
//!
//! It is decided before the first push to each device. The first final decision about a user is stored, and holds for the
//! user: if it is not sent to one device, it is not sent to another. That a push is sent is stored before it is, so a message
//! that comes again after it was sent, in part or not, is not decided on again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use reachability_domain::directory::service::Service;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::metrics::Counter;
use reachability_domain::presence::hold::{self, Decision};
use reachability_domain::push::binding::Binding;
use reachability_domain::push::message::{Decide, PushMessage};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::recipient::{Accepted, Recipient, RecipientStatus, When};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::{FollowUps, Pusher};

/// What is done with the first push to a device.
pub(super) enum First {
    /// It is sent, for this delivery.
    Send(Delivery),
    /// The user is looked at again then.
    Wait(Timestamp),
    /// There is nothing to do any more.
    Done,
}

/// What was decided about users of a notification when it was accepted.
pub(super) struct Decided<'a> {
    notification: &'a Notification,
    online: HashMap<&'a Identity, Accepted>,
}

impl<'a> Decided<'a> {
    pub(super) fn of(notification: &'a Notification) -> Self {
        let online = notification.online.iter();
        let online = online.filter_map(|user| Some((notification.identities.get(user.index)?, Accepted::from(user))));
        Self { notification, online: online.collect() }
    }

    fn about(&self, identity: &Identity) -> Accepted {
        self.online.get(identity).copied().unwrap_or(Accepted::Queued)
    }

    /// Whether the notification may be for this user.
    pub(super) fn is_open(&self, identity: &Identity) -> bool {
        self.about(identity) != Accepted::Skipped
    }

    /// The new delivery to a device of a user, and when the status was decided.
    pub(super) fn status(&self, identity: &Identity, now: Timestamp) -> (DeliveryStatus, Timestamp) {
        match self.about(identity) {
            Accepted::Queued => (DeliveryStatus::NEW, now),
            Accepted::Held(_) => (DeliveryStatus::Queued { reason: Some(Reason::new(Reason::ONLINE)) }, now),
            Accepted::Skipped => (DeliveryStatus::Skipped, self.notification.date_created),
        }
    }

    /// When the first message about a user is due; `None`: at once.
    pub(super) fn due_at(&self, identity: &Identity, now: Timestamp) -> Option<Timestamp> {
        match self.about(identity) {
            Accepted::Held(held) => Some(self.next_look(held.until.min(self.notification.retried_until()), now)),
            Accepted::Queued | Accepted::Skipped => None,
        }
    }

    fn next_look(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        hold::next_look(self.notification.date_created, until, now)
    }
}

impl Pusher {
    /// What is to be done about those of these users who have none of these devices. Counts those who were skipped when the
    /// notification was accepted.
    pub(super) async fn without_device(
        &self,
        decided: &Decided<'_>,
        identities: &[Identity],
        devices: &[&Binding],
    ) -> FollowUps {
        let notification = decided.notification;
        if notification.when == When::Always {
            return Ok(vec![]);
        }
        let now = (self.clock)();
        let (mut without, mut messages) = (vec![], vec![]);
        let mut known: HashSet<&Identity> = devices.iter().map(|binding| &binding.identity).collect();
        for identity in identities {
            if !decided.is_open(identity) {
                self.ports.metrics.count(Counter::RecipientsSkipped);
            } else if known.insert(identity) {
                match decided.due_at(identity, now) {
                    None => without.push(recipient(notification, identity, RecipientStatus::NoDevice, now)),
                    Some(due_at) => messages.push(PushMessage::Decide(Decide {
                        service: notification.service_sid,
                        notification: notification.sid,
                        identity: identity.clone(),
                        due_at,
                    })),
                }
            }
        }
        if !without.is_empty() {
            self.ports.notifications.settle(&without).await?;
        }
        Ok(messages)
    }

    /// Decides about a user who has no device for the notification.
    pub(super) async fn decide(&self, message: Decide) -> FollowUps {
        let Decide { service, notification, identity, .. } = &message;
        let Some(notification) = self.ports.notifications.notification(*service, *notification).await? else {
            return Ok(vec![]);
        };
        if self.settled(&notification, identity).await?.is_some() {
            return Ok(vec![]);
        }
        let Some(service) = self.service_of(&notification).await? else { return Ok(vec![]) };
        let status = match self.decision_about(&service, &notification, identity).await? {
            Decision::Wait(until) => {
                let due_at = hold::next_look(notification.date_created, until, (self.clock)());
                return Ok(vec![PushMessage::Decide(Decide { due_at, ..message })]);
            }
            Decision::Send => RecipientStatus::NoDevice,
            Decision::Skip => RecipientStatus::Skipped,
        };
        self.settle(&notification, identity, status).await?;
        Ok(vec![])
    }

    /// Decides about the first push to a device, unless that is done, or the notification is for everybody.
    pub(super) async fn decide_first(&self, notification: &Notification, known: Delivery) -> Result<First, StoreError> {
        if notification.when == When::Always || known.decided_at.is_some() {
            return Ok(First::Send(known));
        }
        let (identity, binding) = (&known.identity, known.binding_sid);
        let mut settled = self.settled(notification, identity).await?;
        let is_sent = match &settled {
            Some(RecipientStatus::Sent { binding: first }) if *first == binding => true,
            Some(RecipientStatus::Skipped | RecipientStatus::NoDevice) => false,
            _ => {
                let Some(service) = self.service_of(notification).await? else { return Ok(First::Done) };
                let decision = self.decision_about(&service, notification, identity).await?;
                let status = match decision {
                    Decision::Wait(until) => {
                        return Ok(First::Wait(hold::next_look(notification.date_created, until, (self.clock)())));
                    }
                    Decision::Send => RecipientStatus::Sent { binding },
                    Decision::Skip => RecipientStatus::Skipped,
                };
                if settled.is_none() {
                    settled = Some(self.settle(notification, identity, status).await?);
                }
                match &settled {
                    Some(RecipientStatus::Sent { binding: first }) => decision == Decision::Send || *first == binding,
                    _ => false,
                }
            }
        };
        let date_updated = (self.clock)();
        let status = match settled {
            _ if is_sent => DeliveryStatus::NEW,
            // The device was registered after it had been looked for.
            Some(RecipientStatus::NoDevice) => DeliveryStatus::Failed { reason: Reason::new(Reason::NOT_REGISTERED) },
            _ => DeliveryStatus::Skipped,
        };
        let decided_at = is_sent.then_some(date_updated);
        let delivery = Delivery { status, decided_at, date_updated, ..known };
        // If another message has decided meanwhile, that one sees to it.
        let is_decided = self.ports.notifications.decide_delivery(&delivery).await?;
        Ok(if is_sent && is_decided { First::Send(delivery) } else { First::Done })
    }

    /// What the user's state says now.
    async fn decision_about(
        &self,
        service: &Service,
        notification: &Notification,
        identity: &Identity,
    ) -> Result<Decision, StoreError> {
        let user = UserKey { service: notification.service_sid, identity: identity.clone() };
        let state = self.ports.states.states(&[user]).await?.into_iter().next().unwrap_or_default();
        let held = match notification.accepted(identity) {
            Accepted::Held(held) => Some(held),
            Accepted::Queued | Accepted::Skipped => None,
        };
        let ends_at = notification.retried_until();
        Ok(hold::decide(&service.configuration, &state, held.as_ref(), ends_at, (self.clock)()))
    }

    async fn service_of(&self, notification: &Notification) -> Result<Option<Arc<Service>>, StoreError> {
        self.services.get(notification.service_sid, false, (self.clock)()).await
    }

    /// The final decision about a user; `None` if there is none yet.
    async fn settled(
        &self,
        notification: &Notification,
        identity: &Identity,
    ) -> Result<Option<RecipientStatus>, StoreError> {
        let settled = self.ports.notifications.settled(notification.sid, std::slice::from_ref(identity)).await?;
        Ok(settled.into_iter().flatten().next().map(|recipient| recipient.status))
    }

    /// Stores a final decision about a user, unless there is one. Returns the one that is stored then.
    async fn settle(
        &self,
        notification: &Notification,
        identity: &Identity,
        status: RecipientStatus,
    ) -> Result<RecipientStatus, StoreError> {
        let wanted = recipient(notification, identity, status, (self.clock)());
        let settled = self.ports.notifications.settle(std::slice::from_ref(&wanted)).await?;
        let settled = settled.into_iter().next().unwrap_or_else(|| wanted.clone());
        if settled == wanted && settled.status == RecipientStatus::Skipped {
            self.ports.metrics.count(Counter::RecipientsSkipped);
        }
        Ok(settled.status)
    }
}

fn recipient(
    notification: &Notification,
    identity: &Identity,
    status: RecipientStatus,
    date_updated: Timestamp,
) -> Recipient {
    Recipient { notification_sid: notification.sid, identity: identity.clone(), status, date_updated }
}
