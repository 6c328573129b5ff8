//! The effects of a provider's answer on a registration and on its credential.

use std::time::{Duration, Instant};

use reachability_domain::metrics::Counter;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::Health;
use reachability_domain::push::message::{Probe, PushMessage};
use reachability_infra::clock;
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;
use tokio::time::sleep;

use super::{before, day, to_google, unregister};

/// The effect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The registration is confirmed.
    Confirms,
    /// The registration is dead, and its user is not notifiable any more.
    Kills,
    /// The token does not fit the credential, in either environment: nothing can be delivered. One of both is wrong.
    Mismatches,
    /// The credential is rejected. The registration stays as it is.
    RejectsCredential,
    /// Nothing changes.
    Nothing,
    /// Nothing changes yet: the provider will be asked again.
    AsksAgain,
}

/// Every documented answer, and its effect on the registration, on the credential, and on `is_notifiable`.
#[tokio::test]
async fn every_answer_has_its_effect() {
    use Effect::{AsksAgain, Confirms, Kills, Mismatches, Nothing, RejectsCredential};
    let (now, old) = (clock::now().as_millis(), before(day(1)).as_millis());
    let apns = |status, reason: &str, effect| (Channel::Apn, Answer::apns(status, reason), reason.to_owned(), effect);
    let since =
        |reason: &str, at, effect| (Channel::Apn, Answer::apns_since(410, reason, at), reason.to_owned(), effect);
    let fcm = |status, word: &str, code: Option<&str>, effect| {
        (Channel::Fcm, Answer::fcm(status, word, code), code.unwrap_or(word).to_owned(), effect)
    };
    let rows = [
        (Channel::Apn, Answer::usual(), String::new(), Confirms),
        // APNs, from Apple's table.
        apns(400, "BadCollapseId", Nothing),
        apns(400, "BadDeviceToken", Mismatches),
        apns(400, "BadExpirationDate", Nothing),
        apns(400, "BadMessageId", Nothing),
        apns(400, "BadPriority", Nothing),
        apns(400, "BadTopic", RejectsCredential),
        apns(400, "DeviceTokenNotForTopic", Mismatches),
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
        // Dead since before the registration: the answer is about an earlier one.
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
        // FCM, from Google's table.
        (Channel::Fcm, Answer::usual(), String::new(), Confirms),
        fcm(400, "INVALID_ARGUMENT", None, Mismatches),
        fcm(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), Mismatches),
        fcm(404, "NOT_FOUND", Some("UNREGISTERED"), Kills),
        fcm(404, "NOT_FOUND", None, RejectsCredential),
        fcm(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), Mismatches),
        fcm(403, "PERMISSION_DENIED", None, RejectsCredential),
        fcm(401, "UNAUTHENTICATED", None, RejectsCredential),
        fcm(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"), Nothing),
        fcm(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), AsksAgain),
        fcm(500, "INTERNAL", Some("INTERNAL"), AsksAgain),
        fcm(503, "UNAVAILABLE", Some("UNAVAILABLE"), AsksAgain),
        (Channel::Fcm, Answer::reply(502, "<!DOCTYPE html>"), String::new(), AsksAgain),
    ];
    // Each row has its own harness, since a credential keeps its health. They mostly wait, so some run concurrently.
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
                Effect::Mismatches => ("undeliverable", harness.health(*channel).await),
                Effect::Nothing | Effect::AsksAgain => ("unconfirmed", harness.health(*channel).await),
                Effect::RejectsCredential => ("unconfirmed", harness.health(*channel).await),
            };
            let is_dead = matches!(effect, Effect::Kills | Effect::Mismatches);
            assert_eq!(binding.status(), status, "{what}");
            assert_eq!(harness.health(*channel).await, health, "{what}");
            if *effect != Effect::RejectsCredential {
                assert!(!matches!(health, Health::Rejected { .. }), "{what}");
            }
            assert_eq!(harness.notifiable("alice").await, Some(!is_dead), "{what}");
            if *effect == Effect::Mismatches {
                assert!(
                    matches!(&health, Health::Mismatched { reason: of, .. } if of.as_str() == reason),
                    "{health:?}"
                );
            }
            if is_dead {
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
        // A second check: the provider is not asked about a dead registration again.
        harness.check(&device).await;
        assert_eq!(harness.metrics.counted(counter), if counter == Counter::DeathsIgnored { 2 } else { 1 });
    }
}

/// The device registers again while the provider is asked about the earlier registration.
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
        // A check of the new registration finds it dead, unless the provider says that it died before.
        sleep(Duration::from_millis(2)).await;
        harness.apple.answer(token, answer.clone());
        harness.google.answer(token, answer);
        harness.check(&again).await;
        let is_dead = harness.binding(device.sid).await.unwrap().death.is_some();
        assert_eq!(is_dead, token != "00fe", "{token}");
        harness.store.apply(harness.service, device.device(), &unregister(&device), None, clock::now()).await.unwrap();
    }
}

async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not come");
        sleep(Duration::from_millis(5)).await;
    }
}
