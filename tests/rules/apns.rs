//! The APNs client against a stand-in for Apple, over TLS and HTTP/2.
#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::device::Address;
use reachability_domain::push::outcome::{Fault, PushOutcome, Trouble};
use reachability_domain::push::payload::{Content, Priority, Push, PushKind};
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::push::apns::{Apns, Identity, ProviderTokens};
use reachability_infra::push::http::Roots;
use reachability_tests::providers::{Answer, Apple, Ca};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// The start time of tests that control the clock.
const START: i64 = 1_795_132_800_000;

const MINUTE: i64 = 60_000;

fn client(apple: &Apple, clock: fn() -> Timestamp) -> Apns {
    let key = apple.key();
    let identity = Identity::Key { pem: &key, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    Apns::new(identity, Apple::TOPIC, &apple.url(), &roots, clock).unwrap()
}

async fn start() -> (Apple, Apns) {
    let apple = Apple::start().await;
    let apns = client(&apple, clock::now);
    (apple, apns)
}

fn device(number: usize) -> Address {
    Address::new(Channel::Apn, &format!("{number:064x}")).unwrap()
}

fn push(number: usize, kind: PushKind) -> Push {
    Push { id: number as u128, collapse_id: format!("message-{number}"), expires_at: None, kind }
}

fn alert(number: usize) -> Push {
    push(number, PushKind::Alert(Content { body: Some(format!("number {number}")), ..Content::default() }))
}

fn accepted(number: usize) -> PushOutcome {
    PushOutcome::Accepted { id: Some(Uuid::from_u128(number as u128).to_string()) }
}

/// The reason for a missing answer, and its cause in detail.
fn unanswered(outcome: &PushOutcome) -> (&str, &str) {
    let PushOutcome::Unavailable { reason, retry_after: None, cause: Some(cause), .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(!cause.contains("00000000"), "a device's token: {cause}");
    (reason.as_str(), cause)
}

/// Sends one push each to this many devices, all at the same time.
async fn send_all(apns: &Apns, numbers: std::ops::Range<usize>) -> Vec<PushOutcome> {
    let send = async |number| apns.push(&device(number), &alert(number)).await;
    join_all(numbers.map(send)).await
}

fn all_accepted(numbers: std::ops::Range<usize>) -> Vec<PushOutcome> {
    numbers.map(accepted).collect()
}

#[tokio::test]
async fn an_alert_is_sent_as_apple_wants_it() {
    let (apple, apns) = start().await;
    let Value::Object(data) = json!({ "conversation": "CH1", "aps": "mine" }) else { unreachable!() };
    let content = Content {
        title: Some("Alice".to_owned()),
        body: Some("Hello".to_owned()),
        data,
        priority: Priority::High,
        sound: Some("default".to_owned()),
        ..Content::default()
    };
    let push = Push {
        id: 7,
        collapse_id: "message-7".to_owned(),
        expires_at: Some(Timestamp::from_millis(START)),
        kind: PushKind::Alert(content),
    };
    assert_eq!(apns.push(&device(255), &push).await, accepted(7));

    let [request] = &apple.requests()[..] else { panic!("one request") };
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, format!("/3/device/{}ff", "0".repeat(62)));
    for (name, value) in [
        ("apns-id", "00000000-0000-0000-0000-000000000007"),
        ("apns-topic", Apple::TOPIC),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", "1795132800"),
        ("apns-collapse-id", "message-7"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    let payload = json!({
        "aps": { "alert": { "title": "Alice", "body": "Hello" }, "sound": "default" },
        "conversation": "CH1",
    });
    assert_eq!(request.json(), payload);
    assert_eq!(apple.shown(device(255).as_str()), [payload]);
}

#[tokio::test]
async fn a_check_is_sent_in_the_background_and_shows_nothing() {
    let (apple, apns) = start().await;
    for (number, kind) in [(1, PushKind::Silent), (2, PushKind::DryRun)] {
        assert_eq!(apns.push(&device(number), &push(number, kind)).await, accepted(number));
        let [request] = &apple.requests_to(device(number).as_str())[..] else { panic!("one request") };
        for (name, value) in [("apns-push-type", "background"), ("apns-priority", "5"), ("apns-expiration", "0")] {
            assert_eq!(request.header(name), value, "{name}");
        }
        assert_eq!(request.json(), json!({ "aps": { "content-available": 1 } }));
        assert_eq!(apple.shown(device(number).as_str()), [Value::Null; 0]);
    }
}

#[tokio::test]
async fn invalid_pushes_are_not_sent() {
    let (apple, apns) = start().await;
    let content = Content { body: Some("x".repeat(4_096)), ..Content::default() };
    let outcome = apns.push(&device(1), &push(1, PushKind::Alert(content))).await;
    assert_eq!(outcome, PushOutcome::rejected("PayloadTooLarge", Fault::Push));
    let outcome = apns.push(&device(1), &Push { collapse_id: "x".repeat(65), ..alert(1) }).await;
    assert_eq!(outcome, PushOutcome::rejected("BadCollapseId", Fault::Push));
    assert_eq!(apple.requests().len(), 0);

    // The maximum length, less `{"aps":{"alert":""}}` around it.
    let content = Content { body: Some("x".repeat(4_096 - 20)), ..Content::default() };
    assert_eq!(apns.push(&device(1), &push(1, PushKind::Alert(content))).await, accepted(1));
    assert_eq!(apple.requests()[0].body.len(), 4_096);
}

#[tokio::test]
async fn all_pushes_share_a_provider_token_for_fifty_minutes() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let now = || Timestamp::from_millis(NOW.load(Ordering::SeqCst));
    let apple = Apple::start_with(Ca::new().into(), now).await;
    let apns = client(&apple, now);
    assert_eq!(send_all(&apns, 0..100).await, all_accepted(0..100));
    assert_eq!(apple.provider_tokens(), 1);
    NOW.fetch_add(49 * MINUTE, Ordering::SeqCst);
    assert_eq!(send_all(&apns, 100..200).await, all_accepted(100..200));
    assert_eq!(apple.provider_tokens(), 1);
    // The stand-in checks signature, key, team and age of every one.
    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    assert_eq!(send_all(&apns, 200..300).await, all_accepted(200..300));
    assert_eq!(apple.provider_tokens(), 2);
    // The clock was ahead, and is corrected.
    NOW.store(START - 24 * 60 * MINUTE, Ordering::SeqCst);
    assert_eq!(send_all(&apns, 300..400).await, all_accepted(300..400));
    assert_eq!(apple.provider_tokens(), 3);
    assert_eq!(apple.connections(), 1);
}

#[tokio::test]
async fn a_provider_token_that_is_too_old_for_apple_is_renewed_once() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let now = || Timestamp::from_millis(NOW.load(Ordering::SeqCst));
    let apple = Apple::start_with(Ca::new().into(), now).await;
    let apns = client(&apple, now);
    let refused = PushOutcome::rejected("ExpiredProviderToken", Fault::Credential);
    apple.answer_once(device(0).as_str(), Answer::apns(403, "ExpiredProviderToken"));
    assert_eq!(apns.push(&device(0), &alert(0)).await, refused, "one made just now is not too old");
    assert_eq!(apple.requests().len(), 1);

    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    for number in 0..100 {
        apple.answer_once(device(number).as_str(), Answer::apns(403, "ExpiredProviderToken"));
    }
    assert_eq!(send_all(&apns, 0..100).await, all_accepted(0..100));
    assert_eq!(apple.provider_tokens(), 2);

    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    apple.answer_all(Answer::apns(403, "ExpiredProviderToken"));
    assert_eq!(send_all(&apns, 0..100).await, vec![refused; 100]);
    assert_eq!(apple.provider_tokens(), 3, "renewing it does not help");

    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    apple.answer_all(Answer::apns(429, "TooManyProviderTokenUpdates"));
    assert_eq!(send_all(&apns, 0..1).await, [PushOutcome::unavailable("TooManyProviderTokenUpdates", None)]);
    assert_eq!(apple.provider_tokens(), 3, "that would be one more");
}

/// Every status and reason that Apple documents, and a few that it does not.
#[tokio::test]
async fn every_answer_of_apple_is_classified() {
    let (apple, apns) = start().await;
    let since = Some(Timestamp::from_millis(START));
    let dead_since = Fault::Token { since };
    for (status, reason, fault) in [
        (400, "BadCollapseId", Fault::Push),
        (400, "BadDeviceToken", Fault::Mismatch),
        (400, "BadExpirationDate", Fault::Push),
        (400, "BadMessageId", Fault::Push),
        (400, "BadPriority", Fault::Push),
        (400, "BadTopic", Fault::Credential),
        (400, "DeviceTokenNotForTopic", Fault::Mismatch),
        (400, "DuplicateHeaders", Fault::Push),
        (400, "IdleTimeout", Fault::Push),
        (400, "InvalidPushType", Fault::Push),
        (400, "MissingDeviceToken", Fault::Push),
        (400, "MissingTopic", Fault::Credential),
        (400, "PayloadEmpty", Fault::Push),
        (400, "TopicDisallowed", Fault::Credential),
        (400, "SomethingNew", Fault::Push),
        (403, "BadCertificate", Fault::Credential),
        (403, "BadCertificateEnvironment", Fault::Credential),
        (403, "BadEnvironmentKeyIdInToken", Fault::Credential),
        (403, "BadEnvironmentKeyInToken", Fault::Credential),
        (403, "ExpiredProviderToken", Fault::Credential),
        (403, "Forbidden", Fault::Credential),
        (403, "InvalidProviderToken", Fault::Credential),
        (403, "MissingProviderToken", Fault::Credential),
        (403, "UnrelatedKeyIdInToken", Fault::Credential),
        (404, "BadPath", Fault::Push),
        (405, "MethodNotAllowed", Fault::Push),
        (410, "ExpiredToken", dead_since),
        (410, "Unregistered", dead_since),
        (410, "SomethingNew", Fault::Push),
        (413, "PayloadTooLarge", Fault::Push),
    ] {
        let answer = match status {
            410 => Answer::apns_since(status, reason, START),
            _ => Answer::apns(status, reason),
        };
        apple.answer_next(answer);
        assert_eq!(apns.push(&device(1), &alert(1)).await, PushOutcome::rejected(reason, fault), "{status} {reason}");
    }
    apple.answer_next(Answer::apns(429, "TooManyRequests"));
    assert_eq!(apns.push(&device(1), &alert(1)).await, PushOutcome::throttled("TooManyRequests", None));
    for (status, reason) in [
        (429, "TooManyProviderTokenUpdates"),
        (500, "InternalServerError"),
        (502, "BadGateway"),
        (503, "ServiceUnavailable"),
        (503, "Shutdown"),
        (504, "GatewayTimeout"),
        (302, "Moved"),
    ] {
        apple.answer(device(1).as_str(), Answer::apns(status, reason));
        assert_eq!(apns.push(&device(1), &alert(1)).await, PushOutcome::unavailable(reason, None), "{status} {reason}");
    }
    for body in ["", "{", "<html>Gone</html>", "[]", "null", r#"{"reason":null}"#] {
        apple.answer(device(1).as_str(), Answer::reply(410, body));
        assert_eq!(apns.push(&device(1), &alert(1)).await, PushOutcome::rejected("Status410", Fault::Push), "{body:?}");
    }
    assert_eq!(apple.connections(), 1);
}

#[tokio::test]
async fn the_stand_in_refuses_bad_requests() {
    let apple = Apple::start().await;
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    let (key, other) = (apple.key(), Apple::start().await.key());
    for (pem, key_id, team_id, topic, reason) in [
        (&other, Apple::KEY_ID, Apple::TEAM_ID, Apple::TOPIC, "InvalidProviderToken"),
        (&key, "OTHER", Apple::TEAM_ID, Apple::TOPIC, "InvalidProviderToken"),
        (&key, Apple::KEY_ID, "OTHER", Apple::TOPIC, "InvalidProviderToken"),
        (&key, Apple::KEY_ID, Apple::TEAM_ID, "com.example.other", "TopicDisallowed"),
        (&key, Apple::KEY_ID, Apple::TEAM_ID, "", "MissingTopic"),
    ] {
        let identity = Identity::Key { pem, key_id, team_id };
        let apns = Apns::new(identity, topic, &apple.url(), &roots, clock::now).unwrap();
        let outcome = apns.push(&device(1), &alert(1)).await;
        assert_eq!(outcome, PushOutcome::rejected(reason, Fault::Credential), "{reason}");
    }
}

#[tokio::test]
async fn a_certificate_needs_no_provider_token() {
    let apple = Apple::start().await;
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    let pem = apple.certificate();
    let new = |pem| Apns::new(Identity::Certificate { pem }, Apple::TOPIC, &apple.url(), &roots, clock::now);
    assert_eq!(new(&pem).unwrap().push(&device(1), &alert(1)).await, accepted(1));
    assert_eq!(apple.requests()[0].header("authorization"), "");
    assert!(apple.requests()[0].certificate.is_some());

    let key = apple.key();
    let error = new(&key).unwrap_err();
    assert_eq!(error.to_string(), "expected a certificate and its private key in PEM", "a key alone");
}

/// TLS says it with an alert. That is no outage.
#[tokio::test]
async fn a_certificate_that_apple_refuses_is_the_fault_of_the_credential() {
    let apple = Apple::start().await;
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    let of_another_authority = Apple::start().await.certificate();
    for (pem, reason) in
        [(apple.expired_certificate(), "CertificateExpired"), (of_another_authority, "CertificateNotAccepted")]
    {
        let identity = Identity::Certificate { pem: &pem };
        let apns = Apns::new(identity, Apple::TOPIC, &apple.url(), &roots, clock::now).unwrap();
        for _ in 0..5 {
            let outcome = apns.push(&device(1), &alert(1)).await;
            assert_eq!(outcome, PushOutcome::rejected(reason, Fault::Credential));
        }
    }
    assert_eq!(apple.requests().len(), 0);
}

/// Apple wants one token for a key, however many apps use it.
#[tokio::test]
async fn apps_with_the_same_key_share_a_provider_token() {
    let apple = Apple::start().await;
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    let tokens = ProviderTokens::default();
    let (key, other) = (apple.key(), Apple::start().await.key());
    let new = |pem| {
        let identity = Identity::Key { pem, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
        Apns::sharing(&tokens, identity, Apple::TOPIC, &apple.url(), &roots, clock::now).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(new(&key).push(&device(1), &alert(1)).await, accepted(1));
    }
    assert_eq!((apple.provider_tokens(), apple.connections()), (1, 3));
    // Another key that was uploaded with the same ids by mistake does not replace it.
    let outcome = new(&other).push(&device(1), &alert(1)).await;
    assert_eq!(outcome, PushOutcome::rejected("InvalidProviderToken", Fault::Credential));
    assert_eq!(new(&key).push(&device(1), &alert(1)).await, accepted(1));
    assert_eq!(apple.provider_tokens(), 2);
}

/// Data alone reaches the app in the background.
#[tokio::test]
async fn data_alone_wakes_the_app() {
    let (apple, apns) = start().await;
    let Value::Object(data) = json!({ "room": 7 }) else { unreachable!() };
    let content = Content { data, priority: Priority::High, ..Content::default() };
    assert_eq!(apns.push(&device(1), &push(1, PushKind::Alert(content))).await, accepted(1));
    let payload = json!({ "aps": { "content-available": 1 }, "room": 7 });
    assert_eq!(apple.woken(device(1).as_str()), [payload]);
    assert_eq!(apple.shown(device(1).as_str()), [Value::Null; 0]);
    let request = &apple.requests()[0];
    assert_eq!((request.header("apns-push-type"), request.header("apns-priority")), ("background", "5"));
    assert_eq!(request.header("apns-collapse-id"), "message-1");
}

#[tokio::test]
async fn pauses_are_passed_on_and_answers_are_not_asked_for_twice() {
    let (apple, apns) = start().await;
    let to = |number: usize| device(number).as_str().to_owned();
    let requests = |number: usize| apple.requests_to(&to(number)).len();
    let pause = |seconds| Some(Duration::from_secs(seconds));

    apple.answer(&to(1), Answer::apns(429, "TooManyRequests").retry_after("7"));
    assert_eq!(apns.push(&device(1), &alert(1)).await, PushOutcome::throttled("TooManyRequests", pause(7)));
    apple.answer(&to(2), Answer::apns(503, "Shutdown").retry_after("Fri, 01 Jan 2100 00:00:00 GMT"));
    assert_eq!(apns.push(&device(2), &alert(2)).await, PushOutcome::unavailable("Shutdown", pause(900)));
    for (number, status, reason) in [(3, 503, "ServiceUnavailable"), (4, 500, "InternalServerError")] {
        apple.answer(&to(number), Answer::apns(status, reason));
        let outcome = apns.push(&device(number), &alert(number)).await;
        assert_eq!(outcome, PushOutcome::unavailable(reason, None));
    }
    assert_eq!([1, 2, 3, 4].map(requests), [1; 4]);

    apple.answer(&to(5), Answer::reply(200, "x".repeat(65 * 1_024)));
    assert_eq!(unanswered(&apns.push(&device(5), &alert(5)).await).0, "AnswerTooLong");
    assert_eq!(requests(5), 1);
}

#[tokio::test]
async fn a_goaway_loses_nothing_and_sends_nothing_twice() {
    let (apple, apns) = start().await;
    apple.go_away(20, 5);
    assert_eq!(send_all(&apns, 0..20).await, all_accepted(0..20));
    assert_eq!(apple.connections(), 2);
    assert_eq!(apple.requests().len(), 20, "what it says that it did not see");
}

/// Nobody knows whether Apple carried out a push whose answer is lost. So it is not sent again at once, and the next attempt
/// has the same id.
#[tokio::test]
async fn an_interrupted_push_is_not_sent_again_at_once() {
    let (apple, apns) = start().await;
    let is_lost = |outcome: &PushOutcome| {
        assert!(matches!(outcome, PushOutcome::Unavailable { trouble: Trouble::Unanswered, .. }), "{outcome:?}");
        assert_eq!(unanswered(outcome).0, "ConnectionLost");
    };
    apple.answer_once(device(0).as_str(), Answer::reset());
    is_lost(&apns.push(&device(0), &alert(0)).await);
    assert_eq!(apple.requests_to(device(0).as_str()).len(), 1);
    assert_eq!(apns.push(&device(0), &alert(0)).await, accepted(0));
    assert_eq!(apple.connections(), 1, "a stream is not a connection");

    // The others are pending on the connection that one of them cuts.
    for number in 1..10 {
        apple.answer_once(device(number).as_str(), Answer::stall());
    }
    apple.answer_once(device(10).as_str(), Answer::close().after_requests(2 + 10));
    send_all(&apns, 1..11).await.iter().for_each(is_lost);
    assert_eq!(send_all(&apns, 1..11).await, all_accepted(1..11));
    assert_eq!(apple.connections(), 2);
    for number in 0..11 {
        let token = device(number).as_str().to_owned();
        assert_eq!(apple.requests_to(&token).len(), 2);
        let ids: Vec<_> = apple.requests_to(&token).iter().map(|it| it.header("apns-id").to_owned()).collect();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(apple.shown(&token), [json!({ "aps": { "alert": format!("number {number}") } })]);
    }
}

/// A request that Apple says it did not process is sent again at once, a few times.
#[tokio::test]
async fn a_refused_stream_is_tried_again() {
    let (apple, apns) = start().await;
    apple.answer_once(device(1).as_str(), Answer::refuse());
    assert_eq!(apns.push(&device(1), &alert(1)).await, accepted(1));
    assert_eq!((apple.requests_to(device(1).as_str()).len(), apple.connections()), (2, 1));
    apple.answer(device(2).as_str(), Answer::refuse());
    let outcome = apns.push(&device(2), &alert(2)).await;
    assert!(matches!(outcome, PushOutcome::Unavailable { trouble: Trouble::NotSent, .. }), "{outcome:?}");
    assert_eq!(unanswered(&outcome).0, "RequestRefused");
    assert_eq!(apple.requests_to(device(2).as_str()).len(), 3, "not for ever");
}

/// A slow answer is waited for, half a minute at most.
#[tokio::test]
async fn a_slow_answer_is_waited_for_and_the_push_is_sent_once() {
    let (apple, apns) = start().await;
    apple.answer(device(0).as_str(), Answer::usual().after(Duration::from_secs(5)));
    apple.answer(device(1).as_str(), Answer::stall());
    let arrived = || async {
        while apple.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let slow = async { apns.push(&device(0), &alert(0)).await };
    let never = async { apns.push(&device(1), &alert(1)).await };
    let passing = async {
        arrived().await;
        // Beyond the five seconds of the first, in real time.
        tokio::time::sleep(Duration::from_secs(6)).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(25)).await;
        tokio::time::resume();
    };
    let (slow, never, ()) = tokio::join!(slow, never, passing);
    assert_eq!(slow, accepted(0));
    assert_eq!(unanswered(&never).0, "TimedOut");
    assert!(matches!(never, PushOutcome::Unavailable { trouble: Trouble::Unanswered, .. }), "{never:?}");
    assert_eq!((apple.requests().len(), apple.connections()), (2, 1), "each once, and the connection is kept");
}

#[tokio::test]
async fn a_silently_dropped_connection_is_detected() {
    let (apple, apns) = start().await;
    assert_eq!(send_all(&apns, 0..1).await, all_accepted(0..1));
    apple.freeze();
    for outcome in send_all(&apns, 1..50).await {
        assert!(matches!(outcome, PushOutcome::Unavailable { .. }), "{outcome:?}");
    }
    assert_eq!(send_all(&apns, 1..50).await, all_accepted(1..50));
    assert_eq!((apple.connections(), apple.requests().len()), (2, 50));
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_reused() {
    let (apple, apns) = start().await;
    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    assert_eq!(send_all(&apns, 0..1).await, all_accepted(0..1));
    pass(55).await;
    assert_eq!(send_all(&apns, 1..2).await, all_accepted(1..2));
    assert_eq!(apple.connections(), 1);
    pass(65).await;
    assert_eq!(send_all(&apns, 2..3).await, all_accepted(2..3));
    assert_eq!(apple.connections(), 2);
}

#[tokio::test]
async fn a_server_that_accepts_connections_but_never_answers_is_given_up() {
    let apple = Apple::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let key = apple.key();
    let identity = Identity::Key { pem: &key, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    let apns = Apns::new(identity, Apple::TOPIC, &url, &roots, clock::now).unwrap();
    let started = Instant::now();
    for outcome in send_all(&apns, 0..5).await {
        assert!(matches!(outcome, PushOutcome::Unavailable { .. }), "{outcome:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(12));
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let (apple, apns) = start().await;
    for number in 0..50 {
        apple.answer(device(number).as_str(), Answer::usual().after_answers(49 - number));
    }
    assert_eq!(send_all(&apns, 0..50).await, all_accepted(0..50), "each has its own");
    assert_eq!(apple.connections(), 1);
}

#[tokio::test]
async fn a_server_that_is_gone_for_a_while_is_found_again() {
    let (apple, apns) = start().await;
    apple.down().await;
    let outcomes = send_all(&apns, 0..1).await;
    let (reason, cause) = unanswered(&outcomes[0]);
    assert_eq!(reason, "NotConnected");
    let host = apple.url().replace("https://", "");
    assert!(cause.starts_with(&host) && cause.contains("Connection refused"), "{cause}");
    apple.up().await;
    assert_eq!(send_all(&apns, 0..10).await, all_accepted(0..10));
    apple.down().await;
    assert!(matches!(send_all(&apns, 0..1).await[..], [PushOutcome::Unavailable { .. }]));
    apple.up().await;
    assert_eq!(send_all(&apns, 0..10).await, all_accepted(0..10));
    assert_eq!(apple.connections(), 2);
}

#[tokio::test]
async fn a_server_with_an_untrusted_certificate_is_refused() {
    let start = async |ca: Ca| Apple::start_with(ca.into(), clock::now).await;
    let (apple, late, elsewhere) = (start(Ca::new()).await, start(Ca::late()).await, start(Ca::elsewhere()).await);
    let key = apple.key();
    let identity = Identity::Key { pem: &key, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
    let roots = |apple: &Apple| Roots::from_pem(&apple.roots_pem()).unwrap();
    let url = apple.url();
    for (url, roots, reason, said) in [
        (url.clone(), Roots::from_pem(&Ca::new().pem()).unwrap(), "CertificateRefused", "UnknownIssuer"),
        (elsewhere.url(), roots(&elsewhere), "CertificateRefused", "not valid for name"),
        (late.url(), roots(&late), "CertificateRefused", "expired"),
        // Nothing is sent unencrypted.
        (url.replace("https", "http"), roots(&apple), "NotConnected", "scheme"),
    ] {
        let apns = Apns::new(identity, Apple::TOPIC, &url, &roots, clock::now).unwrap();
        // All pushes that wait for the same connection get the reason.
        for outcome in send_all(&apns, 0..20).await {
            let (found, cause) = unanswered(&outcome);
            assert_eq!(found, reason, "{url}");
            assert!(cause.contains(said), "{cause}");
        }
    }
    for apple in [apple, late, elsewhere] {
        assert_eq!((apple.connections(), apple.requests().len()), (0, 0));
    }
    assert!(Roots::from_pem("").is_err());
}

#[tokio::test]
async fn a_server_without_tls_is_distinguished_from_a_closed_port() {
    let apple = Apple::start().await;
    let clear = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", clear.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut tcp, _) = clear.accept().await.unwrap();
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            // Read what the client sends first, or its connection would be reset.
            let _ = tcp.read(&mut [0; 4_096]).await;
        }
    });
    let key = apple.key();
    let identity = Identity::Key { pem: &key, key_id: Apple::KEY_ID, team_id: Apple::TEAM_ID };
    let roots = Roots::from_pem(&apple.roots_pem()).unwrap();
    let apns = Apns::new(identity, Apple::TOPIC, &url, &roots, clock::now).unwrap();
    assert_eq!(unanswered(&apns.push(&device(1), &alert(1)).await).0, "TlsFailed");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pushes_share_a_connection() {
    for max_streams in [1_000, 100] {
        let (apple, apns) = start().await;
        apple.max_concurrent_streams(max_streams);
        assert_eq!(send_all(&apns, 0..10_000).await, all_accepted(0..10_000));
        assert_eq!((apple.connections(), apple.requests().len()), (1, 10_000));
        assert_eq!(apple.provider_tokens(), 1);
    }
}
