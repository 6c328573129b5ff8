//! What must be true of all notifications of a world, by what others saw of its people.

use std::collections::BTreeMap;
use std::time::Duration;

use reachability_domain::push::notification::{DeliveryStatus, Notification};
use reachability_domain::push::recipient::{Accepted, Recipient, RecipientStatus};
use reachability_domain::time::Timestamp;

use super::world::World;

/// Of the tests' settings.
const GRACE: Duration = Duration::from_secs(10);

/// By how much messages are late, several of them after each other.
const LATE: Duration = Duration::from_secs(10);

/// How long it takes at most until somebody is looked at again.
const LOOK: Duration = Duration::from_secs(30);

/// Looks at all notifications, all of which must be decided. Returns how often each thing came of one, for one user.
pub(super) async fn judge(world: &World) -> BTreeMap<&'static str, usize> {
    let mut judged = BTreeMap::new();
    for sid in &world.notifications {
        let notification = world.notification(*sid).await;
        let shown = world.list(*sid, 2).await;
        assert_eq!(shown.len(), notification.identities.len(), "each of them once");
        for (identity, shown) in notification.identities.iter().zip(shown) {
            let recipient = world.recipient(*sid, identity.as_str()).await;
            assert_eq!(shown["identity"], identity.as_str());
            assert_eq!(shown["status"], recipient.status.as_str());
            let what = of_user(world, &notification, &recipient);
            of_devices(world, &notification, &recipient).await;
            *judged.entry(what).or_default() += 1;
        }
    }
    // What was accepted was shown, once.
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    for sid in &world.notifications {
        for delivery in world.pushes.deliveries(*sid).await {
            let token = world.pushes.binding(delivery.binding_sid).await.unwrap().address.as_str().to_owned();
            *accepted.entry(token).or_default() += usize::from(delivery.status.as_str() == "accepted");
        }
    }
    for (token, many) in accepted {
        assert_eq!(world.pushes.apple.shown(&token).len(), many, "{token}");
    }
    judged
}

/// What came of a notification for a user.
fn of_user(world: &World, notification: &Notification, recipient: &Recipient) -> &'static str {
    let (user, decided_at) = (recipient.identity.as_str(), recipient.date_updated);
    let (accepted_at, ends_at) = (notification.date_created, notification.retried_until());
    let told = format!("{user}, accepted at {accepted_at}, until {ends_at}: {recipient:?}");
    let accepted = notification.accepted(&recipient.identity);
    assert_eq!(accepted != Accepted::Queued, world.was_online(user, accepted_at), "{told}");
    let is_sent = match recipient.status {
        RecipientStatus::Sent { .. } | RecipientStatus::NoDevice => true,
        RecipientStatus::Skipped => false,
        RecipientStatus::Queued | RecipientStatus::Held { .. } => panic!("not decided: {told}"),
    };
    assert!(accepted_at <= decided_at, "{told}");
    // Who is offline all the time gets it, and who is online all the time does not.
    let is_no_device = recipient.status == RecipientStatus::NoDevice;
    if !(is_no_device && accepted == Accepted::Queued) {
        assert_eq!(is_sent, !world.was_online(user, decided_at), "{told}");
    }
    let has_come = |from: Timestamp, until: Timestamp| {
        world.alive.get(user).is_some_and(|alive| alive.iter().any(|at| from < *at && *at <= until))
    };
    match accepted {
        Accepted::Queued => {
            assert!(decided_at <= accepted_at.plus(LATE), "{told}");
            if is_sent { "sent" } else { "come before it was sent" }
        }
        Accepted::Skipped => {
            assert!(!is_sent && decided_at == accepted_at && ends_at <= accepted_at, "{told}");
            "skipped at once"
        }
        Accepted::Held(held) => {
            let bound = held.until.min(ends_at);
            assert!(decided_at <= bound.plus(GRACE + LATE), "too late: {told}");
            // Who was gone for long enough gets it, if nothing was heard of it before.
            for (from, until) in world.absences(user) {
                let is_long = LOOK + LATE < until.since(from) && accepted_at < from && from < bound;
                if is_long && !has_come(accepted_at, from) {
                    assert!(is_sent && decided_at <= from.plus(LOOK + LATE), "gone from {from}: {told}");
                }
            }
            if is_sent {
                "held and sent"
            } else if has_come(accepted_at, decided_at) {
                "held and skipped, since it was there"
            } else {
                assert!(bound <= decided_at, "too soon: {told}");
                "held and skipped at the end"
            }
        }
    }
}

/// What came of it on the user's devices.
async fn of_devices(world: &World, notification: &Notification, recipient: &Recipient) {
    let user = recipient.identity.as_str();
    let deliveries = world.deliveries(notification.sid, user).await;
    let told = format!("{recipient:?}: {deliveries:?}");
    let mut accepted = 0;
    for delivery in &deliveries {
        match (&delivery.status, delivery.decided_at) {
            (DeliveryStatus::Accepted { .. }, Some(decided_at)) => {
                accepted += 1;
                assert!(!world.was_online(user, decided_at), "{told}");
            }
            // Another device was earlier.
            (DeliveryStatus::Skipped, None) => {
                let is_skipped = recipient.status == RecipientStatus::Skipped;
                assert!(is_skipped || world.was_online(user, delivery.date_updated), "{told}");
            }
            _ => panic!("{told}"),
        }
    }
    match recipient.status {
        RecipientStatus::Sent { binding } => {
            let first = deliveries.iter().find(|it| it.binding_sid == binding).unwrap();
            assert!(accepted > 0 && first.status.as_str() == "accepted", "{told}");
        }
        RecipientStatus::NoDevice => assert!(deliveries.is_empty(), "{told}"),
        _ => assert_eq!(accepted, 0, "{told}"),
    }
}
