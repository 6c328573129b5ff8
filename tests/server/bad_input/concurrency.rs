//! Concurrent requests.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reachability_tests::raw::{Answer, FORM, encode, request};
use serde_json::json;

use super::{Fixture, wait_until};

#[test]
fn concurrent_creations_of_one_identity_create_one_user() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 10;
    let fixture = Fixture::new();
    let paths = ["/v1/Services/{IS}/Users", "/v2/Services/{IS}/Users"];
    for round in 0..ROUNDS {
        let together = Barrier::new(CLIENTS);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let create = |client: usize| {
                together.wait();
                fixture.post(paths[client % 2], &format!("Identity=same-{round}"))
            };
            let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || create(client))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let (created, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(created.len(), 1, "round {round}");
        for answer in refused {
            assert_eq!(answer.assert_error(409, 50201, "a second user"), "User already exists");
        }
        let user = fixture.get(&format!("/v1/Services/{{IS}}/Users/same-{round}")).json();
        assert_eq!(user["sid"], created[0].json()["sid"]);
    }
    let list = fixture.get("/v1/Services/{IS}/Users").json();
    assert_eq!(list["users"].as_array().unwrap().len(), ROUNDS + 1);
    fixture.end();
}

#[test]
fn concurrent_updates_are_not_lost() {
    const CHAT: &str = "/v2/Services/{IS}";
    const CONFIGURATION: &str = "/v1/Services/{IS}/Configuration";
    const NOTIFICATIONS: &str = "/v1/Services/{IS}/Configuration/Notifications";
    const WEBHOOKS: &str = "/v1/Services/{IS}/Configuration/Webhooks";
    // The route, a parameter, its value, and where the same route shows it.
    let updates = [
        (CHAT, "FriendlyName", "changed", "/friendly_name"),
        (CHAT, "DefaultServiceRoleSid", "RL00000000000000000000000000000001", "/default_service_role_sid"),
        (CHAT, "DefaultChannelRoleSid", "RL00000000000000000000000000000002", "/default_channel_role_sid"),
        (
            CHAT,
            "DefaultChannelCreatorRoleSid",
            "RL00000000000000000000000000000003",
            "/default_channel_creator_role_sid",
        ),
        (CHAT, "ReadStatusEnabled", "false", "/read_status_enabled"),
        (CHAT, "ReachabilityEnabled", "false", "/reachability_enabled"),
        (CHAT, "TypingIndicatorTimeout", "7", "/typing_indicator_timeout"),
        (CHAT, "ConsumptionReportInterval", "8", "/consumption_report_interval"),
        (CHAT, "Limits.ChannelMembers", "9", "/limits/channel_members"),
        (CHAT, "Limits.UserChannels", "10", "/limits/user_channels"),
        (CHAT, "Media.CompatibilityMessage", "media", "/media/compatibility_message"),
        (CHAT, "PreWebhookRetryCount", "1", "/pre_webhook_retry_count"),
        (CHAT, "PostWebhookRetryCount", "2", "/post_webhook_retry_count"),
        (CHAT, "PreWebhookUrl", "http://chat.test/pre", "/pre_webhook_url"),
        (CHAT, "PostWebhookUrl", "http://chat.test/post", "/post_webhook_url"),
        (CHAT, "WebhookMethod", "GET", "/webhook_method"),
        (CHAT, "WebhookFilters", "onUserUpdated", "/webhook_filters/0"),
        (CHAT, "Notifications.LogEnabled", "true", "/notifications/log_enabled"),
        (CHAT, "Notifications.NewMessage.BadgeCountEnabled", "true", "/notifications/new_message/badge_count_enabled"),
        (CHAT, "Notifications.NewMessage.Enabled", "true", "/notifications/new_message/enabled"),
        (CHAT, "Notifications.NewMessage.Template", "t1", "/notifications/new_message/template"),
        (CHAT, "Notifications.NewMessage.Sound", "s1", "/notifications/new_message/sound"),
        (CHAT, "Notifications.AddedToChannel.Enabled", "true", "/notifications/added_to_channel/enabled"),
        (CHAT, "Notifications.AddedToChannel.Template", "t2", "/notifications/added_to_channel/template"),
        (CHAT, "Notifications.AddedToChannel.Sound", "s2", "/notifications/added_to_channel/sound"),
        (CHAT, "Notifications.RemovedFromChannel.Enabled", "true", "/notifications/removed_from_channel/enabled"),
        (CHAT, "Notifications.RemovedFromChannel.Template", "t3", "/notifications/removed_from_channel/template"),
        (CHAT, "Notifications.RemovedFromChannel.Sound", "s3", "/notifications/removed_from_channel/sound"),
        (CHAT, "Notifications.InvitedToChannel.Enabled", "true", "/notifications/invited_to_channel/enabled"),
        (CHAT, "Notifications.InvitedToChannel.Template", "t4", "/notifications/invited_to_channel/template"),
        (CHAT, "Notifications.InvitedToChannel.Sound", "s4", "/notifications/invited_to_channel/sound"),
        (NOTIFICATIONS, "NewMessage.WithMedia.Enabled", "true", "/new_message/with_media/enabled"),
        (NOTIFICATIONS, "NewMessage.WithMedia.Template", "t5", "/new_message/with_media/template"),
        // The same fields, by their other names.
        (NOTIFICATIONS, "LogEnabled", "true", "/log_enabled"),
        (NOTIFICATIONS, "NewMessage.BadgeCountEnabled", "true", "/new_message/badge_count_enabled"),
        (NOTIFICATIONS, "NewMessage.Enabled", "true", "/new_message/enabled"),
        (NOTIFICATIONS, "NewMessage.Template", "t1", "/new_message/template"),
        (NOTIFICATIONS, "NewMessage.Sound", "s1", "/new_message/sound"),
        (NOTIFICATIONS, "AddedToConversation.Enabled", "true", "/added_to_conversation/enabled"),
        (NOTIFICATIONS, "AddedToConversation.Template", "t2", "/added_to_conversation/template"),
        (NOTIFICATIONS, "AddedToConversation.Sound", "s2", "/added_to_conversation/sound"),
        (NOTIFICATIONS, "RemovedFromConversation.Enabled", "true", "/removed_from_conversation/enabled"),
        (NOTIFICATIONS, "RemovedFromConversation.Template", "t3", "/removed_from_conversation/template"),
        (NOTIFICATIONS, "RemovedFromConversation.Sound", "s3", "/removed_from_conversation/sound"),
        (WEBHOOKS, "PreWebhookUrl", "http://chat.test/pre", "/pre_webhook_url"),
        (WEBHOOKS, "PostWebhookUrl", "http://chat.test/post", "/post_webhook_url"),
        (WEBHOOKS, "Method", "GET", "/method"),
        (WEBHOOKS, "Filters", "onUserUpdated", "/filters/0"),
        (CONFIGURATION, "ReachabilityEnabled", "false", "/reachability_enabled"),
        (
            CONFIGURATION,
            "DefaultChatServiceRoleSid",
            "RL00000000000000000000000000000001",
            "/default_chat_service_role_sid",
        ),
    ];
    let fixture = Fixture::new();
    for round in 0..10 {
        let service = fixture.post("/v1/Services", "FriendlyName=x").json()["sid"].as_str().unwrap().to_owned();
        let path = |path: &str| path.replace("{IS}", &service);
        let together = Barrier::new(updates.len());
        thread::scope(|scope| {
            for (route, name, value, _) in &updates {
                let (fixture, path, together) = (&fixture, &path, &together);
                scope.spawn(move || {
                    let form = format!("{name}={}", encode(value));
                    let request = request("POST", &path(route), &[&fixture.owner(), FORM], form.as_bytes());
                    let mut connection = fixture.connect();
                    together.wait();
                    connection.send(request);
                    let answer = connection.receive("POST").unwrap();
                    assert_eq!(answer.status, 200, "round {round}, {name}: {}", answer.body);
                });
            }
        });
        for (route, name, value, place) in &updates {
            let expected = serde_json::from_str(value).unwrap_or(json!(value));
            assert_eq!(fixture.get(&path(route)).json().pointer(place), Some(&expected), "round {round}, {name}");
        }
    }
    fixture.end();
}

#[test]
fn a_service_can_be_deleted_while_users_are_created_in_it() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let service = fixture.post("/v1/Services", "FriendlyName=doomed").json()["sid"].as_str().unwrap().to_owned();
    let path = format!("/v1/Services/{service}");
    let users = format!("{path}/Users");
    let created = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (fixture, users, created) = (&fixture, &users, &created);
        let clients: Vec<_> = (0..4)
            .map(|client| {
                scope.spawn(move || {
                    for number in 0.. {
                        let answer = fixture.post(users, &format!("Identity=user-{client}-{number}"));
                        if answer.status != 201 {
                            answer.assert_error(404, 20404, "the service is gone");
                            break;
                        }
                        created.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        wait_until("users are created", || created.load(Ordering::SeqCst) >= 20);
        assert_eq!(fixture.ask("DELETE", &path, "").status, 204);
        for client in clients {
            client.join().unwrap();
        }
    });
    for path in [&path, &users, &format!("{path}/Configuration"), &format!("{users}/user-0-0")] {
        fixture.get(path).assert_error(404, 20404, path);
    }
    fixture.ask("DELETE", &path, "").assert_error(404, 20404, &path);
    fixture.post(&users, "Identity=late").assert_error(404, 20404, &users);
    assert_eq!(fixture.everything(), before);
    fixture.end();
}
