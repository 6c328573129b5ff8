//! What the pusher does with what providers say: from a message to the answer of a stand-in, over real connections, to
//! what a reader is told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use reachability_domain::directory::configuration::Generation;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::binding::{Binding, REGISTERED_FOR};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, RegistrationCheck};
use reachability_domain::push::message::{Announce, Deliver, Probe, PushMessage, ScanBindings, ScanServices, Span};
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::push::payload::Content;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::registration::{KEEP_DEAD, MAX_DEVICES};
use reachability_domain::queue::Message;
use reachability_domain::secret::Secret;
use reachability_domain::sid::Sid;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::harness::{Kept, SETTINGS, ports, rules};
use reachability_tests::providers::{Answer, Request};
use reachability_tests::push_harness::PushHarness;
use reachability_worker::{Envelope, Failure, Worker};
use serde_json::json;
use tokio::time::sleep;

/// What an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The registration is good.
    Confirms,
    /// It is dead, and its user is not notifiable any more.
    Kills,
    /// It is the credential that is not good. The registration stays as it is.
    RejectsCredential,
    /// Nothing at all.
    Nothing,
    /// Nothing yet: it will be asked again.
    AsksAgain,
}

fn before(seconds: u64) -> Timestamp {
    Timestamp::from_millis(clock::now().as_millis() - i64::try_from(seconds * 1_000).unwrap())
}

fn day(days: u64) -> u64 {
    days * 86_400
}

/// Every answer that is documented, and what it does to the registration, to the credential, and to `is_notifiable`.
#[tokio::test]
async fn every_answer_has_its_effect() {
    use Effect::{AsksAgain, Confirms, Kills, Nothing, RejectsCredential};
    let (now, old) = (clock::now().as_millis(), before(day(1)).as_millis());
    let apns = |status, reason: &str, effect| (Channel::Apn, Answer::apns(status, reason), reason.to_owned(), effect);
    let since =
        |reason: &str, at, effect| (Channel::Apn, Answer::apns_since(410, reason, at), reason.to_owned(), effect);
    let fcm = |status, word: &str, code: Option<&str>, effect| {
        (Channel::Fcm, Answer::fcm(status, word, code), code.unwrap_or(word).to_owned(), effect)
    };
    let rows = [
        (Channel::Apn, Answer::usual(), String::new(), Confirms),
        // APNs, as Apple's table has them.
        apns(400, "BadCollapseId", Nothing),
        apns(400, "BadDeviceToken", Kills),
        apns(400, "BadExpirationDate", Nothing),
        apns(400, "BadMessageId", Nothing),
        apns(400, "BadPriority", Nothing),
        apns(400, "BadTopic", RejectsCredential),
        apns(400, "DeviceTokenNotForTopic", Nothing),
        apns(400, "DuplicateHeaders", Nothing),
        apns(400, "IdleTimeout", Nothing),
        apns(400, "InvalidPushType", Nothing),
        apns(400, "MissingDeviceToken", Nothing),
        apns(400, "MissingTopic", RejectsCredential),
        apns(400, "PayloadEmpty", Nothing),
        apns(400, "TopicDisallowed", RejectsCredential),
        apns(403, "BadCertificate", RejectsCredential),
        apns(403, "BadCertificateEnvironment", RejectsCredential),
        apns(403, "ExpiredProviderToken", RejectsCredential),
        apns(403, "Forbidden", RejectsCredential),
        apns(403, "InvalidProviderToken", RejectsCredential),
        apns(403, "MissingProviderToken", RejectsCredential),
        apns(403, "UnrelatedKeyIdInToken", RejectsCredential),
        apns(403, "BadEnvironmentKeyIdInToken", RejectsCredential),
        apns(404, "BadPath", Nothing),
        apns(405, "MethodNotAllowed", Nothing),
        apns(410, "ExpiredToken", Kills),
        apns(410, "Unregistered", Kills),
        since("Unregistered", now, Kills),
        since("ExpiredToken", now, Kills),
        // Dead since before it was registered again: it is not the registration that we know.
        since("Unregistered", old, Nothing),
        since("ExpiredToken", old, Nothing),
        apns(410, "SomethingNew", Nothing),
        apns(413, "PayloadTooLarge", Nothing),
        apns(429, "TooManyProviderTokenUpdates", AsksAgain),
        apns(429, "TooManyRequests", AsksAgain),
        apns(500, "InternalServerError", AsksAgain),
        apns(503, "ServiceUnavailable", AsksAgain),
        apns(503, "Shutdown", AsksAgain),
        (Channel::Apn, Answer::reply(410, "<html>"), "Status410".to_owned(), Nothing),
        // FCM, as Google's table has them.
        (Channel::Fcm, Answer::usual(), String::new(), Confirms),
        fcm(400, "INVALID_ARGUMENT", None, Nothing),
        fcm(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), Nothing),
        fcm(404, "NOT_FOUND", Some("UNREGISTERED"), Kills),
        fcm(404, "NOT_FOUND", None, RejectsCredential),
        fcm(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), Nothing),
        fcm(403, "PERMISSION_DENIED", None, RejectsCredential),
        fcm(401, "UNAUTHENTICATED", None, RejectsCredential),
        fcm(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"), Nothing),
        fcm(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), AsksAgain),
        fcm(500, "INTERNAL", Some("INTERNAL"), AsksAgain),
        fcm(503, "UNAVAILABLE", Some("UNAVAILABLE"), AsksAgain),
        (Channel::Fcm, Answer::reply(502, "<!DOCTYPE html>"), String::new(), AsksAgain),
    ];
    // Each on a harness of its own, since a credential remembers. They wait for most of the time, so some at once.
    let harnesses = rows.chunks(8);
    for rows in harnesses {
        futures_util::future::join_all(rows.iter().map(|(channel, answer, reason, effect)| async move {
            let (harness, what) = (PushHarness::new().await, format!("{answer:?}"));
            let token = if channel.is(Channel::Apn) { "00ff" } else { "token" };
            let device = harness.register("alice", *channel, token).await;
            match channel {
                Channel::Apn => harness.apple.answer(token, answer.clone()),
                _ => harness.google.answer(token, answer.clone()),
            }
            let later = harness.check(&device).await;
            let binding = harness.binding(device.sid).await.unwrap();
            let (status, health) = match effect {
                Effect::Confirms => ("confirmed", Health::Accepted),
                Effect::Kills => ("dead", Health::Accepted),
                Effect::Nothing | Effect::AsksAgain => ("unconfirmed", harness.health(*channel).await),
                Effect::RejectsCredential => ("unconfirmed", harness.health(*channel).await),
            };
            assert_eq!(binding.status(), status, "{what}");
            assert_eq!(harness.health(*channel).await, health, "{what}");
            if *effect != Effect::RejectsCredential {
                assert!(!matches!(health, Health::Rejected { .. }), "{what}");
            }
            assert_eq!(harness.notifiable("alice").await, Some(*effect != Effect::Kills), "{what}");
            if *effect == Effect::Kills {
                assert_eq!(binding.death.unwrap().reason.as_str(), reason, "{what}");
            }
            if *effect == Effect::RejectsCredential {
                assert!(
                    matches!(&health, Health::Rejected { reason: of, .. } if of.as_str() == reason),
                    "{what}: {health:?}"
                );
                assert_eq!(harness.metrics.counted(Counter::CredentialsRejected), 1, "{what}");
            }
            let is_asked_again = matches!(&later[..], [PushMessage::Probe(Probe { attempts: 1, due_at: Some(_), .. })]);
            assert_eq!(
                (later.len(), is_asked_again),
                if *effect == Effect::AsksAgain { (1, true) } else { (0, false) },
                "{what}"
            );
        }))
        .await;
    }
}

#[tokio::test]
async fn ends_of_registrations_are_counted_by_reason() {
    let harness = PushHarness::new().await;
    for (n, (channel, answer, counter)) in [
        (Channel::Apn, Answer::apns(410, "Unregistered"), Counter::DeathsUnregistered),
        (Channel::Apn, Answer::apns(410, "ExpiredToken"), Counter::DeathsExpiredToken),
        (Channel::Apn, Answer::apns(400, "BadDeviceToken"), Counter::DeathsBadDeviceToken),
        (Channel::Fcm, Answer::fcm(404, "NOT_FOUND", Some("UNREGISTERED")), Counter::DeathsUnregisteredFcm),
        (Channel::Apn, Answer::apns_since(410, "Unregistered", 0), Counter::DeathsIgnored),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("0{n}");
        let device = harness.register("alice", channel, &token).await;
        harness.apple.answer(&token, answer.clone());
        harness.google.answer(&token, answer);
        assert!(harness.check(&device).await.is_empty());
        assert_eq!(harness.metrics.counted(counter), 1, "{counter:?}");
        // The same again: what is dead is not asked about any more.
        harness.check(&device).await;
        assert_eq!(harness.metrics.counted(counter), if counter == Counter::DeathsIgnored { 2 } else { 1 });
    }
}

/// The device registers while the provider is being asked about what it was before.
#[tokio::test]
async fn a_registration_that_overtakes_the_answer_is_kept() {
    let harness = PushHarness::new().await;
    for (channel, token, answer) in [
        (Channel::Apn, "00ff", Answer::apns(410, "Unregistered")),
        (Channel::Apn, "00fe", Answer::apns_since(410, "Unregistered", clock::now().as_millis())),
        (Channel::Fcm, "token", Answer::fcm(404, "NOT_FOUND", Some("UNREGISTERED"))),
    ] {
        let device = harness.register("alice", channel, token).await;
        let slow = answer.clone().after(Duration::from_millis(700));
        harness.apple.answer(token, slow.clone());
        harness.google.answer(token, slow);
        let checking = {
            let (pusher, probe) = (harness.pusher.clone(), PushHarness::probe(&device));
            tokio::spawn(async move { pusher.process(vec![probe]).await })
        };
        until(|| harness.apple.requests_to(token).len() + to_google(&harness, token).len() == 1).await;
        let again = harness.register_at("alice", channel, token, clock::now()).await;
        assert!(checking.await.unwrap().is_empty());
        assert_eq!(harness.binding(device.sid).await, Some(again.clone()), "{token}");
        assert_eq!(harness.notifiable("alice").await, Some(true));
        // Asked about what it is now, it is dead; unless the provider says that it was so before.
        sleep(Duration::from_millis(2)).await;
        harness.apple.answer(token, answer.clone());
        harness.google.answer(token, answer);
        harness.check(&again).await;
        let is_dead = harness.binding(device.sid).await.unwrap().death.is_some();
        assert_eq!(is_dead, token != "00fe", "{token}");
        harness.store.apply(harness.service, device.device(), &unregister(&device), None, clock::now()).await.unwrap();
    }
}

fn unregister(binding: &Binding) -> reachability_domain::push::command::BindingCommand {
    reachability_domain::push::command::BindingCommand::Unregister(binding.sid)
}

/// What Google was sent for this token.
fn to_google(harness: &PushHarness, token: &str) -> Vec<Request> {
    harness.google.requests().into_iter().filter(|request| request.json()["message"]["token"] == token).collect()
}

async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not come");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing is known of a device whose provider cannot be asked, and after a few tries it is left alone.
#[tokio::test]
async fn a_provider_that_is_down_changes_nothing() {
    let harness = PushHarness::new().await;
    harness.apple.down().await;
    let mut devices = Vec::new();
    for n in 0..8 {
        devices.push(harness.register("alice", Channel::Apn, &format!("0{n}")).await);
    }
    for device in &devices {
        let later = harness.check(device).await;
        let [PushMessage::Probe(again)] = &later[..] else { panic!("{later:?}") };
        assert_eq!((again.binding, again.attempts), (device.sid, 1));
        let wait = again.due_at.unwrap().since(clock::now());
        assert!(wait > Duration::from_secs(5) && wait < Duration::from_secs(16), "{wait:?}");
    }
    assert_eq!(harness.notifiable("alice").await, Some(true));
    assert_eq!(harness.health(Channel::Apn).await, Health::Unproven);
    assert_eq!(harness.metrics.counted(Counter::PushesUnavailable), 8);
    // The breaker has opened: it is not even tried.
    harness.apple.up().await;
    let (connections, requests) = (harness.apple.connections(), harness.apple.requests().len());
    harness.check(&devices[0]).await;
    assert_eq!((harness.apple.connections(), harness.apple.requests().len()), (connections, requests));
    // Google is somebody else.
    let device = harness.register("bob", Channel::Fcm, "token").await;
    assert!(harness.check(&device).await.is_empty());
    assert_eq!(harness.binding(device.sid).await.unwrap().status(), "confirmed");
    // After its pause one is tried, and then all.
    sleep(Duration::from_millis(2_100)).await;
    let checks = devices.iter().map(PushHarness::probe);
    harness.handle(checks.clone().take(1).collect()).await;
    harness.handle(checks.collect()).await;
    for device in &devices {
        assert_eq!(harness.binding(device.sid).await.unwrap().status(), "confirmed");
    }
}

/// Has registrations checked again and again, until it is so.
async fn check_until(harness: &PushHarness, device: &Binding, is: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is().await {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", harness.stored(device.channel).await);
        harness.check(device).await;
        sleep(Duration::from_millis(50)).await;
    }
}

/// While its provider cannot be reached a credential says so, and after that what it has said before.
#[tokio::test]
async fn an_outage_is_to_be_seen_on_its_credential() {
    let rejected = Health::Rejected { reason: Reason::new("TopicDisallowed"), at: before(60) };
    let refused = Answer::apns(400, "BadPriority");
    for (known, answer, after, rejections) in [
        (Health::Unproven, Answer::usual(), Health::Accepted, 0),
        (Health::Accepted, Answer::usual(), Health::Accepted, 0),
        (rejected.clone(), Answer::usual(), Health::Accepted, 0),
        // What says nothing of the credential says that the provider is there.
        (Health::Unproven, refused.clone(), Health::Unproven, 0),
        (Health::Accepted, refused.clone(), Health::Accepted, 0),
        (rejected.clone(), refused, rejected.clone(), 0),
        (rejected.clone(), Answer::apns(400, "TopicDisallowed"), rejected.clone(), 1),
        (Health::Accepted, Answer::apns(429, "TooManyRequests"), Health::Accepted, 0),
    ] {
        let harness = PushHarness::new().await;
        let stored = harness.stored(Channel::Apn).await;
        harness.store.replace_credential(&Credential { health: known.clone(), ..stored }).await.unwrap();
        let device = harness.register("alice", Channel::Apn, "00ff").await;
        harness.apple.answer("00ff", answer.clone());
        harness.apple.down().await;
        let started = clock::now();
        for _ in 0..3 {
            harness.handle(vec![PushHarness::probe(&device); 10]).await;
        }
        let during = harness.stored(Channel::Apn).await;
        let outage = during.outage.clone().unwrap();
        assert_eq!(outage.reason.as_str(), "NotConnected");
        assert!(started <= outage.since && outage.since <= clock::now(), "{outage:?}");
        assert_eq!((&during.health, during.version), (&known, 2), "one write for thirty failures");
        harness.apple.up().await;
        check_until(&harness, &device, async || harness.stored(Channel::Apn).await.outage.is_none()).await;
        let credential = harness.stored(Channel::Apn).await;
        assert_eq!((&credential.health, credential.version), (&after, 3), "{known:?}, then {answer:?}");
        assert_eq!(harness.metrics.counted(Counter::CredentialsRejected), rejections, "not for the outage");
        // Google's is another.
        assert_eq!((harness.stored(Channel::Fcm).await.outage, harness.stored(Channel::Fcm).await.version), (None, 0));
    }
}

/// The process that has found it is not there any more, and the credential is as it was stored.
#[tokio::test]
async fn an_outage_ends_when_another_process_gets_an_answer() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    let broken = harness.another_process("https://127.0.0.1:9");
    let check = async |pusher: &reachability_worker::Pusher| {
        assert!(pusher.process(vec![PushHarness::probe(&device)]).await.is_empty());
        harness.queue.take();
        let credential = harness.stored(Channel::Apn).await;
        (credential.outage.map(|outage| outage.reason.to_string()), credential.version)
    };
    let down = |version| (Some("NotConnected".to_owned()), version);
    for _ in 0..3 {
        assert_eq!(check(&broken).await, down(1));
    }
    // Another one that cannot reach it either has nothing to add, nor has the same after a new start.
    assert_eq!(check(&harness.another_process("https://127.0.0.1:9")).await, down(1));
    // One that can writes so once; and the first, which still cannot, does not write the opposite each time.
    assert_eq!(check(&harness.pusher).await, (None, 2));
    for _ in 0..10 {
        assert_eq!(check(&broken).await, (None, 2));
        assert_eq!(check(&harness.pusher).await, (None, 2));
    }
}

/// What the provider asks for is granted to all, with the reason that it gave. Of one device it says nothing of others.
#[tokio::test]
async fn a_pause_is_an_outage_and_has_its_reason() {
    let harness = PushHarness::new().await;
    let mut devices = Vec::new();
    for n in 0..3 {
        devices.push(harness.register("alice", Channel::Apn, &format!("0{n}")).await);
    }
    harness.apple.answer("00", Answer::apns(429, "TooManyRequests").retry_after("60"));
    harness.check(&devices[0]).await;
    assert_eq!(harness.stored(Channel::Apn).await.outage, None);
    harness.check(&devices[1]).await;
    assert_eq!(harness.binding(devices[1].sid).await.unwrap().status(), "confirmed");

    let harness = PushHarness::new().await;
    for n in 0..3 {
        harness.register("alice", Channel::Apn, &format!("0{n}")).await;
    }
    harness.apple.answer_all(Answer::apns(503, "Shutdown").retry_after("60"));
    let deliver = harness.notification(&["alice"], content(), None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    for message in messages {
        harness.handle(vec![message]).await;
    }
    assert_eq!(harness.apple.requests().len(), 1, "the others are held back");
    assert_eq!(harness.stored(Channel::Apn).await.outage.unwrap().reason.as_str(), "Shutdown");
    for delivery in harness.deliveries(deliver.notification).await {
        assert_eq!(delivery.status, DeliveryStatus::Queued { reason: Some(Reason::new("Shutdown")) });
    }
}

/// A check is given up at last, and tried on another occasion. Nothing piles up.
#[tokio::test]
async fn a_check_without_an_answer_is_given_up() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    harness.apple.answer("00ff", Answer::apns(429, "TooManyRequests"));
    let mut messages = vec![PushHarness::probe(&device)];
    let mut waits = Vec::new();
    while !messages.is_empty() {
        let asked = clock::now();
        messages = harness.handle(messages).await;
        waits.extend(messages.iter().filter_map(Message::due_at).map(|at| at.since(asked).as_secs()));
    }
    assert_eq!(waits.len(), 7);
    assert!(waits.is_sorted() && waits[6] >= 450 && waits[6] <= 900, "{waits:?}");
    assert_eq!(harness.notifiable("alice").await, Some(true));
    // What the provider asks for is granted.
    harness.apple.answer("00ff", Answer::apns(429, "TooManyRequests").retry_after("120"));
    let [again] = &harness.check(&device).await[..] else { panic!() };
    let wait = again.due_at().unwrap().since(clock::now());
    assert!(wait >= Duration::from_secs(119) && wait <= Duration::from_secs(151), "{wait:?}");
}

/// Until it is replaced, or the provider changes its mind.
#[tokio::test]
async fn a_rejected_credential_is_to_be_seen() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    let good = harness.store.credential(PushHarness::credential_sid(Channel::Apn)).await.unwrap().unwrap();
    let wrong = reachability_tests::providers::Apple::start().await.key();
    let bad = Credential { sealed: Some(harness.seal.seal(good.sid, &wrong).unwrap()), ..good.clone() };
    harness.store.replace_credential(&bad).await.unwrap();
    assert!(harness.check(&device).await.is_empty());
    assert!(
        matches!(harness.health(Channel::Apn).await, Health::Rejected { reason, .. } if reason.as_str() == "InvalidProviderToken")
    );
    assert_eq!(harness.notifiable("alice").await, Some(true));
    // One that was sealed with another key is no better, and says so.
    let bad = harness.store.credential(good.sid).await.unwrap().unwrap();
    let other = reachability_infra::credentials::seal::Seal::new(&Secret::new("another"));
    let unreadable = Credential { sealed: Some(other.seal(good.sid, &harness.apple.key()).unwrap()), ..bad };
    harness.store.replace_credential(&unreadable).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    harness.check(&device).await;
    assert!(
        matches!(harness.health(Channel::Apn).await, Health::Rejected { reason, .. } if reason.as_str() == "UnreadableSecret")
    );
    let known = harness.store.credential(good.sid).await.unwrap().unwrap();
    harness.store.replace_credential(&Credential { version: known.version, ..good }).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    harness.check(&device).await;
    assert_eq!(harness.health(Channel::Apn).await, Health::Accepted);
    assert_eq!(harness.binding(device.sid).await.unwrap().status(), "confirmed");
}

#[tokio::test]
async fn how_registrations_are_checked_is_set_by_credential() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Fcm, "token").await;
    harness.check(&device).await;
    assert_eq!(to_google(&harness, "token")[0].json()["validate_only"], true);
    // Known to be good since it was asked for.
    let asked_before = PushMessage::Probe(Probe {
        service: harness.service,
        binding: device.sid,
        asked_at: before(10),
        attempts: 0,
        due_at: None,
    });
    harness.handle(vec![asked_before]).await;
    assert_eq!(to_google(&harness, "token").len(), 1);
    let mut checks = vec![1];
    for check in [RegistrationCheck::None, RegistrationCheck::Silent] {
        let known = harness.store.credential(PushHarness::credential_sid(Channel::Fcm)).await.unwrap().unwrap();
        harness.store.replace_credential(&Credential { check, ..known }).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        harness.check(&device).await;
        checks.push(to_google(&harness, "token").len());
    }
    assert_eq!(checks, [1, 1, 2]);
    let silent = to_google(&harness, "token")[1].json();
    assert_eq!((&silent["validate_only"], silent["message"].get("notification")), (&json!(false), None));
}

/// What was unregistered since, or has no credential, is nobody's fault.
#[tokio::test]
async fn what_cannot_be_checked_is_left_alone() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    harness.store.apply(harness.service, device.device(), &unregister(&device), None, clock::now()).await.unwrap();
    assert!(harness.check(&device).await.is_empty());
    let device = harness.register("alice", Channel::Apn, "00fe").await;
    harness.store.delete_credential(PushHarness::credential_sid(Channel::Apn)).await.unwrap();
    assert!(harness.check(&device).await.is_empty());
    assert!(harness.apple.requests().is_empty());
    assert_eq!(harness.notifiable("alice").await, Some(true));
    // A message in the wrong queue goes where somebody looks at it.
    let event = Event {
        user: device.user(),
        connection: "c".parse().unwrap(),
        occurred_at: clock::now(),
        kind: EventKind::Renew { lease: None },
    };
    let envelope = Envelope { id: "1".to_owned(), body: event.to_json(), attempts: 0, accepted_at: None };
    let failures = harness.pusher.handle(&[envelope]).await;
    assert!(matches!(&failures[..], [(0, Failure::Malformed(_))]), "{failures:?}");
    assert!(failures[0].1.is_permanent());
}

/// A user whose devices were not heard of for long says goodbye: they are the only way to her now.
#[tokio::test]
async fn going_offline_asks_about_registrations_of_which_nothing_was_heard() {
    let harness = PushHarness::new().await;
    let timers = Arc::new(Kept::<PresenceMessage>::default());
    let ports = ports(harness.store.clone(), timers, harness.queue.clone(), Arc::default());
    let worker = Worker::new(ports, rules(SETTINGS), Duration::ZERO, clock::now);
    let unproven = harness.register_at("alice", Channel::Apn, "01", before(day(40))).await;
    let proven = harness.register_at("alice", Channel::Apn, "02", before(day(40))).await;
    let over = harness.register_at("alice", Channel::Apn, "03", before(day(365))).await;
    let dead = harness.register_at("alice", Channel::Apn, "04", before(day(40))).await;
    harness.apple.answer("04", Answer::apns(410, "Unregistered"));
    harness.check(&proven).await;
    harness.check(&dead).await;
    let event = |kind| {
        PresenceMessage::Event(Event {
            user: over.user(),
            connection: "c".parse().unwrap(),
            occurred_at: clock::now(),
            kind,
        })
    };
    let now = clock::now();
    assert!(worker.process(vec![event(EventKind::Connect { lease: None, device: None })], now).await.is_empty());
    let probes = |messages: Vec<PushMessage>| -> Vec<PushMessage> {
        messages.into_iter().filter(|message| matches!(message, PushMessage::Probe(_))).collect()
    };
    assert!(probes(harness.queue.take()).is_empty(), "she is there");
    let goodbye = event(EventKind::Disconnect { reason: EndReason::ClientClosed });
    assert!(worker.process(vec![goodbye.clone()], clock::now()).await.is_empty());
    let asked = probes(harness.queue.take());
    assert!(matches!(&asked[..], [PushMessage::Probe(probe)] if probe.binding == unproven.sid), "{asked:?}");
    worker.process(vec![goodbye], clock::now()).await;
    assert!(probes(harness.queue.take()).is_empty(), "once");
    harness.handle(asked).await;
    assert_eq!(harness.binding(unproven.sid).await.unwrap().status(), "confirmed");
}

/// Once a day.
#[tokio::test]
async fn registrations_are_looked_through() {
    let harness = PushHarness::new().await;
    let year = REGISTERED_FOR.as_secs();
    let over = harness.register_at("over", Channel::Apn, "01", before(year)).await;
    let ending = harness.register_at("ending", Channel::Apn, "02", before(year - day(29))).await;
    let fine = harness.register_at("fine", Channel::Apn, "03", before(year - day(31))).await;
    let dead = harness.register_at("dead", Channel::Apn, "04", before(day(100))).await;
    let long_dead = harness.register_at("long dead", Channel::Apn, "05", before(year + KEEP_DEAD.as_secs())).await;
    harness.apple.answer("04", Answer::apns(400, "BadDeviceToken"));
    harness.check(&dead).await;
    for n in 0..1_100 {
        harness.register("somebody", Channel::Fcm, &format!("token-{n}")).await;
        harness.register(&format!("user {n}"), Channel::Fcm, &format!("t-{n}")).await;
    }
    let mut messages = vec![PushMessage::ScanServices(ScanServices { after: None })];
    let (mut probes, mut sweeps) = (Vec::new(), 0);
    while !messages.is_empty() {
        sweeps += messages.len();
        let later = harness.handle(messages).await;
        let (asked, more): (Vec<PushMessage>, Vec<PushMessage>) =
            later.into_iter().partition(|message| matches!(message, PushMessage::Probe(_)));
        probes.extend(asked);
        messages = more;
    }
    assert!((1 + 1 + 30..=1 + 1 + 64).contains(&sweeps), "a page, and what is behind it in parts: {sweeps}");
    assert!(matches!(&probes[..], [PushMessage::Probe(probe)] if probe.binding == ending.sid), "{probes:?}");
    let status = async |binding: &Binding| harness.binding(binding.sid).await.map(|it| it.status());
    assert_eq!(status(&over).await, Some("dead"));
    assert_eq!(status(&fine).await, Some("unconfirmed"));
    assert_eq!(status(&dead).await, Some("dead"));
    assert_eq!(harness.metrics.counted(Counter::DeathsExpired), 2);
    // What is found to be over is kept for a while, from its end on.
    assert_eq!(status(&long_dead).await, Some("dead"));
    harness
        .handle(vec![PushMessage::ScanBindings(ScanBindings { service: harness.service, span: Span::default() })])
        .await;
    assert_eq!(status(&long_dead).await, None);
    for (identity, notifiable) in
        [("over", false), ("ending", true), ("fine", true), ("dead", false), ("long dead", false), ("user 7", true)]
    {
        assert_eq!(harness.notifiable(identity).await, Some(notifiable), "{identity}");
    }
    assert_eq!(MAX_DEVICES, 50, "somebody has no more");
}

/// When reachability is switched on, of all that there are, a part at a time.
#[tokio::test]
async fn switching_on_tells_of_all_registrations() {
    let harness = PushHarness::new().await;
    let mut users = Vec::new();
    for n in 0..600 {
        users.push(harness.register(&format!("user {n}"), Channel::Fcm, &format!("token-{n}")).await.user());
    }
    let mut service = harness.store.service(harness.service).await.unwrap().unwrap();
    for on in [false, true] {
        service.configuration.set_reachability_enabled(on, clock::now());
    }
    harness.store.replace_service(&service).await.unwrap();
    let told = async || {
        let states = harness.store.states(&users).await.unwrap();
        states.iter().filter(|state| state.registrations.announced_in() == Some(Generation(2))).count()
    };
    let announce = |generation| {
        PushMessage::Announce(Announce {
            service: harness.service,
            generation: Generation(generation),
            span: Span::default(),
        })
    };
    // Of a time that is over, and of one that is not yet known here.
    for generation in [1, 3] {
        assert!(harness.handle(vec![announce(generation)]).await.is_empty());
    }
    assert_eq!(told().await, 0);
    let more = harness.handle(vec![announce(2)]).await;
    assert_eq!(told().await, 500);
    assert!(harness.handle(more.clone()).await.is_empty());
    assert_eq!(told().await, 600);
    // Delivered again, there is nothing left to tell.
    let before = harness.store.states(&users).await.unwrap();
    harness.handle([more, vec![announce(2)]].concat()).await;
    assert_eq!(harness.store.states(&users).await.unwrap(), before);
    service.version += 1;
    service.configuration.set_reachability_enabled(false, clock::now());
    harness.store.replace_service(&service).await.unwrap();
    assert!(harness.handle(vec![announce(2)]).await.is_empty(), "off again");
}

fn content() -> Content {
    Content {
        title: Some("Title".to_owned()),
        body: Some("Body".to_owned()),
        data: serde_json::from_value(json!({ "room": 7 })).unwrap(),
        sound: Some("ping".to_owned()),
        ..Content::default()
    }
}

/// To all devices of some users, with what becomes of it on each.
#[tokio::test]
async fn a_notification_goes_to_all_devices() {
    let harness = PushHarness::new().await;
    let good = harness.register("alice", Channel::Apn, "01").await;
    let android = harness.register("alice", Channel::Gcm, "token").await;
    let dying = harness.register("bob", Channel::Apn, "02").await;
    let dead = harness.register("bob", Channel::Apn, "03").await;
    let other = harness.register("carol", Channel::Apn, "04").await;
    harness.apple.answer("02", Answer::apns(410, "Unregistered"));
    harness.apple.answer("03", Answer::apns(410, "Unregistered"));
    harness.check(&dead).await;
    let deliver = harness.notification(&["alice", "bob", "nobody", "alice"], content(), Some(60)).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(harness.deliveries(deliver.notification).await.iter().all(|it| it.status == DeliveryStatus::NEW));
    assert!(harness.handle(messages).await.is_empty());
    let status = async |binding: &Binding| {
        let deliveries = harness.deliveries(deliver.notification).await;
        deliveries.into_iter().find(|it| it.binding_sid == binding.sid).map(|delivery: Delivery| delivery.status)
    };
    let apns_id = harness.apple.requests_to("01")[0].header("apns-id").to_owned();
    assert_eq!(status(&good).await, Some(DeliveryStatus::Accepted { id: Some(apns_id) }));
    assert!(matches!(status(&android).await, Some(DeliveryStatus::Accepted { id: Some(_) })));
    assert_eq!(status(&dying).await, Some(DeliveryStatus::Failed { reason: Reason::new("Unregistered") }));
    assert_eq!(status(&dead).await, None);
    assert_eq!(status(&other).await, None);
    // What providers say is kept, as if they had been asked.
    assert_eq!(harness.notifiable("alice").await, Some(true));
    assert_eq!(harness.notifiable("bob").await, Some(false));
    assert_eq!(harness.binding(good.sid).await.unwrap().status(), "confirmed");
    let shown = harness.apple.shown("01");
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["aps"]["alert"], json!({ "title": "Title", "body": "Body" }));
    assert_eq!((&shown[0]["aps"]["sound"], &shown[0]["room"]), (&json!("ping"), &json!(7)));
}

/// However often its messages are delivered, and at the same time.
#[tokio::test]
async fn a_redelivered_notification_is_shown_once() {
    let harness = PushHarness::new().await;
    let phone = harness.register("alice", Channel::Apn, "01").await;
    harness.register("alice", Channel::Fcm, "token").await;
    let deliver = harness.notification(&["alice"], content(), None).await;
    let all = PushMessage::Deliver(deliver.clone());
    let first = harness.handle(vec![all.clone(), all.clone()]).await;
    assert_eq!(first.len(), 4);
    harness.handle([first.clone(), first.clone()].concat()).await;
    assert!(harness.apple.requests_to("01").len() > 1, "two at once both find it unsent");
    assert_eq!(harness.apple.shown("01").len(), 1);
    assert_eq!(harness.google.shown("token").len(), 1);
    // Once it is known what became of it, it is not even sent.
    let sent = harness.apple.requests().len();
    let again = harness.handle(vec![all]).await;
    harness.handle(again).await;
    assert_eq!(harness.apple.requests().len(), sent);
    // The answer is lost, and with it the knowledge that it was sent.
    let deliver = harness.notification(&["alice"], content(), None).await;
    harness.apple.answer_once("01", Answer::reset());
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    harness.handle(messages).await;
    assert_eq!(harness.apple.shown("01").len(), 2, "each of the two once");
    let delivery = harness.store.delivery(deliver.notification, phone.sid).await.unwrap().unwrap();
    assert!(matches!(delivery.status, DeliveryStatus::Accepted { .. }));
}

/// What waits for another attempt says why. It is written when it is new, and not with each attempt.
#[tokio::test]
async fn what_is_not_delivered_yet_says_why() {
    let harness = PushHarness::new().await;
    for n in 0..8 {
        harness.register("alice", Channel::Apn, &format!("0{n}")).await;
    }
    let deliver = harness.notification(&["alice"], content(), None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let deliveries = async || harness.deliveries(deliver.notification).await;
    assert!(deliveries().await.iter().all(|it| it.status == DeliveryStatus::NEW));
    harness.apple.down().await;
    // Some of the second time are held back, since the breaker is open.
    let messages = harness.handle(messages).await;
    let first = deliveries().await;
    let queued = |reason: &str| DeliveryStatus::Queued { reason: Some(Reason::new(reason)) };
    assert_eq!(first.iter().filter(|it| it.status == queued("NotConnected")).count(), 8, "{first:?}");
    let mut messages = harness.handle(messages).await;
    assert_eq!(deliveries().await, first, "nothing new, and nothing written");
    // It answers again, and has another excuse.
    harness.apple.up().await;
    harness.apple.answer("00", Answer::apns(429, "TooManyRequests"));
    let started = Instant::now();
    while messages.len() > 1 {
        assert!(started.elapsed() < Duration::from_secs(60), "{messages:?}");
        sleep(Duration::from_millis(50)).await;
        // As if the time had come.
        let again = |message| match message {
            PushMessage::Deliver(deliver) => PushMessage::Deliver(Deliver { attempts: 1, ..deliver }),
            other => other,
        };
        messages = harness.handle(messages.into_iter().map(again).collect()).await;
    }
    let last = deliveries().await;
    assert_eq!(last.iter().filter(|it| it.status == queued("TooManyRequests")).count(), 1, "{last:?}");
    assert_eq!(last.iter().filter(|it| it.status.as_str() == "accepted").count(), 7, "{last:?}");
}

/// Because there is no time left, no device, no credential, or no provider.
#[tokio::test]
async fn what_is_not_delivered_says_why() {
    let harness = PushHarness::new().await;
    let phone = harness.register("alice", Channel::Apn, "01").await;
    let reason = async |deliver: &Deliver| match harness.store.delivery(deliver.notification, phone.sid).await.unwrap()
    {
        Some(Delivery { status: DeliveryStatus::Failed { reason }, .. }) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    let queued = async |ttl| {
        let deliver = harness.notification(&["alice"], content(), ttl).await;
        (deliver.clone(), harness.handle(vec![PushMessage::Deliver(deliver)]).await)
    };
    // For now or never: the provider is told so, and once is all.
    let (now, messages) = queued(Some(0)).await;
    harness.handle(messages).await;
    let delivery = harness.store.delivery(now.notification, phone.sid).await.unwrap().unwrap();
    assert_eq!(delivery.status.as_str(), "accepted");
    assert_eq!(harness.apple.requests_to("01")[0].header("apns-expiration"), "0");
    let (expired, messages) = queued(Some(0)).await;
    harness.apple.answer_once("01", Answer::apns(429, "TooManyRequests"));
    let again = harness.handle(messages).await;
    assert!(harness.handle(again).await.is_empty());
    assert_eq!(reason(&expired).await, "Expired");

    // Trouble passes, or does not.
    let (busy, mut messages) = queued(None).await;
    harness.apple.answer("01", Answer::apns(429, "TooManyRequests"));
    let mut tries = 0;
    while !messages.is_empty() {
        messages = harness.handle(messages).await;
        tries += 1;
    }
    assert_eq!((tries, reason(&busy).await.as_str()), (8, "TooManyRequests"));

    let (no_credential, messages) = queued(None).await;
    let credential = harness.store.credential(PushHarness::credential_sid(Channel::Apn)).await.unwrap().unwrap();
    harness.store.delete_credential(credential.sid).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    harness.handle(messages).await;
    assert_eq!(reason(&no_credential).await, "NoCredential");

    let (gone, messages) = queued(None).await;
    harness.store.apply(harness.service, phone.device(), &unregister(&phone), None, clock::now()).await.unwrap();
    harness.handle(messages).await;
    assert_eq!(reason(&gone).await, "NotRegistered");
    // Nobody has made it, or it has been forgotten.
    let unknown = Deliver { notification: Sid::from_bits(9), ..gone };
    assert!(harness.handle(vec![PushMessage::Deliver(unknown)]).await.is_empty());
}
