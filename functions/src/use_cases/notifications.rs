//! Sending notifications.

use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::Notification;
use reachability_domain::push::payload::Content;
use reachability_domain::push::ports::Notifications;
use reachability_domain::queue::Queue;
use reachability_domain::time::Clock;

use crate::use_cases::failure::Failure;
use crate::use_cases::services::{FoundService, ServiceDirectory};

/// A notification is to be sent.
pub(crate) struct SendNotification {
    /// In this service.
    pub(crate) service: FoundService,
    /// To all devices of these users.
    pub(crate) identities: Vec<Identity>,
    /// What it says.
    pub(crate) content: Content,
    /// For how long providers may keep it, in seconds.
    pub(crate) ttl_seconds: Option<u32>,
}

/// Takes a notification. It is sent soon; what becomes of it on each device is told by its deliveries.
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
        content: command.content,
        ttl_seconds: command.ttl_seconds,
        date_created: clock(),
    };
    notifications.create_notification(&notification).await?;
    let deliver =
        Deliver { service: service.sid, notification: notification.sid, binding: None, attempts: 0, due_at: None };
    pushes.send(&[PushMessage::Deliver(deliver)]).await?;
    Ok(notification)
}
