//! Sending notifications.

use std::time::Duration;

use reachability_domain::directory::service::Service;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::ids::Ids;
use reachability_domain::presence::hold;
use reachability_domain::presence::ports::States;
use reachability_domain::push::idempotency::{IdempotencyKey, KeyedRequest};
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::Notification;
use reachability_domain::push::payload::Content;
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::recipient::{OnlineUser, Recipient, When};
use reachability_domain::push::tag::Tag;
use reachability_domain::queue::Queue;
use reachability_domain::store::StoreError;
use reachability_domain::time::Clock;

use crate::use_cases::failure::Failure;
use crate::use_cases::services::{FoundService, ServiceDirectory};

/// Within what time a notification that was stored is usually queued and sent. A request that finds it stored and not queued
/// queues it for later than that: then it is only sent if the process that stored it has ended before it queued it.
const QUEUED_WITHIN: Duration = Duration::from_secs(10);

/// The command to send a notification.
pub(crate) struct SendNotification {
    pub(crate) service: FoundService,
    /// The users to whose devices it is sent.
    pub(crate) identities: Vec<Identity>,
    /// The tags that a device's binding must have, so that it gets it.
    pub(crate) tags: Vec<Tag>,
    /// Which of the users it is for.
    pub(crate) when: When,
    pub(crate) content: Content,
    /// For how long providers may keep it, in seconds.
    pub(crate) ttl_seconds: u32,
    /// The key of a request that may be repeated, and what is stored of the request.
    pub(crate) key: Option<(IdempotencyKey, KeyedRequest)>,
}

/// Who is online.
pub(crate) struct Presence<'a> {
    pub(crate) states: &'a dyn States,
    /// How long it takes until somebody is shown as offline whose socket was lost ([`crate::app::Settings::lost_within`]).
    pub(crate) lost_within: Duration,
}

impl Presence<'_> {
    /// Those of a new notification's users who are online, with what is waited for.
    async fn online(&self, service: &Service, notification: &Notification) -> Result<Vec<OnlineUser>, StoreError> {
        let key = |identity: &Identity| UserKey { service: service.sid, identity: identity.clone() };
        let users: Vec<UserKey> = notification.identities.iter().map(key).collect();
        let states = self.states.states(&users).await?;
        let accepted_at = notification.date_created;
        let ends_at = notification.retried_until();
        let online = states.iter().enumerate().filter_map(|(index, state)| {
            let hold = hold::hold(&service.configuration, state, self.lost_within, accepted_at)?;
            Some(OnlineUser { index, hold: Some(hold).filter(|hold| accepted_at < hold.until.min(ends_at)) })
        });
        Ok(online.collect())
    }
}

/// What is known of some of a notification's users, if it is for those who are offline.
pub(crate) async fn recipients(
    notifications: &dyn Notifications,
    notification: &Notification,
    identities: &[Identity],
) -> Result<Vec<Recipient>, StoreError> {
    let settled = notifications.settled(notification.sid, identities).await?;
    let known = identities.iter().zip(settled);
    Ok(known.map(|(identity, settled)| settled.unwrap_or_else(|| notification.undecided(identity))).collect())
}

/// Stores a notification and queues it for the worker, which sends it. Its deliveries tell what happened on each
/// device. A request with the key of an earlier one gets the notification of that one, and `None` if it was another request.
pub(crate) async fn send_notification(
    directory: &ServiceDirectory,
    notifications: &dyn Notifications,
    presence: Presence<'_>,
    pushes: &dyn Queue<PushMessage>,
    ids: &dyn Ids,
    clock: Clock,
    command: SendNotification,
) -> Result<Option<Notification>, Failure> {
    let service = directory.store(command.service).await?;
    let (key, keyed_request) = command.key.unzip();
    let mut notification = Notification {
        sid: key.map_or_else(|| ids.sid(), |key| key.sid(service.sid)),
        service_sid: service.sid,
        identities: command.identities,
        tags: command.tags,
        when: command.when,
        online: vec![],
        content: command.content,
        ttl_seconds: Some(command.ttl_seconds),
        date_created: clock(),
        keyed_request,
    };
    if notification.when == When::Offline {
        notification.online = presence.online(&service, &notification).await?;
    }
    let mut due_at = None;
    let notification = match (notifications.create_notification(&notification).await, &notification.keyed_request) {
        (Ok(()), _) => notification,
        (Err(StoreError::Exists), Some(request)) => {
            let first = notifications.notification(service.sid, notification.sid).await?.ok_or(StoreError::Conflict)?;
            if first.keyed_request.as_ref().is_none_or(|of_first| of_first.digest != request.digest) {
                return Ok(None);
            }
            due_at = Some(first.date_created.plus(QUEUED_WITHIN));
            first
        }
        (Err(error), _) => return Err(error.into()),
    };
    if notification.keyed_request.as_ref().is_some_and(|request| request.is_queued) {
        return Ok(Some(notification));
    }
    let deliver = Deliver { due_at, ..Deliver::to_all(service.sid, notification.sid) };
    pushes.send(&[PushMessage::Deliver(deliver)]).await?;
    // If the process ends before this, who repeats the request queues it once more, which is harmless.
    if let Some(request) = notification.keyed_request.clone() {
        let keyed_request = Some(KeyedRequest { is_queued: true, ..request });
        notifications.replace_notification(&Notification { keyed_request, ..notification.clone() }).await?;
    }
    Ok(Some(notification))
}
