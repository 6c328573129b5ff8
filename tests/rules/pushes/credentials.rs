//! Credentials that a provider rejects, and certificates that expire.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reachability_domain::metrics::Counter;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, Method};
use reachability_domain::push::message::{Deliver, PushMessage, ScanServices};
use reachability_domain::push::notification::DeliveryStatus;
use reachability_domain::push::reason::Reason;
use reachability_domain::queue::Message;
use reachability_domain::time::Timestamp;
use reachability_tests::providers::{Answer, Apple};
use reachability_tests::push_harness::PushHarness;

use super::content;

const START: i64 = 1_795_132_800_000;

/// The owner uploads the right key some minutes later: nothing is lost. The key is tried once a minute meanwhile, not for
/// every device.
#[tokio::test]
async fn deliveries_wait_while_their_credential_is_rejected() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    for n in 0..10 {
        harness.register("alice", Channel::Apn, &format!("0{n}")).await;
    }
    harness.apple.answer_all(Answer::apns(403, "InvalidProviderToken"));
    let deliver = harness.notification(&["alice"], content(), None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let mut messages = harness.handle_one_by_one(messages).await;
    assert_eq!(harness.apple.requests().len(), 1);
    let rejected = Some(Reason::new("InvalidProviderToken"));
    for attempts in 1..4 {
        assert_eq!(messages.len(), 10);
        for delivery in harness.deliveries(deliver.notification).await {
            assert_eq!(delivery.status, DeliveryStatus::Queued { reason: rejected.clone() });
            assert_eq!(delivery.attempts, attempts);
            assert!(delivery.next_attempt_at.unwrap().since(harness.now()) >= Duration::from_secs(60));
        }
        assert_eq!(harness.apple.requests().len(), attempts as usize);
        let last = messages.iter().filter_map(Message::due_at).max().unwrap();
        NOW.store(last.as_millis(), Ordering::SeqCst);
        messages = harness.handle_one_by_one(messages).await;
    }
    // The right key.
    harness.apple.answer_all(Answer::usual());
    let stored = harness.stored(Channel::Apn).await;
    assert!(matches!(stored.health, Health::Rejected { .. }));
    let sealed = harness.seal.seal(stored.sid, &harness.apple.key()).unwrap();
    let mended = Credential { health: Health::Unproven, sealed: Some(sealed), ..stored };
    harness.store.replace_credential(&mended).await.unwrap();
    NOW.fetch_add(600_000, Ordering::SeqCst);
    assert!(harness.handle(messages).await.is_empty());
    for delivery in harness.deliveries(deliver.notification).await {
        assert_eq!(delivery.status.as_str(), "accepted");
    }
    for n in 0..10 {
        assert_eq!(harness.apple.shown(&format!("0{n}")).len(), 1);
    }
}

/// A delivery waits no longer than its notification is worth something, and then says why.
#[tokio::test]
async fn deliveries_of_a_rejected_credential_fail_when_they_expire() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    harness.register("alice", Channel::Apn, "01").await;
    harness.apple.answer_all(Answer::apns(403, "InvalidProviderToken"));
    for (ttl, least, most) in [(Some(3_600), 1_000, 3_600), (None, 5 * 86_400, 6 * 86_400)] {
        let started = harness.now();
        let deliver = harness.notification(&["alice"], content(), ttl).await;
        let mut messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
        while let [message] = &messages[..] {
            NOW.fetch_max(message.due_at().unwrap_or_default().as_millis(), Ordering::SeqCst);
            messages = harness.handle(messages).await;
        }
        let delivery = harness.deliveries(deliver.notification).await.remove(0);
        assert_eq!(delivery.status, DeliveryStatus::Failed { reason: Reason::new("InvalidProviderToken") });
        let took = delivery.date_updated.since(started).as_secs();
        assert!(least < took && took <= most && delivery.next_attempt_at.is_none(), "{took}");
    }
}

/// A message that was delayed beyond the end of its notification is not sent, and keeps the reason of the last attempt.
#[tokio::test]
async fn a_late_retry_keeps_the_reason() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    harness.register("alice", Channel::Apn, "01").await;
    harness.apple.answer_all(Answer::apns(500, "InternalServerError"));
    let deliver = harness.notification(&["alice"], content(), Some(3_600)).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let messages = harness.handle(messages).await;
    let [PushMessage::Deliver(Deliver { attempts: 1, .. })] = &messages[..] else { panic!("{messages:?}") };
    NOW.fetch_add(3_600_000, Ordering::SeqCst);
    assert!(harness.handle(messages).await.is_empty());
    let delivery = harness.deliveries(deliver.notification).await.remove(0);
    assert_eq!(delivery.status, DeliveryStatus::Failed { reason: Reason::new("InternalServerError") });
    assert_eq!(harness.apple.requests().len(), 1);
}

/// Once a day the certificates are looked at. One that has expired is rejected, and nothing is sent with it.
#[tokio::test]
async fn an_expired_certificate_is_noticed() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    let device = harness.register("alice", Channel::Apn, "01").await;
    let stored = harness.stored(Channel::Apn).await;
    let not_after = harness.now().plus(Duration::from_secs(31 * 86_400));
    let by_certificate = Credential {
        method: Method::ApnsCertificate { topic: Apple::TOPIC.to_owned(), not_after },
        sealed: Some(harness.seal.seal(stored.sid, &harness.apple.certificate()).unwrap()),
        ..stored
    };
    harness.store.replace_credential(&by_certificate).await.unwrap();
    let scan = async || {
        harness.handle(vec![PushMessage::ScanServices(ScanServices { after: None })]).await;
        harness.metrics.counted(Counter::CertificatesExpiring)
    };
    assert_eq!(scan().await, 0);
    assert!(harness.check(&device).await.is_empty());
    assert_eq!(harness.health(Channel::Apn).await, Health::Accepted);
    NOW.fetch_add(2 * 86_400_000, Ordering::SeqCst);
    assert_eq!(scan().await, 1, "in less than 30 days");
    NOW.store(not_after.as_millis(), Ordering::SeqCst);
    assert_eq!(scan().await, 2);
    let before = harness.apple.requests().len();
    let deliver = harness.notification(&["alice"], content(), None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver)]).await;
    assert_eq!(harness.handle(messages).await.len(), 1, "it waits for another certificate");
    assert_eq!(harness.apple.requests().len(), before);
    let expired = Reason::new("CertificateExpired");
    assert!(matches!(harness.health(Channel::Apn).await, Health::Rejected { reason, .. } if reason == expired));
    assert_eq!(harness.stored(Channel::Apn).await.outage, None, "Apple is not to blame");
}
