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
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;

use super::attempt::{Attempt, Attempted};
use super::recipients::{Decided, First};
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
        let open = live.into_iter().filter(|binding| decided.is_open(&binding.identity));
        let (held, at_once): (Vec<_>, Vec<_>) =
            open.map(|it| (it, decided.due_at(&it.identity, now))).partition(|(_, due_at)| due_at.is_some());
        let at_once: Vec<&Binding> = at_once.into_iter().map(|(binding, _)| binding).collect();
        messages.extend(pages(&at_once).into_iter().map(|page| PushMessage::Deliver(deliver.to_page(page))));
        let to_one = |(binding, due_at): (&Binding, _)| Deliver { due_at, ..deliver.to_one(binding.sid) };
        messages.extend(held.into_iter().map(to_one).map(PushMessage::Deliver));
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
                self.handle_one(attempt).await
            }
        });
        let attempts: FuturesUnordered<_> = attempts.collect();
        let mut attempts = attempts.ready_chunks(DEVICES_AT_ONCE);
        let (mut retries, mut not_begun, mut handled) = (vec![], vec![], Ok(()));
        let mut is_begun = false;
        while let Some(some) = attempts.next().await {
            let mut attempted = Vec::with_capacity(some.len());
            for one in some {
                match one {
                    Ok(Handled::Attempted(it)) => attempted.push(it),
                    Ok(Handled::Waits(deliver)) => retries.push(deliver),
                    Ok(Handled::NotBegun(sid)) => {
                        not_begun.push(sid);
                        continue;
                    }
                    Ok(Handled::Done) => {}
                    Err(error) => handled = Err(error),
                }
                is_begun = true;
            }
            retries.extend(attempted.iter_mut().filter_map(|attempted| attempted.again.take()));
            // The others have been sent, and are recorded as well.
            handled = self.record(deliver.service, attempted).await.and(handled);
        }
        handled?;
        if !not_begun.is_empty() {
            if !is_begun {
                return Err(Failure::OutOfTime);
            }
            retries.push(deliver.to_page(not_begun));
        }
        Ok(retries.into_iter().map(PushMessage::Deliver).collect())
    }

    /// Decides whether a device is sent to, and sends to it.
    async fn handle_one<'a>(&self, attempt: Attempt<'a>) -> Result<Handled<'a>, StoreError> {
        let sid = attempt.delivery.binding_sid;
        Ok(match self.decide_first(attempt.notification, attempt.delivery).await? {
            First::Send(delivery) => match self.attempt(Attempt { delivery, ..attempt }).await {
                Ok(attempted) => Handled::Attempted(attempted),
                Err(sid) => Handled::NotBegun(sid),
            },
            First::Wait(due_at) => Handled::Waits(Deliver { due_at: Some(due_at), ..attempt.deliver.to_one(sid) }),
            First::Done => Handled::Done,
        })
    }
}

/// What became of a device that a message names.
#[expect(clippy::large_enum_variant, reason = "nearly all are attempts")]
enum Handled<'a> {
    /// It was sent to, or its delivery was given up.
    Attempted(Attempted<'a>),
    /// It is not decided yet whether it is sent to. This message asks again.
    Waits(Deliver),
    /// It is not sent to.
    Done,
    /// There was no time left to begin.
    NotBegun(BindingSid),
}

/// The devices in pages, each of one credential: what is to be retried at one provider does not wait for another.
fn pages(bindings: &[&Binding]) -> Vec<Vec<BindingSid>> {
    let mut by_credential: BTreeMap<Option<CredentialSid>, Vec<BindingSid>> = BTreeMap::new();
    for binding in bindings {
        by_credential.entry(binding.credential_sid).or_default().push(binding.sid);
    }
    by_credential.values().flat_map(|sids| sids.chunks(DEVICES_AT_ONCE).map(<[_]>::to_vec)).collect()
}

fn delivery(
    notification: &Notification,
    binding: &Binding,
    status: DeliveryStatus,
    date_updated: Timestamp,
) -> Delivery {
    Delivery {
        service_sid: Some(notification.service_sid),
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
