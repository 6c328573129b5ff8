//! Notifications and their deliveries.

use std::time::{Duration, Instant};

use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::message::{Deliver, PushMessage};
use reachability_domain::push::notification::{Delivery, DeliveryStatus};
use reachability_domain::push::reason::Reason;
use reachability_domain::push::tag::Tag;
use reachability_domain::sid::Sid;
use reachability_infra::clock;
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;
use reachability_worker::Failure;
use serde_json::json;
use tokio::time::sleep;

use super::{content, unregister};

/// It goes to all devices of its users, with a delivery for each.
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
    assert_eq!(messages.len(), 2, "one for each provider: {messages:?}");
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
    // The providers' answers count as answers to a check.
    assert_eq!(harness.notifiable("alice").await, Some(true));
    assert_eq!(harness.notifiable("bob").await, Some(false));
    assert_eq!(harness.binding(good.sid).await.unwrap().status(), "confirmed");
    let shown = harness.apple.shown("01");
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["aps"]["alert"], json!({ "title": "Title", "body": "Body" }));
    assert_eq!((&shown[0]["aps"]["sound"], &shown[0]["room"]), (&json!("ping"), &json!(7)));
}

/// To how many devices these messages are.
fn to(messages: &[PushMessage]) -> usize {
    let of = |message: &PushMessage| match message {
        PushMessage::Deliver(deliver) => deliver.devices().len(),
        other => panic!("{other:?}"),
    };
    messages.iter().map(of).sum()
}

/// With tags, it goes to those devices of its users that have all of them.
#[tokio::test]
async fn tags_select_the_devices_of_a_notification() {
    let harness = PushHarness::new().await;
    let given = |words: &[&str]| -> Vec<Tag> { words.iter().map(|word| word.parse().unwrap()).collect() };
    let devices = [
        ("alice", Channel::Apn, "01", &["vip", "berlin"] as &[&str]),
        ("alice", Channel::Fcm, "token-1", &["vip"]),
        ("bob", Channel::Gcm, "token-2", &["berlin", "vip", "x"]),
        ("bob", Channel::Apn, "02", &[]),
        ("carol", Channel::Apn, "03", &["vip", "berlin"]),
    ];
    for (identity, channel, token, words) in devices {
        harness.register_tagged(identity, channel, token, given(words)).await;
    }
    for (words, reached) in [
        (&[] as &[&str], &["01", "02", "token-1", "token-2"] as &[&str]),
        (&["all"], &["01", "02", "token-1", "token-2"]),
        (&["vip"], &["01", "token-1", "token-2"]),
        (&["berlin", "vip"], &["01", "token-2"]),
        (&["vip", "fcm"], &["token-1", "token-2"]),
        (&["apn"], &["01", "02"]),
        (&["apn", "gcm"], &[]),
        (&["vip", "nothing"], &[]),
    ] {
        let deliver = harness.tagged_notification(&["alice", "bob"], given(words), content(), None).await;
        let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
        assert_eq!(to(&messages), reached.len(), "{words:?}");
        assert!(harness.handle(messages).await.is_empty());
        let mut tokens = Vec::new();
        for delivery in harness.deliveries(deliver.notification).await {
            assert_eq!(delivery.status.as_str(), "accepted", "{words:?}");
            tokens.push(harness.binding(delivery.binding_sid).await.unwrap().address.as_str().to_owned());
        }
        tokens.sort_unstable();
        assert_eq!(tokens, reached, "{words:?}");
    }
}

/// Its messages are delivered several times, also concurrently.
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
    // Once a delivery has its result, it is not sent again.
    let sent = harness.apple.requests().len();
    let again = harness.handle(vec![all]).await;
    harness.handle(again).await;
    assert_eq!(harness.apple.requests().len(), sent);
    // The answer is lost, so the pusher does not know that the push was sent.
    let deliver = harness.notification(&["alice"], content(), None).await;
    harness.apple.answer_once("01", Answer::reset());
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let again = harness.handle(messages).await;
    let [PushMessage::Deliver(later)] = &again[..] else { panic!("{again:?}") };
    assert_eq!(later.unanswered, 1);
    assert!(later.due_at.unwrap().since(clock::now()) > Duration::from_secs(50), "late: it may have arrived");
    harness.handle(again).await;
    assert_eq!(harness.apple.shown("01").len(), 2, "each of the two once");
    let delivery = harness.delivery(deliver.notification, phone.sid).await.unwrap();
    assert!(matches!(delivery.status, DeliveryStatus::Accepted { .. }));
}

/// A delivery that waits for another attempt has the reason, and says how often it was tried and when it is tried again.
#[tokio::test]
async fn a_queued_delivery_says_why() {
    let harness = PushHarness::new().await;
    for n in 0..8 {
        harness.register("alice", Channel::Apn, &format!("0{n}")).await;
    }
    let deliver = harness.notification(&["alice"], content(), None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let deliveries = async || harness.deliveries(deliver.notification).await;
    assert!(deliveries().await.iter().all(|it| it.status == DeliveryStatus::NEW));
    harness.apple.down().await;
    // At the second attempt some are held back, since the breaker is open.
    let messages = harness.handle(messages).await;
    let first = deliveries().await;
    let queued = |reason: &str| DeliveryStatus::Queued { reason: Some(Reason::new(reason)) };
    assert_eq!(first.iter().filter(|it| it.status == queued("NotConnected")).count(), 8, "{first:?}");
    let due = |delivery: &Delivery| delivery.next_attempt_at.unwrap().since(clock::now());
    assert!(first.iter().all(|it| it.attempts == 1 && due(it) > Duration::from_secs(5)), "{first:?}");
    let mut messages = harness.handle(messages).await;
    let second = deliveries().await;
    assert!(second.iter().all(|it| it.attempts == 2 && due(it) > Duration::from_secs(15)), "{second:?}");
    // Apple answers again, for one device with another reason.
    harness.apple.up().await;
    harness.apple.answer("00", Answer::apns(429, "TooManyRequests"));
    let started = Instant::now();
    while messages.len() > 1 {
        assert!(started.elapsed() < Duration::from_secs(60), "{messages:?}");
        sleep(Duration::from_millis(50)).await;
        // Handle the message as if it were due.
        let again = |message| match message {
            PushMessage::Deliver(deliver) => PushMessage::Deliver(Deliver { attempts: 1, ..deliver }),
            other => other,
        };
        messages = harness.handle(messages.into_iter().map(again).collect()).await;
    }
    let last = deliveries().await;
    let is_throttled = |it: &&Delivery| [queued("TooManyRequests"), queued("DeviceThrottled")].contains(&it.status);
    assert_eq!(last.iter().filter(is_throttled).count(), 1, "{last:?}");
    assert!(last.iter().all(|it| (it.status.as_str() == "accepted") == it.next_attempt_at.is_none()), "{last:?}");
    assert_eq!(last.iter().filter(|it| it.status.as_str() == "accepted").count(), 7, "{last:?}");
}

/// A function on AWS that must end soon begins nothing: its messages come back, and nothing is sent.
#[tokio::test]
async fn what_there_is_no_time_for_is_handed_back() {
    let harness = PushHarness::new().await;
    let phone = harness.register("alice", Channel::Apn, "01").await;
    let deliver = harness.notification(&["alice"], content(), None).await;
    let messages = harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    let all = [messages.clone(), vec![PushMessage::Deliver(deliver), PushHarness::probe(&phone)]].concat();
    let failures = harness.pusher.beginning_until(clock::now()).process(all).await;
    assert_eq!(failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(failures.iter().all(|(_, failure)| matches!(failure, Failure::OutOfTime) && !failure.is_permanent()));
    assert!(harness.queue.take().is_empty() && harness.apple.requests().is_empty());
    assert!(harness.handle(messages).await.is_empty());
    assert_eq!(harness.apple.shown("01").len(), 1);
}

/// The reasons: it expired, or there is no device, no credential, or no answer.
#[tokio::test]
async fn a_failed_delivery_says_why() {
    let harness = PushHarness::new().await;
    let phone = harness.register("alice", Channel::Apn, "01").await;
    let reason = async |deliver: &Deliver| match harness.delivery(deliver.notification, phone.sid).await {
        Some(Delivery { status: DeliveryStatus::Failed { reason }, .. }) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    let queued = async |ttl| {
        let deliver = harness.notification(&["alice"], content(), ttl).await;
        (deliver.clone(), harness.handle(vec![PushMessage::Deliver(deliver)]).await)
    };
    // With a ttl of 0 the provider gets expiration 0, and there is one attempt.
    let (now, messages) = queued(Some(0)).await;
    harness.handle(messages).await;
    let delivery = harness.delivery(now.notification, phone.sid).await.unwrap();
    assert_eq!(delivery.status.as_str(), "accepted");
    assert_eq!(harness.apple.requests_to("01")[0].header("apns-expiration"), "0");
    let (never, messages) = queued(Some(0)).await;
    harness.apple.answer_once("01", Answer::apns(503, "ServiceUnavailable"));
    assert!(harness.handle(messages).await.is_empty());
    assert_eq!(reason(&never).await, "ServiceUnavailable");

    // The device may show each attempt whose answer is lost, so there are few.
    let (lost, mut messages) = queued(None).await;
    harness.apple.answer("01", Answer::reset());
    let before = harness.apple.requests_to("01").len();
    while !messages.is_empty() {
        messages = harness.handle(messages).await;
    }
    assert_eq!((harness.apple.requests_to("01").len() - before, reason(&lost).await.as_str()), (3, "ConnectionLost"));

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
    // A notification that does not exist, or not any more, is ignored.
    let unknown = Deliver { notification: Sid::from_bits(9), ..gone };
    assert!(harness.handle(vec![PushMessage::Deliver(unknown)]).await.is_empty());
}
