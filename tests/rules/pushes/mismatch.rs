//! Tokens that do not fit the credential: of the other environment of APNs, of another app, or none at all.

use std::time::Duration;

use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, Method, RegistrationCheck};
use reachability_domain::push::environment::Environment::{Production, Sandbox};
use reachability_domain::push::message::{PushMessage, ScanServices};
use reachability_domain::push::notification::DeliveryStatus;
use reachability_domain::push::payload::Content;
use reachability_infra::clock;
use reachability_tests::providers::{Answer, Apple};
use reachability_tests::push_harness::PushHarness;

/// What authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Key,
    Certificate,
}

/// Changes the credential for APNs, as its owner does, and scans the registrations after it.
async fn change(harness: &PushHarness, by: By, sandbox: bool) {
    let stored = harness.stored(Channel::Apn).await;
    let (method, secret) = match by {
        By::Key => (harness.credential(Channel::Apn).method, harness.apple.key()),
        By::Certificate => {
            let not_after = clock::now().plus(Duration::from_secs(86_400));
            (Method::ApnsCertificate { topic: Apple::TOPIC.into(), not_after }, harness.apple.certificate())
        }
    };
    let sealed = Some(harness.seal.seal(stored.sid, &secret).unwrap());
    let used_since = clock::now().max(stored.used_since.plus(Duration::from_millis(1)));
    let health = Health::Unproven;
    let changed = Credential { method, sealed, sandbox, used_since, health, ..stored };
    harness.store.replace_credential(&changed).await.unwrap();
    let mut messages = vec![PushMessage::ScanServices(ScanServices::default())];
    while !messages.is_empty() {
        messages = harness.handle(messages).await;
        messages.retain(|message| !matches!(message, PushMessage::Probe(_)));
    }
}

async fn check(harness: &PushHarness, device: &Binding) -> Binding {
    // Another process: it has read no credential yet.
    harness.fresh_pusher().process(vec![PushHarness::probe(device)]).await;
    harness.binding(device.sid).await.unwrap()
}

/// Where a token belongs, what the credential says, and what comes of it.
#[tokio::test]
async fn the_environment_of_a_token_is_found_where_it_can_be() {
    for (by, is_sandbox, in_sandbox, status, environment) in [
        (By::Key, false, false, "confirmed", Some(Production)),
        (By::Key, false, true, "confirmed", Some(Sandbox)),
        (By::Key, true, false, "confirmed", Some(Production)),
        (By::Key, true, true, "confirmed", Some(Sandbox)),
        (By::Certificate, false, false, "confirmed", Some(Production)),
        (By::Certificate, false, true, "undeliverable", None),
        (By::Certificate, true, false, "undeliverable", None),
        (By::Certificate, true, true, "confirmed", Some(Sandbox)),
    ] {
        let what = format!("{by:?}, sandbox: {is_sandbox}, token of the sandbox: {in_sandbox}");
        let harness = PushHarness::new().await;
        if in_sandbox {
            harness.apple.in_sandbox("00ff");
        }
        change(&harness, by, is_sandbox).await;
        let device = harness.register("alice", Channel::Apn, "00ff").await;
        let binding = check(&harness, &device).await;
        assert_eq!((binding.status(), binding.environment), (status, environment), "{what}");
        let is_good = status == "confirmed";
        assert_eq!(harness.notifiable("alice").await, Some(is_good), "{what}");
        let health = harness.health(Channel::Apn).await;
        assert_eq!(health == Health::Accepted, is_good, "{what}: {health:?}");
        assert_eq!(matches!(health, Health::Mismatched { .. }), !is_good, "{what}: {health:?}");

        // Once it is known, no other environment is asked, and each alert is shown once.
        let asked = harness.apple.requests_to("00ff").len();
        let content = Content { title: Some("hello".into()), ..Content::default() };
        let deliver = harness.notification(&["alice"], content, None).await;
        let notification = deliver.notification;
        let messages = harness.handle(vec![PushMessage::Deliver(deliver)]).await;
        harness.handle(messages).await;
        let deliveries = harness.deliveries(notification).await;
        assert_eq!(
            deliveries.iter().filter(|it| matches!(it.status, DeliveryStatus::Accepted { .. })).count(),
            usize::from(is_good)
        );
        assert_eq!(harness.apple.shown("00ff").len(), usize::from(is_good), "{what}");
        assert_eq!(harness.apple.requests_to("00ff").len(), asked + usize::from(is_good), "{what}");
    }
}

/// An alert is the first push to a device of the other environment.
#[tokio::test]
async fn an_alert_finds_the_environment_too() {
    let harness = PushHarness::new().await;
    harness.apple.in_sandbox("00ff");
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    let content = Content { title: Some("hello".into()), ..Content::default() };
    let deliver = harness.notification(&["alice"], content, None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver)]).await;
    harness.handle(messages).await;
    assert_eq!(harness.apple.shown("00ff").len(), 1);
    let binding = harness.binding(device.sid).await.unwrap();
    assert_eq!((binding.status(), binding.environment), ("confirmed", Some(Sandbox)));
}

/// The owner sets `Sandbox` wrongly, sees it, and corrects it. No app has to register again.
#[tokio::test]
async fn what_a_wrong_setting_did_is_undone_with_it() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    change(&harness, By::Certificate, true).await;
    assert_eq!(check(&harness, &device).await.status(), "undeliverable");
    assert_eq!(harness.notifiable("alice").await, Some(false));
    assert!(matches!(harness.health(Channel::Apn).await, Health::Mismatched { .. }));
    // Until the credential changes it is not asked about any more, and it is kept.
    let asked = harness.apple.requests_to("00ff").len();
    check(&harness, &device).await;
    assert_eq!(harness.apple.requests_to("00ff").len(), asked);
    change(&harness, By::Certificate, false).await;
    let binding = harness.binding(device.sid).await.unwrap();
    assert_eq!((binding.status(), binding.death), ("unconfirmed", None));
    assert_eq!(harness.notifiable("alice").await, Some(true));
    assert_eq!(check(&harness, &device).await.status(), "confirmed");
    assert_eq!(harness.health(Channel::Apn).await, Health::Accepted);

    // It is confirmed with other keys now. With a wrong setting that does not help, and with the right one again it is as before.
    change(&harness, By::Certificate, true).await;
    assert_eq!(check(&harness, &device).await.status(), "undeliverable");
    change(&harness, By::Key, true).await;
    assert_eq!(check(&harness, &device).await.status(), "confirmed");
}

/// What this credential has confirmed was a good token: if APNs says that it is bad, it has become so.
#[tokio::test]
async fn a_token_that_was_confirmed_dies() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    assert_eq!(check(&harness, &device).await.status(), "confirmed");
    harness.apple.answer("00ff", Answer::apns(400, "BadDeviceToken"));
    let content = Content { title: Some("hello".into()), ..Content::default() };
    let deliver = harness.notification(&["alice"], content, None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver)]).await;
    harness.handle(messages).await;
    let binding = harness.binding(device.sid).await.unwrap();
    assert_eq!(binding.status(), "dead");
    assert_eq!(harness.apple.requests_to("00ff").len(), 2, "the other environment is not asked");
    assert_eq!(harness.health(Channel::Apn).await, Health::Accepted);
}

/// Whoever registers with a token that is none can be reached no more until the app has another one.
#[tokio::test]
async fn a_token_that_is_none_is_undeliverable() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    harness.apple.answer("00ff", Answer::apns(400, "BadDeviceToken"));
    assert_eq!(check(&harness, &device).await.status(), "undeliverable");
    assert_eq!(harness.apple.requests_to("00ff").len(), 2, "each environment, once");
    harness.register_at("alice", Channel::Apn, "00ff", clock::now()).await;
    assert_eq!(harness.notifiable("alice").await, Some(true), "it may be better now");
    assert_eq!(check(&harness, &device).await.status(), "undeliverable");

    let android = harness.register("bob", Channel::Fcm, "token").await;
    for answer in [
        Answer::fcm(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT")),
        Answer::fcm(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")),
    ] {
        harness.google.answer("token", answer);
        assert_eq!(check(&harness, &android).await.status(), "undeliverable");
        assert_eq!(harness.notifiable("bob").await, Some(false));
        harness.register_at("bob", Channel::Fcm, "token", clock::now()).await;
    }
}

/// Of a registration whose provider does not answer, or with nothing that helps, at most one check a day is begun.
#[tokio::test]
async fn there_is_one_check_a_day() {
    let harness = PushHarness::new().await;
    for (token, answer) in [("01", Answer::apns(429, "TooManyRequests")), ("02", Answer::apns(400, "BadPriority"))] {
        let device = harness.register("alice", Channel::Apn, token).await;
        harness.apple.answer(token, answer);
        let now = clock::now();
        let wants_check = async |at| {
            let binding = harness.binding(device.sid).await.unwrap();
            reachability_domain::push::registration::Registration::of(&binding).wants_check(at)
        };
        assert!(wants_check(now).await);
        harness.check(&device).await;
        assert_eq!(harness.binding(device.sid).await.unwrap().status(), "unconfirmed");
        assert!(!wants_check(now.plus(Duration::from_secs(86_300))).await, "{token}");
        assert!(wants_check(now.plus(Duration::from_secs(86_500))).await, "{token}");
        // The app registers again at each of its starts.
        harness.register_at("alice", Channel::Apn, token, clock::now()).await;
        assert!(!wants_check(now.plus(Duration::from_secs(60))).await, "{token}");
    }
}

/// Each kind of check has its occasions.
#[tokio::test]
async fn checks_have_their_occasions() {
    use ProbeCause::{Offline, Registered, Scan};
    use reachability_domain::push::message::{Probe, ProbeCause};
    for (kind, occasions) in [
        (RegistrationCheck::Once, &[Registered][..]),
        (RegistrationCheck::Silent, &[Registered, Scan]),
        (RegistrationCheck::None, &[]),
    ] {
        for cause in [Registered, Offline, Scan] {
            let harness = PushHarness::new().await;
            let stored = harness.stored(Channel::Apn).await;
            harness.store.replace_credential(&Credential { check: kind, ..stored }).await.unwrap();
            let device = harness.register("alice", Channel::Apn, "00ff").await;
            let PushMessage::Probe(probe) = PushHarness::probe(&device) else { panic!() };
            harness.handle(vec![PushMessage::Probe(Probe { cause, ..probe })]).await;
            let is_asked = !harness.apple.requests_to("00ff").is_empty();
            assert_eq!(is_asked, occasions.contains(&cause), "{kind:?} {cause:?}");
        }
    }
}
