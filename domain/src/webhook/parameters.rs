//! What a webhook tells.

use crate::presence::change_reason::ChangeReason;
use crate::push::channel::Channel;
use crate::push::report::PushReport;
use crate::sid::{AccountSid, BindingSid};
use crate::webhook::message::{Told, UserTold, WebhookMessage};

/// The parameters of a webhook's request, with the vendor's names, and `Revision` and `Reason`, which are ours. So are all
/// names that only reports have. What is `null` is left out.
pub fn parameters(account: AccountSid, message: &WebhookMessage) -> Vec<(&'static str, String)> {
    let (account, service) = (account.to_string(), message.user.service.to_string());
    let common = [
        ("AccountSid", Some(account)),
        ("ChatServiceSid", Some(service.clone())),
        // The name that older applications know.
        ("InstanceSid", Some(service)),
        ("EventType", Some(message.event.name().to_owned())),
    ];
    let identity = message.user.identity.to_string();
    let told = match &message.told {
        Told::User(told) => of_user(told, identity),
        Told::Push(report) => of_push(report, identity),
    };
    common.into_iter().chain(told).filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A parameter; `None` is `null`.
type Parameter = (&'static str, Option<String>);

fn of_user(told: &UserTold, identity: String) -> Vec<Parameter> {
    let profile = told.profile.as_ref();
    let is_online = told.reachability.online.map(|is_online| is_online.to_string());
    let is_notifiable = told.reachability.notifiable.map(|is_notifiable| is_notifiable.to_string());
    vec![
        ("Source", Some(source(&told.reason).to_owned())),
        ("UserSid", Some(told.user_sid.to_string())),
        ("Identity", Some(identity)),
        ("FriendlyName", profile.and_then(|it| it.profile.friendly_name.clone())),
        ("Attributes", profile.map(|it| it.profile.attributes.clone())),
        ("RoleSid", profile.and_then(|it| it.profile.role_sid).map(|role| role.to_string())),
        ("DateCreated", profile.map(|it| it.date_created.to_string())),
        ("DateUpdated", profile.map(|it| it.date_updated.to_string())),
        // The vendor writes them either way.
        ("IsOnline", is_online.clone()),
        ("isOnline", is_online),
        ("IsNotifiable", is_notifiable.clone()),
        ("isNotifiable", is_notifiable),
        ("Revision", Some(told.revision.to_string())),
        ("Reason", Some(told.reason.to_string())),
    ]
}

fn of_push(report: &PushReport, identity: String) -> Vec<Parameter> {
    let of_binding = |binding: &BindingSid, channel: &Channel| {
        let (sid, channel) = (binding.to_string(), channel.as_str().to_owned());
        [("Identity", Some(identity)), ("BindingSid", Some(sid)), ("BindingType", Some(channel))]
    };
    match report {
        PushReport::DeliveryFailed { notification_sid, binding_sid, binding_type, reason, attempts, at } => {
            let told = [
                ("NotificationSid", Some(notification_sid.to_string())),
                ("Status", Some("failed".to_owned())),
                ("Reason", Some(reason.to_string())),
                ("Attempts", Some(attempts.to_string())),
                ("DateUpdated", Some(at.to_string())),
            ];
            of_binding(binding_sid, binding_type).into_iter().chain(told).collect()
        }
        PushReport::BindingDied { binding_sid, binding_type, credential_sid, death } => {
            let told = [
                ("CredentialSid", credential_sid.map(|sid| sid.to_string())),
                ("Status", Some(death.status().to_owned())),
                ("Reason", Some(death.reason.to_string())),
                ("DateUpdated", Some(death.at.to_string())),
            ];
            of_binding(binding_sid, binding_type).into_iter().chain(told).collect()
        }
    }
}

/// Who made the change: a REST request, or a client.
fn source(reason: &ChangeReason) -> &'static str {
    match reason {
        ChangeReason::Profile | ChangeReason::Switched => "API",
        _ => "SDK",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::reachability::Reachability;
    use crate::sid::Sid;
    use crate::webhook::message::tests::{dead_binding, failed_delivery, message, telling};

    fn told(message: &WebhookMessage) -> Vec<(&'static str, String)> {
        parameters(Sid::from_bits(9), message)
    }

    #[test]
    fn a_webhook_tells_the_user_and_the_change() {
        let expected = [
            ("AccountSid", "AC00000000000000000000000000000009"),
            ("ChatServiceSid", "IS00000000000000000000000000000001"),
            ("InstanceSid", "IS00000000000000000000000000000001"),
            ("EventType", "onUserUpdated"),
            ("Source", "SDK"),
            ("UserSid", "US00000000000000000000000000000007"),
            ("Identity", "alice & bob"),
            ("FriendlyName", "Alice"),
            ("Attributes", "{\"a\": 1}"),
            ("RoleSid", "RL00000000000000000000000000000003"),
            ("DateCreated", "2026-11-20T00:00:00.000Z"),
            ("DateUpdated", "2026-11-20T00:00:00.001Z"),
            ("IsOnline", "true"),
            ("isOnline", "true"),
            ("Revision", "1795132800123"),
            ("Reason", "connect"),
        ];
        assert_eq!(told(&message()), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let unknown = telling(|told| (told.profile, told.reachability) = (None, Reachability::UNKNOWN));
        let names: Vec<&str> = told(&unknown).into_iter().map(|(name, _)| name).collect();
        let known = ["AccountSid", "ChatServiceSid", "InstanceSid", "EventType", "Source", "UserSid", "Identity"];
        assert_eq!(names, [&known[..], &["Revision", "Reason"]].concat());
    }

    #[test]
    fn a_report_tells_the_device_and_the_reason() {
        let common = [
            ("AccountSid", "AC00000000000000000000000000000009"),
            ("ChatServiceSid", "IS00000000000000000000000000000001"),
            ("InstanceSid", "IS00000000000000000000000000000001"),
        ];
        let of_binding = [("Identity", "alice & bob"), ("BindingSid", "BS00000000000000000000000000000004")];
        let at = ("DateUpdated", "2026-11-20T00:00:00.000Z");
        let of_delivery = [
            ("BindingType", "fcm"),
            ("NotificationSid", "NT00000000000000000000000000000003"),
            ("Status", "failed"),
            ("Reason", "UNREGISTERED"),
            ("Attempts", "2"),
            at,
        ];
        let of_death = |status| {
            let credential = ("CredentialSid", "CR00000000000000000000000000000005");
            [("BindingType", "apn"), credential, ("Status", status), ("Reason", "BadDeviceToken"), at]
        };
        for (message, event, own) in [
            (failed_delivery(), "onNotificationFailed", &of_delivery[..]),
            (dead_binding(false), "onBindingDead", &of_death("dead")),
            (dead_binding(true), "onBindingDead", &of_death("undeliverable")),
        ] {
            let expected = [&common[..], &[("EventType", event)], &of_binding, own].concat();
            let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            assert_eq!(told(&message), expected);
        }
    }

    #[test]
    fn the_source_is_who_made_the_change() {
        for (reason, expected) in [
            ("profile", "API"),
            ("switched", "API"),
            ("own_profile", "SDK"),
            ("connect", "SDK"),
            ("lease_ended", "SDK"),
            ("registered", "SDK"),
        ] {
            let message = telling(|told| told.reason = reason.parse().unwrap());
            assert!(told(&message).contains(&("Source", expected.to_owned())), "{reason}");
        }
    }
}
