//! What a webhook tells.

use crate::presence::change_reason::ChangeReason;
use crate::sid::AccountSid;
use crate::webhook::message::WebhookMessage;

/// The parameters of a webhook's request, with the vendor's names, and `Revision` and `Reason`, which are ours. What is
/// `null` is left out.
pub fn parameters(account: AccountSid, message: &WebhookMessage) -> Vec<(&'static str, String)> {
    let WebhookMessage { user, reachability, .. } = message;
    let profile = message.profile.as_ref();
    let is_online = reachability.online.map(|is_online| is_online.to_string());
    let is_notifiable = reachability.notifiable.map(|is_notifiable| is_notifiable.to_string());
    let parameters = [
        ("AccountSid", Some(account.to_string())),
        ("ChatServiceSid", Some(user.service.to_string())),
        // The name that older applications know.
        ("InstanceSid", Some(user.service.to_string())),
        ("EventType", Some(message.event.name().to_owned())),
        ("Source", Some(source(&message.reason).to_owned())),
        ("UserSid", Some(message.user_sid.to_string())),
        ("Identity", Some(user.identity.to_string())),
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
        ("Revision", Some(message.revision.to_string())),
        ("Reason", Some(message.reason.to_string())),
    ];
    parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
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
    use crate::webhook::message::tests::message;

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
        let unknown = WebhookMessage { profile: None, reachability: Reachability::UNKNOWN, ..message() };
        let names: Vec<&str> = told(&unknown).into_iter().map(|(name, _)| name).collect();
        let known = ["AccountSid", "ChatServiceSid", "InstanceSid", "EventType", "Source", "UserSid", "Identity"];
        assert_eq!(names, [&known[..], &["Revision", "Reason"]].concat());
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
            let message = WebhookMessage { reason: reason.parse().unwrap(), ..message() };
            assert!(told(&message).contains(&("Source", expected.to_owned())), "{reason}");
        }
    }
}
