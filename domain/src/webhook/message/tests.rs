use super::*;
use crate::presence::change::ProfileChange;
use crate::push::binding::Death;
use crate::push::channel::Channel;
use crate::push::reason::Reason;
use crate::sid::RoleSid;

const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

pub(in crate::webhook) fn message() -> WebhookMessage {
    let profile = Profile {
        friendly_name: Some("Alice".to_owned()),
        attributes: "{\"a\": 1}".to_owned(),
        role_sid: Some(RoleSid::from_bits(3)),
    };
    WebhookMessage {
        user: UserKey { service: Sid::from_bits(1), identity: "alice & bob".parse().unwrap() },
        event: WebhookEvent::UserUpdated,
        told: Told::User(UserTold {
            user_sid: Sid::from_bits(7),
            profile: Some(WebhookProfile {
                profile,
                date_created: NOW,
                date_updated: Timestamp::from_millis(NOW.as_millis() + 1),
            }),
            reachability: Reachability { online: Some(true), notifiable: None },
            reason: ChangeReason::Connect,
            revision: 1_795_132_800_123,
        }),
        queued_at: NOW,
        position: Some(5),
    }
}

/// What the message tells of the user.
fn user_told() -> UserTold {
    match message().told {
        Told::User(told) => told,
        Told::Push(report) => panic!("{report:?}"),
    }
}

/// The message with something else told of the user.
pub(in crate::webhook) fn telling(change: impl FnOnce(&mut UserTold)) -> WebhookMessage {
    let mut told = user_told();
    change(&mut told);
    WebhookMessage { told: Told::User(told), ..message() }
}

pub(in crate::webhook) fn failed_delivery() -> WebhookMessage {
    let push = PushReport::DeliveryFailed {
        notification_sid: Sid::from_bits(3),
        binding_sid: Sid::from_bits(4),
        binding_type: Channel::Fcm,
        reason: Reason::new("UNREGISTERED"),
        attempts: 2,
        at: NOW,
    };
    WebhookMessage::of_report(&Report { user: message().user, push }, WebhookEvent::NotificationFailed, NOW)
}

pub(in crate::webhook) fn dead_binding(is_mismatch: bool) -> WebhookMessage {
    let push = PushReport::BindingDied {
        binding_sid: Sid::from_bits(4),
        binding_type: Channel::Apn,
        credential_sid: Some(Sid::from_bits(5)),
        death: Death { reason: Reason::new("BadDeviceToken"), at: NOW, is_mismatch },
    };
    WebhookMessage::of_report(&Report { user: message().user, push }, WebhookEvent::BindingDead, NOW)
}

#[test]
fn a_message_is_read_as_it_was_written() {
    let without = WebhookMessage { position: None, ..telling(|told| told.profile = None) };
    for message in [message(), without, failed_delivery(), dead_binding(true), dead_binding(false)] {
        assert_eq!(WebhookMessage::parse(message.to_json().as_bytes()).unwrap(), message);
    }
    for invalid in ["{}", r#"{"service_sid":"IS00000000000000000000000000000001","queued_at":1}"#] {
        assert!(WebhookMessage::parse(invalid.as_bytes()).is_err());
    }
}

/// What waits in a queue when the server is upgraded.
#[test]
fn a_message_of_an_earlier_version_is_read() {
    let earlier = r#"{"service_sid":"IS00000000000000000000000000000001","identity":"alice & bob","user_sid":"US00000000000000000000000000000007","event":"onUserUpdated","profile":{"friendly_name":"Alice","attributes":"{\"a\": 1}","role_sid":"RL00000000000000000000000000000003","date_created":1795132800000,"date_updated":1795132800001},"is_online":true,"is_notifiable":null,"reason":"connect","revision":1795132800123,"queued_at":1795132800000,"position":5}"#;
    assert_eq!(WebhookMessage::parse(earlier.as_bytes()).unwrap(), message());
    let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
    assert_eq!(value(&message().to_json()), value(earlier), "and is written with the same members");
}

#[test]
fn a_token_names_a_change_and_nothing_else_does() {
    let token = message().token();
    assert_eq!(token, "46c0ba50-ed1e-8c75-864a-de1440fbca64");
    let later = Timestamp::from_millis(NOW.as_millis() + 1_000);
    let again = WebhookMessage { queued_at: later, position: None, ..telling(|told| told.profile = None) };
    assert_eq!(again.token(), token, "the change is the same");
    let user =
        |service, identity: &str| UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
    for other in [
        telling(|told| told.revision = 1_795_132_800_124),
        WebhookMessage { event: WebhookEvent::UserAdded, ..message() },
        telling(|told| told.reason = ChangeReason::Profile),
        WebhookMessage { user: user(2, "alice & bob"), ..message() },
        WebhookMessage { user: user(1, "alice"), ..message() },
        failed_delivery(),
        dead_binding(false),
    ] {
        assert_ne!(other.token(), token);
    }
}

#[test]
fn a_token_names_a_report_and_nothing_else_does() {
    let changed = |message: WebhookMessage, change: &dyn Fn(&mut PushReport)| {
        let Told::Push(mut report) = message.told else { panic!() };
        change(&mut report);
        WebhookMessage { told: Told::Push(report), ..message }
    };
    let known = [failed_delivery(), dead_binding(true), dead_binding(false)].map(|message| message.token());
    let later = NOW.plus(std::time::Duration::from_secs(1));
    // A second process gives it up, too.
    let again = changed(failed_delivery(), &|report| {
        if let PushReport::DeliveryFailed { reason, attempts, at, .. } = report {
            (*reason, *attempts, *at) = (Reason::new("TimedOut"), 3, later);
        }
    });
    assert_eq!(again.token(), known[0]);
    let others = [
        changed(failed_delivery(), &|report| {
            if let PushReport::DeliveryFailed { notification_sid, .. } = report {
                *notification_sid = Sid::from_bits(8);
            }
        }),
        changed(failed_delivery(), &|report| {
            if let PushReport::DeliveryFailed { binding_sid, .. } = report {
                *binding_sid = Sid::from_bits(8);
            }
        }),
        changed(dead_binding(false), &|report| {
            if let PushReport::BindingDied { death, .. } = report {
                death.at = later;
            }
        }),
    ];
    let all: std::collections::BTreeSet<String> =
        known.iter().cloned().chain(others.iter().map(WebhookMessage::token)).collect();
    assert_eq!(all.len(), 6);
}

#[test]
fn the_messages_of_a_user_are_one_group() {
    let group = message().group();
    assert_eq!(group, "IS00000000000000000000000000000001-877ffa800295c5cd1615676469d903c1");
    assert_eq!(WebhookMessage { event: WebhookEvent::UserAdded, ..telling(|told| told.revision = 1) }.group(), group);
    assert_eq!(failed_delivery().group(), group);
    for (service, identity) in [(2, "alice & bob"), (1, "alice")] {
        let user = UserKey { service: Sid::from_bits(service), identity: identity.parse().unwrap() };
        assert_ne!(WebhookMessage { user, ..message() }.group(), group);
    }
}

#[test]
fn a_change_of_the_profile_tells_the_profile_of_then() {
    let then = user_told().profile.unwrap().profile;
    let change = ProfileChange {
        user: message().user,
        user_sid: user_told().user_sid,
        before: Profile { friendly_name: None, ..then.clone() },
        profile: then.clone(),
        reason: ChangeReason::Profile,
        at: NOW,
        revision: 5,
        generation: Default::default(),
    };
    let mut now = User::new(user_told().user_sid, message().user, None, NOW);
    (now.friendly_name, now.date_updated) = (Some("Carol".to_owned()), Timestamp::MAX);
    let reachability = Reachability { online: Some(false), notifiable: Some(true) };
    let notice = Notice::Profile(change);
    let told = |stored| match WebhookMessage::of(&notice, WebhookEvent::UserUpdated, stored, NOW).unwrap().told {
        Told::User(told) => told,
        Told::Push(report) => panic!("{report:?}"),
    };
    let message = told(Some((&now, reachability)));
    assert_eq!(message.profile, Some(WebhookProfile { profile: then, date_created: NOW, date_updated: NOW }));
    assert_eq!(message.reachability, reachability);
    assert_eq!(told(None).profile, None);
}
