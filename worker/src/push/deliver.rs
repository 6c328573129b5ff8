//! Delivers notifications: finds the devices, and sends to them page by page.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reachability_domain::identity::Identity;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::registration::{MAX_DEVICES, Registration};
use reachability_domain::sid::{BindingSid, CredentialSid};
use reachability_domain::time::Timestamp;

use super::attempt::Attempt;
use super::{AT_ONCE, FollowUps, Pusher};
use crate::Failure;

/// To how many users' devices one message leads. The rest has another message, so that the work of each has a limit.
const USERS_AT_ONCE: usize = 100;

/// How many devices of a notification one message names. They share their reads and writes.
const DEVICES_AT_ONCE: usize = 100;

impl Pusher {
    /// Looks up the devices of some users, and produces one message for each page of them, and one for the other users.
    pub(super) async fn deliver_to_all(&self, deliver: Deliver) -> FollowUps {
        let Some(notification) = self.ports.notifications.notification(deliver.service, deliver.notification).await?
        else {
            return Ok(vec![]);
        };
        let now = (self.clock)();
        let done = usize::try_from(deliver.users_done).unwrap_or(usize::MAX);
        let identities: Vec<Identity> =
            notification.identities.iter().skip(done).take(USERS_AT_ONCE).cloned().collect();
        // Without any, the filter would select the devices of all users.
        if identities.is_empty() {
            return Ok(vec![]);
        }
        let done = done + identities.len();
        let page = PageRequest { position: Cursor::Start, limit: identities.len().saturating_mul(MAX_DEVICES) };
        let filter = BindingFilter { identities, channels: vec![], tags: notification.tags.clone() };
        let bindings = self.ports.bindings.bindings(deliver.service, &filter, page).await?.items;
        let live: Vec<&Binding> = bindings.iter().filter(|it| Registration::of(it).is_deliverable(now)).collect();
        let queued = |binding: &&Binding| delivery(&notification, binding, DeliveryStatus::NEW, now);
        // Deliveries that an earlier delivery of this message has added, and perhaps sent, are unchanged.
        self.ports.notifications.add_deliveries(&live.iter().map(queued).collect::<Vec<_>>()).await?;
        let to_page = |page| PushMessage::Deliver(deliver.to_page(page));
        let mut messages: Vec<PushMessage> = pages(&live).into_iter().map(to_page).collect();
        if done < notification.identities.len() {
            let users_done = u32::try_from(done).unwrap_or(u32::MAX);
            messages.push(PushMessage::Deliver(Deliver { users_done, due_at: None, ..deliver }));
        }
        Ok(messages)
    }

    /// Sends the notification to the devices that the message names, all at once. What comes of them is stored together, as
    /// much as there is at a time. If this is interrupted, those without a stored result are sent to again, with the same
    /// collapse id, so the device shows the notification once.
    pub(super) async fn deliver_to(&self, deliver: Deliver) -> FollowUps {
        // Before the devices are read, so that few wait in memory. It is never closed.
        let devices = deliver.devices().len().min(AT_ONCE);
        let mut places = self.places.acquire_many(devices.try_into().unwrap_or(u32::MAX)).await.ok();
        self.has_time()?;
        let mut deliveries = self.ports.notifications.deliveries_to(deliver.notification, deliver.devices()).await?;
        deliveries.retain(|delivery| delivery.status.is_queued());
        if deliveries.is_empty() {
            return Ok(vec![]);
        }
        let Some(notification) = self.ports.notifications.notification(deliver.service, deliver.notification).await?
        else {
            return Ok(vec![]);
        };
        let sids: Vec<BindingSid> = deliveries.iter().map(|delivery| delivery.binding_sid).collect();
        let bindings = self.ports.bindings.bindings_with(deliver.service, &sids).await?;
        let bindings: HashMap<BindingSid, Binding> = bindings.into_iter().map(|it| (it.sid, it)).collect();
        // Usually one.
        let used: BTreeSet<CredentialSid> = bindings.values().filter_map(|binding| binding.credential_sid).collect();
        let mut credentials = HashMap::new();
        for sid in used {
            credentials.insert(sid, self.credentials.get(sid, (self.clock)()).await?);
        }
        let attempts = deliveries.into_iter().map(|delivery| {
            let binding = bindings.get(&delivery.binding_sid);
            let credential = binding.and_then(|it| credentials.get(&it.credential_sid?)).and_then(Option::as_ref);
            let attempt = Attempt { notification: &notification, deliver: &deliver, delivery, binding, credential };
            let place = places.as_mut().and_then(|places| places.split(1));
            async {
                let _place = place;
                self.attempt(attempt).await
            }
        });
        let attempts: FuturesUnordered<_> = attempts.collect();
        let mut attempts = attempts.ready_chunks(DEVICES_AT_ONCE);
        let (mut retries, mut not_begun, mut recorded) = (vec![], vec![], Ok(()));
        let mut is_begun = false;
        while let Some(some) = attempts.next().await {
            let mut attempted = Vec::with_capacity(some.len());
            for attempt in some {
                match attempt {
                    Ok(it) => attempted.push(it),
                    Err(sid) => not_begun.push(sid),
                }
            }
            is_begun |= !attempted.is_empty();
            retries.extend(attempted.iter_mut().filter_map(|attempted| attempted.again.take()));
            // The others have been sent, and are recorded as well.
            recorded = self.record(deliver.service, attempted).await.and(recorded);
        }
        recorded?;
        if !not_begun.is_empty() {
            if !is_begun {
                return Err(Failure::OutOfTime);
            }
            retries.push(deliver.to_page(not_begun));
        }
        Ok(retries.into_iter().map(PushMessage::Deliver).collect())
    }
}

/// The devices in pages, each of one credential: what is to be retried at one provider does not wait for another.
fn pages(bindings: &[&Binding]) -> Vec<Vec<BindingSid>> {
    let mut by_credential: BTreeMap<Option<CredentialSid>, Vec<BindingSid>> = BTreeMap::new();
    for binding in bindings {
        by_credential.entry(binding.credential_sid).or_default().push(binding.sid);
    }
    by_credential.values().flat_map(|sids| sids.chunks(DEVICES_AT_ONCE).map(<[_]>::to_vec)).collect()
}

fn delivery(notification: &Notification, binding: &Binding, status: DeliveryStatus, now: Timestamp) -> Delivery {
    Delivery {
        service_sid: Some(notification.service_sid),
        notification_sid: notification.sid,
        binding_sid: binding.sid,
        identity: binding.identity.clone(),
        channel: binding.channel,
        status,
        attempts: 0,
        next_attempt_at: None,
        date_updated: now,
    }
}
