//! Providers that cannot be reached, or that ask for a pause.

use std::time::{Duration, Instant};

use reachability_domain::metrics::Counter;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health};
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::DeliveryStatus;
use reachability_domain::push::reason::Reason;
use reachability_infra::clock;
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;
use reachability_worker::Pusher;
use tokio::time::sleep;

use super::{before, content};

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
async fn an_outage_is_shown_on_its_credential() {
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
    let check = async |pusher: &Pusher| {
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
