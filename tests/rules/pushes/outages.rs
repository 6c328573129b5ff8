//! Providers that cannot be reached, or that ask for a pause.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use reachability_domain::metrics::Counter;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health};
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::DeliveryStatus;
use reachability_domain::push::reason::Reason;
use reachability_domain::queue::Message;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;
use reachability_worker::Pusher;
use tokio::time::sleep;

use super::{before, content, to_google};

/// A check that does not reach the provider changes nothing, and is tried again later.
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
    // The breaker is open: there is not even an attempt.
    harness.apple.up().await;
    let (connections, requests) = (harness.apple.connections(), harness.apple.requests().len());
    harness.check(&devices[0]).await;
    assert_eq!((harness.apple.connections(), harness.apple.requests().len()), (connections, requests));
    // Google has its own breaker.
    let device = harness.register("bob", Channel::Fcm, "token").await;
    assert!(harness.check(&device).await.is_empty());
    assert_eq!(harness.binding(device.sid).await.unwrap().status(), "confirmed");
    // After the pause one request is tried, and then all.
    sleep(Duration::from_millis(2_100)).await;
    let checks = devices.iter().map(PushHarness::probe);
    harness.handle(checks.clone().take(1).collect()).await;
    harness.handle(checks.collect()).await;
    for device in &devices {
        assert_eq!(harness.binding(device.sid).await.unwrap().status(), "confirmed");
    }
}

/// Checks a registration repeatedly until a condition holds.
async fn check_until(harness: &PushHarness, device: &Binding, is: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is().await {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", harness.stored(device.channel).await);
        harness.check(device).await;
        sleep(Duration::from_millis(50)).await;
    }
}

/// While the provider cannot be reached, the credential has an outage. Its health stays as it was.
#[tokio::test]
async fn an_outage_is_shown_on_its_credential() {
    let rejected = Health::Rejected { reason: Reason::new("TopicDisallowed"), at: before(60) };
    let refused = Answer::apns(400, "BadPriority");
    for (known, answer, after, rejections) in [
        (Health::Unproven, Answer::usual(), Health::Accepted, 0),
        (Health::Accepted, Answer::usual(), Health::Accepted, 0),
        (rejected.clone(), Answer::usual(), Health::Accepted, 0),
        // An answer that is not about the credential still ends the outage.
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
        // Google's credential has no outage.
        assert_eq!((harness.stored(Channel::Fcm).await.outage, harness.stored(Channel::Fcm).await.version), (None, 0));
    }
}

/// The outage was found by another process, and is known only from the store.
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
    // Another process that cannot reach the provider either writes nothing, nor does a restarted one.
    assert_eq!(check(&harness.another_process("https://127.0.0.1:9")).await, down(1));
    // A process that can reach it ends the outage with one write. The first one, which still cannot, does not start it
    // again.
    assert_eq!(check(&harness.pusher).await, (None, 2));
    for _ in 0..10 {
        assert_eq!(check(&broken).await, (None, 2));
        assert_eq!(check(&harness.pusher).await, (None, 2));
    }
}

/// A pause that the provider asks for holds back all its pushes, with the provider's reason. A pause for one device
/// does not affect the others.
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
    harness.handle_one_by_one(messages).await;
    assert_eq!(harness.apple.requests().len(), 1, "the others are held back");
    assert_eq!(harness.stored(Channel::Apn).await.outage.unwrap().reason.as_str(), "Shutdown");
    for delivery in harness.deliveries(deliver.notification).await {
        assert_eq!(delivery.status, DeliveryStatus::Queued { reason: Some(Reason::new("Shutdown")) });
    }
}

/// FCM answers with the same 429 whether one device gets too many messages or the project sends too many.
#[tokio::test]
async fn a_throttled_device_holds_no_other_back() {
    static NOW: AtomicI64 = AtomicI64::new(1_795_132_800_000);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    let mut devices = Vec::new();
    for n in 0..8 {
        devices.push(harness.register("alice", Channel::Fcm, &format!("token-{n}")).await);
    }
    let quota = || Answer::fcm(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"));
    harness.google.answer("token-0", quota());
    let is_asked_again = async |n: usize| {
        let before = to_google(&harness, &format!("token-{n}")).len();
        let later = harness.check(&devices[n]).await;
        let waits = later.iter().map(|message| message.due_at().unwrap().since(harness.now()).as_secs());
        (to_google(&harness, &format!("token-{n}")).len() - before, waits.collect::<Vec<_>>())
    };
    let (asked, waits) = is_asked_again(0).await;
    assert!(asked == 1 && (60..=90).contains(&waits[0]), "a minute, as Google names no pause: {waits:?}");
    // For this minute, nothing is sent to the device, and the others are not affected.
    assert_eq!(is_asked_again(0).await.0, 0);
    for n in 1..8 {
        assert_eq!(is_asked_again(n).await, (1, vec![]));
    }
    assert_eq!(harness.stored(Channel::Fcm).await.outage, None);
    NOW.fetch_add(61_000, Ordering::SeqCst);
    assert_eq!(is_asked_again(0).await.0, 1);

    // Five different devices in a row: the project is throttled, and all wait.
    NOW.fetch_add(61_000, Ordering::SeqCst);
    for n in 0..8 {
        harness.google.answer(&format!("token-{n}"), quota());
    }
    let mut asked = Vec::new();
    for n in 0..8 {
        asked.push(is_asked_again(n).await.0);
    }
    assert_eq!(asked, [1, 1, 1, 1, 1, 0, 0, 0]);
    // An outage is reported once there was no answer for some seconds.
    NOW.fetch_add(6_000, Ordering::SeqCst);
    assert_eq!(is_asked_again(7).await.0, 0);
    assert_eq!(harness.stored(Channel::Fcm).await.outage.unwrap().reason.as_str(), "QUOTA_EXCEEDED");
    // After a minute one is tried, and then all.
    for n in 0..8 {
        harness.google.answer(&format!("token-{n}"), Answer::usual());
    }
    NOW.fetch_add(61_000, Ordering::SeqCst);
    for n in 0..8 {
        assert_eq!(is_asked_again(n).await, (1, vec![]));
    }
    assert_eq!(harness.stored(Channel::Fcm).await.outage, None);
}
