//! Sending notifications.

use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::Notification;
use reachability_domain::push::payload::Content;
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::tag::Tag;
use reachability_domain::queue::Queue;
use reachability_domain::time::Clock;

use crate::use_cases::failure::Failure;
use crate::use_cases::services::{FoundService, ServiceDirectory};

/// The command to send a notification.
pub(crate) struct SendNotification {
    pub(crate) service: FoundService,
    /// The users to whose devices it is sent.
    pub(crate) identities: Vec<Identity>,
    /// The tags that a device's binding must have, so that it gets it.
    pub(crate) tags: Vec<Tag>,
    pub(crate) content: Content,
    /// For how long providers may keep it, in seconds.
    pub(crate) ttl_seconds: u32,
}

/// Stores a notification and queues it for the worker, which sends it. Its deliveries tell what happened on each
/// device.
pub(crate) async fn send_notification(
    directory: &ServiceDirectory,
    notifications: &dyn Notifications,
    pushes: &dyn Queue<PushMessage>,
    ids: &dyn Ids,
    clock: Clock,
    command: SendNotification,
) -> Result<Notification, Failure> {
    let service = directory.store(command.service).await?;
    let notification = Notification {
        sid: ids.sid(),
        service_sid: service.sid,
        identities: command.identities,
        tags: command.tags,
        content: command.content,
        ttl_seconds: Some(command.ttl_seconds),
        date_created: clock(),
    };
    notifications.create_notification(&notification).await?;
    pushes.send(&[PushMessage::Deliver(Deliver::to_all(service.sid, notification.sid))]).await?;
    Ok(notification)
}
