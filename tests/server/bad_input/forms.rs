//! Parameters of forms.

use reachability_test_keys as keys;
use reachability_tests::raw::{FORM, JSON, encode};
use serde_json::Value;

use super::{Fixture, GOOD_FORM, Material, NO_CREDENTIAL, NO_SERVICE, ROUTES, material};

#[test]
fn one_bad_parameter_refuses_the_whole_request() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let long = |length: usize| "x".repeat(length);
    let user_sid = format!("US{}", "aB".repeat(16));
    let attributes = format!("\"{}\"", long(4_095));
    let url = format!("https://chat.test/{}", long(2_048));
    let services: &[&str] = &["/v1/Services", "/v2/Services"];
    let users: &[&str] = &["/v1/Services/{IS}/Users", "/v1/Users", "/v2/Services/{IS}/Users"];
    let user: &[&str] = &["/v1/Services/{IS}/Users/alice", "/v1/Users/alice", "/v2/Services/{IS}/Users/alice"];
    let account: &[&str] = &["/v1/Configuration"];
    let configuration: &[&str] = &["/v1/Services/{IS}/Configuration"];
    let notifications: &[&str] = &["/v1/Services/{IS}/Configuration/Notifications"];
    let account_webhooks: &[&str] = &["/v1/Configuration/Webhooks"];
    let webhooks: &[&str] = &["/v1/Services/{IS}/Configuration/Webhooks", "/v1/Configuration/Webhooks"];
    let chat: &[&str] = &["/v1/Services/{IS}", "/v2/Services/{IS}"];
    let keys: &[&str] = &["/2010-04-01/Accounts/{AC}/Keys.json", "/2010-04-01/Accounts/{AC}/Keys/{SK}.json"];
    let credentials: &[&str] = &["/v1/Credentials", "/v2/Credentials"];
    let credential: &[&str] = &["/v1/Credentials/{CR}", "/v2/Credentials/{CR}"];
    let bindings: &[&str] = &["/v1/Services/{IS}/Bindings"];
    let sent: &[&str] = &["/v1/Services/{IS}/Notifications"];
    let Material { key, certificate, service_account } = material();
    let fcm = format!("Type=fcm&Secret={}", encode(service_account));
    let gcm = format!("Type=gcm&ApiKey={}", encode(service_account));
    let certified = format!("Type=apn&Certificate={}&PrivateKey={}", encode(certificate), encode(key));
    let signing =
        format!("Type=apn&PrivateKey={}&KeyId=ABC123DEFG&TeamId=DEF123GHIJ&Topic=com.example.app", encode(key));
    let other_key = keys::p256();
    let large = format!("{service_account}{}", " ".repeat(16 * 1024));
    let application = "arn:aws:sns:us-east-1:123456789012:app/GCM/x";
    let accounts: &[&str] = &["x", "{}", "[]", "AAAA0123:APA91b", "{\"type\":\"service_account\"}", key, &large];
    let no_form: &[&str] = &["x", "-----BEGIN PRIVATE KEY-----", service_account, &long(20_000)];
    let device = "Identity=mallory&BindingType=fcm&Address=other";
    let apple_device = "Identity=mallory&BindingType=apn&Address=0a";
    let said = "Identity=alice&Body=x";
    let data = format!("{{\"a\":\"{}\"}}", long(4_090));
    let nested = format!("{{\"data\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    let too_many = format!("x{}", (0..1_000).map(|number| format!("&Identity={number}")).collect::<String>());
    let identities = format!("x{}", (0..100).map(|number| format!("&Identity={number}")).collect::<String>());
    for (paths, good, name, bad_values, code) in [
        (services, "Type=x", "FriendlyName", &[""] as &[&str], 20001),
        (services, "Type=x", "FriendlyName", &[&long(257), &"ü".repeat(257)], 50003),
        (users, "FriendlyName=m", "Identity", &[""], 20001),
        (users, "FriendlyName=m", "Identity", &[&long(257), &"ü".repeat(257)], 50207),
        (users, "FriendlyName=m", "Identity", &[&user_sid, &user_sid.to_lowercase().replace("us", "US")], 50206),
        (users, "Identity=mallory", "FriendlyName", &[&long(257), &"ü".repeat(257)], 50003),
        (users, "Identity=mallory", "Attributes", &["x", "{", "{\"a\":1}}", "{'a':1}", "\u{FEFF}{}"], 50304),
        (users, "Identity=mallory", "Attributes", &[&attributes, &format!("x{attributes}")], 50303),
        (users, "Identity=mallory", "RoleSid", &["RL", "x", &fixture.service], 20001),
        (user, "Attributes=%7B%7D", "FriendlyName", &[&long(257)], 50003),
        (user, "FriendlyName=m", "Attributes", &["x", "{", &"[".repeat(4_096), "1 2"], 50304),
        (user, "FriendlyName=m", "Attributes", &[&attributes], 50303),
        (user, "FriendlyName=m", "RoleSid", &["RL", "x", &fixture.service], 20001),
        (configuration, GOOD_FORM, "DefaultConversationRoleSid", &["RL", "x", &fixture.service], 20001),
        (configuration, GOOD_FORM, "DefaultConversationCreatorRoleSid", &["RL", "x", &fixture.service], 20001),
        (configuration, GOOD_FORM, "DefaultChatServiceRoleSid", &["RL", "x", &fixture.service], 20001),
        (configuration, "LogEnabled=x", "ReachabilityEnabled", &["", "1", "yes", "tru", "null", " true"], 20001),
        (notifications, "NewMessage.Template=x", "LogEnabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.BadgeCountEnabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.WithMedia.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "AddedToConversation.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "RemovedFromConversation.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.Template", &[&long(2_049)], 50058),
        (notifications, "LogEnabled=true", "RemovedFromConversation.Sound", &[&long(257)], 50059),
        (webhooks, GOOD_FORM, "PreWebhookUrl", &["x", "/x", "ftp://chat.test/", "http://", "//x", &url], 50054),
        (
            webhooks,
            GOOD_FORM,
            "PostWebhookUrl",
            &[
                "x",
                "/x",
                "mailto:a@b.c",
                "https:///x",
                "http://a b/",
                "http://x:99999/",
                "http://x:/",
                "http://x/%C3%BC?ü",
            ],
            50054,
        ),
        (webhooks, "PreWebhookUrl=http://x/", "Method", &["PUT", "x", "GET,POST"], 50055),
        (webhooks, GOOD_FORM, "Filters", &["on User", "onUserUpdated,onUserAdded", &long(65)], 20001),
        (account_webhooks, GOOD_FORM, "Target", &["x", "Webhook "], 20001),
        (account, GOOD_FORM, "DefaultChatServiceSid", &["", "x", &fixture.server.account, NO_SERVICE], 20001),
        (account, GOOD_FORM, "DefaultMessagingServiceSid", &["", "MG", &fixture.service], 20001),
        (account, "DefaultClosedTimer=PT1H", "DefaultInactiveTimer", &["x", "60", "PT", "PT59S", "-PT5M"], 20001),
        (
            account,
            GOOD_FORM,
            "DefaultClosedTimer",
            &["x", "PT9M59S", "P0D", "1 hour", "P1.5M", "P99999Y", "-P1M"],
            20001,
        ),
        (chat, "ReachabilityEnabled=false", "FriendlyName", &[""], 50000),
        (chat, "ReachabilityEnabled=false", "FriendlyName", &[&long(257)], 50003),
        (chat, GOOD_FORM, "ReadStatusEnabled", &["", "1", "on"], 20001),
        (chat, GOOD_FORM, "DefaultServiceRoleSid", &["RL", "x", &fixture.service], 20001),
        (chat, GOOD_FORM, "TypingIndicatorTimeout", &["", "x", "-1", "1.5", "99999999999"], 20001),
        (chat, GOOD_FORM, "ConsumptionReportInterval", &["", "x", "-1", "1e1"], 20001),
        (chat, GOOD_FORM, "Limits.ChannelMembers", &["", "x", "0", "1001"], 20001),
        (chat, GOOD_FORM, "Limits.UserChannels", &["", "x", "0", "1001"], 20001),
        (chat, GOOD_FORM, "PreWebhookRetryCount", &["", "x", "-1", "4"], 50065),
        (chat, GOOD_FORM, "PostWebhookRetryCount", &["", "x", "-1", "4"], 50065),
        (chat, GOOD_FORM, "PreWebhookUrl", &["x", &url], 50054),
        (chat, GOOD_FORM, "WebhookMethod", &["PUT"], 50055),
        (chat, GOOD_FORM, "WebhookFilters", &["on User"], 20001),
        (chat, GOOD_FORM, "Notifications.NewMessage.Enabled", &["x"], 20001),
        (chat, GOOD_FORM, "Notifications.InvitedToChannel.Template", &[&long(2_049)], 50058),
        (chat, GOOD_FORM, "Notifications.AddedToChannel.Sound", &[&long(257)], 50059),
        (chat, GOOD_FORM, "Notifications.LogEnabled", &["x"], 20001),
        (keys, "", "FriendlyName", &[&long(65), &"ü".repeat(65)], 20001),
        (credentials, &fcm, "Type", &["", "x", "APN", "twilsock", "fcm "], 20001),
        (credentials, &fcm, "FriendlyName", &[&long(65), &"ü".repeat(65)], 20001),
        (credentials, &fcm, "Sandbox", &["", "1", "yes"], 20001),
        (credentials, &fcm, "RegistrationCheck", &["", "x", "Silent", "dry_run"], 20001),
        (credentials, &certified, "RegistrationCheck", &["dry-run"], 20001),
        (credentials, &fcm, "Secret", &[""], 20001),
        (credentials, &fcm, "Secret", accounts, 20001),
        (credentials, &gcm, "ApiKey", accounts, 20001),
        (credentials, &fcm, "PlatformApplicationArn", &["x", application], 20001),
        (credentials, &certified, "Certificate", no_form, 20001),
        (credentials, &certified, "PrivateKey", &["", &other_key], 20001),
        (credentials, &certified, "PrivateKey", no_form, 20001),
        (credentials, &certified, "Topic", &["a b", "a/b", &long(256)], 20001),
        (credentials, &signing, "PrivateKey", &["", certificate], 20001),
        (credentials, &signing, "PrivateKey", no_form, 20001),
        (credentials, &signing, "KeyId", &["", "ABC123DEF", "ABC123DEFGH", "ABC 23DEFG"], 20001),
        (credentials, &signing, "TeamId", &["", "DEF123GHI", "DEF123GHIJK", "DEF-23GHIJ"], 20001),
        (credentials, &signing, "Topic", &["", "a b", &long(256)], 20001),
        (credential, "FriendlyName=changed", "Type", &["", "x", "apn"], 20001),
        (credential, "Sandbox=true", "FriendlyName", &[&long(65)], 20001),
        (credential, "FriendlyName=changed", "Sandbox", &["", "1"], 20001),
        (credential, "FriendlyName=changed", "RegistrationCheck", &["", "x"], 20001),
        (credential, "FriendlyName=changed", "Secret", accounts, 20001),
        (credential, "FriendlyName=changed", "ApiKey", accounts, 20001),
        (credential, "FriendlyName=changed", "PlatformApplicationArn", &["x", application], 20001),
        (bindings, device, "Identity", &[""], 20001),
        (bindings, device, "Identity", &[&long(257)], 50207),
        (bindings, device, "Identity", &[&user_sid], 50206),
        (bindings, device, "BindingType", &[""], 20001),
        (bindings, device, "BindingType", &["x", "FCM", "twilsock", "sms"], 50209),
        (bindings, device, "Address", &["", "a b", "ü", "a\nb", &long(4_097)], 20001),
        (bindings, apple_device, "Address", &["", "x", "0g", "../0a", &"0".repeat(4_097)], 20001),
        (bindings, device, "CredentialSid", &["", "x", &fixture.service, NO_CREDENTIAL], 20001),
        (bindings, apple_device, "CredentialSid", &[&fixture.credential], 20001),
        (bindings, device, "Endpoint", &[&long(257)], 20001),
        (bindings, device, "Tag", &["", &long(129), &"ü".repeat(129), "a\nb", "a\0"], 20001),
        (bindings, device, "Tag", &["all", "apn", "fcm", "gcm"], 20001),
        (bindings, device, "NotificationProtocolVersion", &["2", "4", "x", "3 "], 20001),
        (sent, said, "Identity", &[""], 20001),
        (sent, said, "Identity", &[&long(257)], 50207),
        (sent, said, "Identity", &[&user_sid], 50206),
        (sent, said, "Title", &[&long(1_025)], 20001),
        (sent, said, "Body", &["", &long(4_097)], 20001),
        (sent, said, "Data", &["x", "{", "[]", "7", "\"x\"", "{\"aps\":1}", "{}{}", &data], 20001),
        (sent, said, "Priority", &["", "x", "High", "normal"], 20001),
        (sent, said, "When", &["", "x", "Offline", "online"], 20001),
        (sent, said, "Ttl", &["", "x", "-1", "1.5", "2419201"], 20001),
        (sent, said, "Sound", &[&long(257)], 20001),
        (sent, said, "Tag", &["", &long(129), "a\u{7f}"], 20001),
        (sent, said, "ToBinding", &["x", "{\"binding_type\":\"apn\",\"address\":\"0a\"}"], 20001),
        (sent, said, "DeliveryCallbackUrl", &["https://chat.test/"], 20001),
        (sent, said, "Segment", &["x"], 20001),
        (sent, said, "Action", &[&long(257)], 20001),
        (sent, said, "CollapseId", &["a b", "ü", "a\n", &long(65)], 20001),
        (sent, said, "Format", &["", "x", "Standard"], 20001),
        (sent, said, "Apn", &["x", "{", "[]", "7", "{\"aps\":1}", "{\"aps\":null}", &data, &nested], 20001),
        (sent, said, "Fcm", &["x", "{", "[]", "7", "{\"token\":\"x\"}", "{\"data\":{\"a\":1}}", &data, &nested], 20001),
        (sent, said, "Gcm", &["x", "{}{}", "{\"to\":\"x\"}", "{\"android\":{\"ttl\":\"1s\"}}", &data, &nested], 20001),
        (sent, "Identity=alice&Format=conversations", "Data", &["{\"a\":1}", "{\"twi_message_type\":7}"], 20001),
        (sent, said, "Sms", &["{}"], 20001),
        (sent, said, "FacebookMessenger", &["{}"], 20001),
        (sent, said, "Alexa", &["{}"], 20001),
    ] {
        for path in paths {
            for value in bad_values {
                // The bad parameter comes first. Where the good form has it too, the first one counts.
                let form = format!("{name}={}&{good}", encode(value));
                let what = format!("POST {path} with {name}={value:.80}");
                let message = fixture.post(path, &form).assert_error(400, code, &what);
                assert!(message.contains(name) || code != 20001, "{what}: {message}");
            }
        }
    }
    // Each is small enough, but together they are too large.
    let body = format!("Identity=alice&Title={}&Body={}", long(1_000), encode(&"ü".repeat(1_550)));
    fixture.post(sent[0], &body).assert_error(400, 20001, "too much");
    let message = fixture.post(sent[0], &format!("Body=x&Identity={too_many}")).assert_error(400, 20001, "too many");
    assert!(message.contains("Identity"), "{message}");
    let tags = |count: usize| (0..count).map(|number| format!("&Tag={number}")).collect::<String>();
    for (path, form) in [(sent[0], format!("{said}{}", tags(6))), (bindings[0], format!("{device}{}", tags(21)))] {
        let message = fixture.post(path, &form).assert_error(400, 20001, "too many tags");
        assert!(message.contains("Tag"), "{message}");
    }
    for (path, query, code) in [
        ("/v1/Services/{IS}/Bindings", "Tag=", 20001),
        ("/v1/Services/{IS}/Bindings", "Tag=x&Tag=%00", 20001),
        ("/v1/Services/{IS}/Bindings", &tags(6), 20001),
        ("/v1/Services/{IS}/Bindings", "StartDate=2026-11-20", 20001),
        ("/v1/Services/{IS}/Bindings", "EndDate=2026-11-20", 20001),
        ("/v1/Services/{IS}/Bindings", "BindingType=x", 50209),
        ("/v1/Services/{IS}/Bindings", "BindingType=apn&BindingType=", 50209),
        ("/v2/Services/{IS}/Bindings", "BindingType=APN", 50209),
        ("/v2/Services/{IS}/Users/alice/Bindings", "BindingType=x", 50209),
        ("/v1/Services/{IS}/Bindings", &format!("Identity={}", long(257)), 50207),
        ("/v2/Services/{IS}/Bindings", &format!("Identity={user_sid}"), 50206),
        ("/v2/Services/{IS}/Bindings", &format!("Identity={identities}"), 20001),
    ] {
        fixture.get(&format!("{path}?{query}")).assert_error(400, code, &format!("GET {path}?{query:.80}"));
    }
    assert_eq!(fixture.everything(), before);

    // As many tags as there may be. The same tag counts once, and an empty parameter that is not built says nothing.
    let given = fixture.post(bindings[0], &format!("{device}{0}{0}&NotificationProtocolVersion=3", tags(20)));
    assert_eq!((given.status, given.json()["tags"].as_array().map(Vec::len)), (201, Some(20)), "{}", given.body);
    let notified = fixture.post(sent[0], &format!("{said}{}&Tag=0&Sms=&ToBinding=&Segment=", tags(5)));
    assert_eq!(
        (notified.status, notified.json()["tags"].as_array().map(Vec::len)),
        (201, Some(5)),
        "{}",
        notified.body
    );
    assert_eq!(fixture.get(&format!("{}?{}&Tag=0", bindings[0], tags(5))).status, 200);

    // With several credentials the request must name one.
    let another = fixture.post("/v1/Credentials", &gcm);
    assert_eq!(another.status, 201, "{}", another.body);
    let message = fixture.post(bindings[0], device).assert_error(400, 20001, "which one");
    assert_eq!(message, "Missing required parameter CredentialSid in the post body");
    let form = format!("{device}&CredentialSid={}", fixture.credential);
    assert_eq!(fixture.post(bindings[0], &form).json()["credential_sid"], fixture.credential);
    fixture.end();
}

#[test]
fn required_parameters_are_required() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for (path, name) in [
        ("/v1/Services", "FriendlyName"),
        ("/v2/Services", "FriendlyName"),
        ("/v1/Services/{IS}/Users", "Identity"),
        ("/v1/Users", "Identity"),
        ("/v2/Services/{IS}/Users", "Identity"),
        ("/v1/Credentials", "Type"),
        ("/v2/Credentials", "Type"),
        ("/v1/Services/{IS}/Bindings", "Identity"),
        ("/v1/Services/{IS}/Notifications", "Identity"),
    ] {
        let small = name.to_lowercase();
        let owner = fixture.owner();
        let json = format!("{{\"{name}\":\"x\"}}");
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n--b--\r\n");
        let form = format!("{name}=x");
        for (headers, body) in [
            (&[FORM] as &[&str], ""),
            (&[], ""),
            (&[FORM], "Unknown=x"),
            (&[FORM], &format!("{small}=x")),
            (&[FORM], &format!("{name}=")),
            (&[FORM], name),
            // A body that is not a form has no parameters.
            (&[JSON], &json),
            (&[JSON], &form),
            (&["Content-Type: text/plain"], &form),
            (&["Content-Type: multipart/form-data; boundary=b"], &part),
        ] {
            let what = format!("POST {path} with {body:?}");
            let answer = fixture.send("POST", path, &[&[owner.as_str()], headers].concat(), body);
            let message = answer.assert_error(400, 20001, &what);
            assert_eq!(message, format!("Missing required parameter {name} in the post body"), "{what}");
        }
        // Parameters in the query do not count.
        fixture.post(&format!("{path}?{name}=x"), "").assert_error(400, 20001, path);
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for (path, form) in [
        ("/v1/Services", b"FriendlyName=%FF" as &[u8]),
        ("/v1/Services", b"FriendlyName=\xFF"),
        ("/v1/Services", b"FriendlyName=x&%FF=y"),
        ("/v1/Services/{IS}/Users", b"Identity=%C3"),
        ("/v1/Services/{IS}/Users", b"Identity=a\xC3\x28"),
        ("/v1/Services/{IS}/Users", b"Identity=mallory&FriendlyName=%ED%A0%80"),
        ("/v1/Services/{IS}/Users/alice", b"FriendlyName=%C0%80"),
        ("/v1/Services/{IS}/Users/alice", b"Attributes=%22%FF%22"),
        ("/v2/Services/{IS}", b"FriendlyName=\xFE"),
    ] {
        fixture.ask("POST", path, form).assert_error(400, 20001, &format!("POST {path}"));
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn reachability_is_read_only() {
    let fixture = Fixture::new();
    for path in ["/v1/Services/{IS}/Users", "/v1/Users"] {
        assert_eq!(fixture.post(path, "Identity=carol").status, 201, "{path}");
    }
    let before = fixture.everything();
    let attempts = "IsOnline=true&IsNotifiable=true&is_online=true&is_notifiable=true&Online=true&Notifiable=true";
    for path in ["/v1/Services/{IS}/Users/carol", "/v2/Services/{IS}/Users/carol", "/v1/Users/carol"] {
        for (headers, body) in [(FORM, attempts), (JSON, r#"{"IsOnline":true,"is_online":true}"#)] {
            let user = fixture.send("POST", path, &[&fixture.owner(), headers], body);
            assert_eq!(user.status, 200, "{path}");
            assert_eq!(
                (&user.json()["is_online"], &user.json()["is_notifiable"]),
                (&Value::Null, &Value::Null),
                "{path}"
            );
        }
        assert_eq!(fixture.post(&format!("{path}?{attempts}"), "").status, 200, "{path}");
    }
    assert_eq!(fixture.everything(), before);

    let created = fixture.post("/v1/Services/{IS}/Users", &format!("Identity=bob&{attempts}"));
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["is_online"], Value::Null);
    assert_eq!(fixture.get("/v1/Services/{IS}/Users/bob").json()["is_online"], Value::Null);
    fixture.end();
}

#[test]
fn unknown_parameters_are_ignored() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let unknown = "Unknown=x&friendlyname=x&reachabilityEnabled=false&Sid=IS0&AccountSid=x&DateCreated=x&=x&&x";
    for (path, methods) in ROUTES {
        if methods.contains(&"GET") {
            assert_eq!(fixture.get(&format!("{path}?{unknown}")).status, 200, "GET {path}");
        }
    }
    assert_eq!(fixture.post("/v1/Services/{IS}/Configuration", unknown).status, 200);
    assert_eq!(fixture.post("/v2/Services/{IS}", unknown).status, 200);
    assert_eq!(fixture.everything(), before);

    let form = format!("{unknown}&ReachabilityEnabled=False");
    assert_eq!(fixture.post("/v1/Services/{IS}/Configuration", &form).json()["reachability_enabled"], false);
    fixture.end();
}

#[test]
fn an_empty_update_changes_nothing() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let owner = fixture.owner();
    for path in [
        "/v1/Configuration",
        "/v1/Configuration/Webhooks",
        "/v1/Services/{IS}/Configuration",
        "/v1/Services/{IS}/Configuration/Notifications",
        "/v1/Services/{IS}/Configuration/Webhooks",
        "/v1/Services/{IS}/Channels/messaging/general",
        "/v1/Services/{IS}/Presence/alice",
        "/v1/Services/{IS}/Users/alice",
        "/v1/Users/alice",
        "/v1/Credentials/{CR}",
        "/v2/Credentials/{CR}",
        "/v2/Services/{IS}",
        "/v2/Services/{IS}/Users/alice",
        "/2010-04-01/Accounts/{AC}/Keys/{SK}.json",
    ] {
        let fetched = fixture.get(path).json();
        for headers in [&[owner.as_str()] as &[&str], &[&owner, FORM], &[&owner, JSON]] {
            let answer = fixture.send("POST", path, headers, "");
            assert_eq!((answer.status, answer.json()), (200, fetched.clone()), "{path} {}", headers.len());
        }
        // The same without a Content-Length.
        let mut connection = fixture.connect();
        connection.send(format!("POST {} HTTP/1.1\r\nHost: chat.test\r\n{owner}\r\n\r\n", fixture.path(path)));
        let answer = connection.receive("POST").unwrap();
        assert_eq!((answer.status, answer.json()), (200, fetched), "{path}");
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}
