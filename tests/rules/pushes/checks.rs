//! How and when registrations are checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, RegistrationCheck};
use reachability_domain::push::message::{Probe, ProbeCause, PushMessage};
use reachability_domain::queue::Message;
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::credentials::seal::Seal;
use reachability_infra::metrics::EmfMetrics;
use reachability_tests::harness::{Kept, SETTINGS, ports, rules, unstamped};
use reachability_tests::providers::{Answer, Apple};
use reachability_tests::push_harness::PushHarness;
use reachability_worker::{Envelope, Failure, Fanout, StoredWrite, Worker};
use serde_json::json;
use tokio::time::sleep;

use super::{before, day, to_google, unregister};

/// After several attempts a check is given up, until another event triggers one. Messages do not pile up.
#[tokio::test]
async fn a_check_without_an_answer_is_given_up() {
    static NOW: AtomicI64 = AtomicI64::new(1_795_132_800_000);
    let harness = PushHarness::with_clock(|| Timestamp::from_millis(NOW.load(Ordering::SeqCst))).await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    harness.apple.answer("00ff", Answer::apns(500, "InternalServerError"));
    let mut messages = vec![PushHarness::probe(&device)];
    let mut waits = Vec::new();
    while !messages.is_empty() {
        let asked = harness.now();
        messages = harness.handle(messages).await;
        NOW.fetch_add(15 * 60_000, Ordering::SeqCst);
        waits.extend(messages.iter().filter_map(Message::due_at).map(|at| at.since(asked).as_secs()));
    }
    assert_eq!(waits.len(), 7);
    assert!(waits.is_sorted() && waits[0] >= 10 && waits[6] >= 600 && waits[6] <= 900, "{waits:?}");
    assert_eq!(harness.notifiable("alice").await, Some(true));
    // The pause that the provider asks for is respected.
    harness.apple.answer("00ff", Answer::apns(503, "Shutdown").retry_after("120"));
    let [again] = &harness.check(&device).await[..] else { panic!() };
    let wait = again.due_at().unwrap().since(harness.now());
    assert!(wait >= Duration::from_secs(119) && wait <= Duration::from_secs(151), "{wait:?}");
}

/// The rejection is shown until the credential is replaced or the provider accepts it.
#[tokio::test]
async fn a_rejection_is_shown_on_its_credential() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    let good = harness.store.credential(PushHarness::credential_sid(Channel::Apn)).await.unwrap().unwrap();
    let wrong = Apple::start().await.key();
    let bad = Credential { sealed: Some(harness.seal.seal(good.sid, &wrong).unwrap()), ..good.clone() };
    harness.store.replace_credential(&bad).await.unwrap();
    assert!(harness.check(&device).await.is_empty());
    assert!(
        matches!(harness.health(Channel::Apn).await, Health::Rejected { reason, .. } if reason.as_str() == "InvalidProviderToken")
    );
    assert_eq!(harness.notifiable("alice").await, Some(true));
    // A credential that was sealed with another key is rejected as unreadable.
    let bad = harness.store.credential(good.sid).await.unwrap().unwrap();
    let other = Seal::new(&Secret::new("another"));
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
async fn the_credential_sets_how_registrations_are_checked() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Fcm, "token").await;
    harness.check(&device).await;
    assert_eq!(to_google(&harness, "token")[0].json()["validate_only"], true);
    // The registration was confirmed after this check was requested.
    let asked_before = PushMessage::Probe(Probe {
        service: harness.service,
        binding: device.sid,
        asked_at: before(10),
        attempts: 0,
        due_at: None,
        cause: ProbeCause::Registered,
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

/// A device that was unregistered in the meantime, or that has no credential, is not an error.
#[tokio::test]
async fn a_registration_that_cannot_be_checked_stays_as_it_is() {
    let harness = PushHarness::new().await;
    let device = harness.register("alice", Channel::Apn, "00ff").await;
    harness.store.apply(harness.service, device.device(), &unregister(&device), None, clock::now()).await.unwrap();
    assert!(harness.check(&device).await.is_empty());
    let device = harness.register("alice", Channel::Apn, "00fe").await;
    harness.store.delete_credential(PushHarness::credential_sid(Channel::Apn)).await.unwrap();
    assert!(harness.check(&device).await.is_empty());
    assert!(harness.apple.requests().is_empty());
    assert_eq!(harness.notifiable("alice").await, Some(true));
    // A message in the wrong queue fails permanently, so that it becomes a dead letter.
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

/// A user disconnects whose devices were not confirmed for long. They are now the only way to reach her.
#[tokio::test]
async fn going_offline_checks_registrations_that_were_not_confirmed_for_long() {
    let harness = PushHarness::new().await;
    let timers = Arc::new(Kept::<PresenceMessage>::default());
    let ports = ports(harness.store.clone(), timers, Arc::default());
    let worker = Worker::new(ports, rules(SETTINGS), Duration::ZERO, clock::now);
    let unproven = harness.register_at("alice", Channel::Fcm, "01", before(day(40))).await;
    let proven = harness.register_at("alice", Channel::Fcm, "02", before(day(40))).await;
    let over = harness.register_at("alice", Channel::Fcm, "03", before(day(365))).await;
    let dead = harness.register_at("alice", Channel::Fcm, "04", before(day(40))).await;
    harness.google.answer("04", Answer::fcm(404, "NOT_FOUND", Some("UNREGISTERED")));
    harness.check(&proven).await;
    harness.check(&dead).await;
    let event = |kind| {
        unstamped(&Event { user: over.user(), connection: "c".parse().unwrap(), occurred_at: clock::now(), kind })
    };
    let fanout = Fanout {
        services: harness.store.clone(),
        pushes: harness.queue.clone(),
        sinks: vec![],
        webhooks: None,
        metrics: Arc::new(EmfMetrics::default()),
    };
    let user = over.user();
    let state = async || Box::new(harness.store.states(std::slice::from_ref(&user)).await.unwrap().remove(0));
    let handle = async |message: PresenceMessage| {
        let before = state().await;
        assert!(worker.process(vec![message], clock::now()).await.is_empty());
        let write = StoredWrite::State { user: user.clone(), before, after: state().await };
        assert_eq!(fanout.handle_writes(&[write]).await, None);
    };
    handle(event(EventKind::Connect { lease: None, device: None })).await;
    let probes = |messages: Vec<PushMessage>| -> Vec<PushMessage> {
        messages.into_iter().filter(|message| matches!(message, PushMessage::Probe(_))).collect()
    };
    assert!(probes(harness.queue.take()).is_empty(), "she is there");
    let goodbye = event(EventKind::Disconnect { reason: EndReason::ClientClosed });
    handle(goodbye.clone()).await;
    let asked = probes(harness.queue.take());
    assert!(matches!(&asked[..], [PushMessage::Probe(probe)] if probe.binding == unproven.sid), "{asked:?}");
    handle(goodbye).await;
    assert!(probes(harness.queue.take()).is_empty(), "once");
    harness.handle(asked).await;
    assert_eq!(harness.binding(unproven.sid).await.unwrap().status(), "confirmed");
}
