//! Messages of the webhook queue.

use reachability_domain::directory::service::WebhookEvent;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::change_reason::ChangeReason;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::sid::{Sid, UserSid};
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::{Told, UserTold, WebhookMessage};

/// A webhook of a user who has come online.
pub fn webhook(user: UserKey, revision: u64, queued_at: Timestamp) -> WebhookMessage {
    let told = UserTold {
        user_sid: UserSid::from_bits(7),
        profile: None,
        reachability: Reachability { online: Some(true), notifiable: None },
        reason: ChangeReason::Connect,
        revision,
    };
    WebhookMessage { user, event: WebhookEvent::UserUpdated, told: Told::User(told), queued_at, position: None }
}

/// What a webhook tells of its user, who has changed.
pub fn of_user(message: &WebhookMessage) -> &UserTold {
    match &message.told {
        Told::User(told) => told,
        Told::Push(report) => panic!("{report:?}"),
    }
}
