//! The FCM client against a stand-in for Google, over TLS and HTTP/2.
#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::device::Address;
use reachability_domain::push::outcome::{Fault, PushOutcome, Trouble};
use reachability_domain::push::payload::{Content, Priority, Push, PushKind};
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::push::SetupError;
use reachability_infra::push::fcm::{Fcm, ServiceAccount};
use reachability_infra::push::http::Roots;
use reachability_tests::providers::{Answer, Apple, Ca, Google};
use serde_json::{Value, json};

/// The start time of tests that control the clock.
const START: i64 = 1_795_132_800_000;

const MINUTE: i64 = 60_000;

fn account(private_key: &Secret) -> ServiceAccount<'_> {
    ServiceAccount {
        project_id: Google::PROJECT_ID,
        client_email: Google::CLIENT_EMAIL,
        private_key_id: Google::KEY_ID,
        private_key,
    }
}

fn client(google: &Google, account: ServiceAccount<'_>, clock: fn() -> Timestamp) -> Fcm {
    let roots = Roots::from_pem(&google.roots_pem()).unwrap();
    Fcm::new(account, &google.url(), &google.token_url(), &roots, clock).unwrap()
}

async fn start() -> (Google, Fcm) {
    let google = Google::start().await;
    let fcm = client(&google, account(&Google::key()), clock::now);
    (google, fcm)
}

fn device(number: usize) -> Address {
    Address::new(Channel::Fcm, &format!("token:{number}")).unwrap()
}

fn push(number: usize, kind: PushKind) -> Push {
    Push { id: number as u128, collapse_id: format!("message-{number}"), expires_at: None, kind }
}

fn alert(number: usize) -> Push {
    push(number, PushKind::Alert(Content { body: Some(format!("number {number}")), ..Content::default() }))
}

fn is_accepted(outcome: &PushOutcome) -> bool {
    matches!(outcome, PushOutcome::Accepted { id: Some(id) } if id.starts_with("projects/example-app/messages/"))
}

/// The reason for a missing answer, and its cause in detail.
fn unanswered(outcome: &PushOutcome) -> (&str, &str) {
    let PushOutcome::Unavailable { reason, retry_after: None, cause: Some(cause), .. } = outcome else {
        panic!("{outcome:?}");
    };
    (reason.as_str(), cause)
}

/// Sends one push each to this many devices, all at the same time.
async fn send_all(fcm: &Fcm, count: usize) -> Vec<PushOutcome> {
    let send = async |number| fcm.push(&device(number), &alert(number)).await;
    join_all((0..count).map(send)).await
}

async fn all_accepted(fcm: &Fcm, count: usize) {
    let outcomes = send_all(fcm, count).await;
    let other: Vec<_> = outcomes.iter().filter(|outcome| !is_accepted(outcome)).collect();
    assert!(other.is_empty(), "{} of {count}: {:?}", other.len(), other[0]);
}

#[tokio::test]
async fn an_alert_is_sent_as_google_wants_it() {
    static NOW: Timestamp = Timestamp::from_millis(START);
    let google = Google::start_with(Ca::new().into(), || NOW).await;
    let fcm = client(&google, account(&Google::key()), || NOW);
    let Value::Object(data) = json!({ "conversation": "CH1", "count": 7, "of": { "a": [true] } }) else {
        unreachable!()
    };
    let content = Content {
        title: Some("Alice".to_owned()),
        body: Some("Hello".to_owned()),
        data,
        priority: Priority::High,
        sound: Some("default".to_owned()),
        ..Content::default()
    };
    let expires_at = Some(NOW.plus(Duration::from_millis(90_500)));
    let push = Push { id: 7, collapse_id: "message-7".to_owned(), expires_at, kind: PushKind::Alert(content) };
    assert!(is_accepted(&fcm.push(&device(1), &push).await));

    let [request] = &google.requests()[..] else { panic!("one request") };
    assert_eq!(request.path, "/v1/projects/example-app/messages:send");
    assert!(request.header("authorization").starts_with("Bearer "));
    assert_eq!(request.header("content-type"), "application/json");
    let message = json!({
        "token": "token:1",
        "notification": { "title": "Alice", "body": "Hello" },
        "data": { "conversation": "CH1", "count": "7", "of": r#"{"a":[true]}"# },
        "android": {
            "priority": "HIGH",
            "ttl": "90s",
            "notification": { "tag": "message-7", "sound": "default" },
        },
        "apns": {
            "headers": {
                "apns-collapse-id": "message-7",
                "apns-priority": "10",
                "apns-expiration": ((START + 90_500) / 1_000).to_string(),
            },
            "payload": { "aps": { "sound": "default" } },
        },
        "webpush": { "headers": { "TTL": "90", "Urgency": "high", "Topic": "message-7" } },
    });
    assert_eq!(request.json(), json!({ "validate_only": false, "message": message }));
    assert_eq!(google.shown("token:1"), [message]);
}

#[tokio::test]
async fn an_alert_has_no_more_than_it_needs() {
    let (google, fcm) = start().await;
    let Value::Object(data) = json!({ "a": "b" }) else { unreachable!() };
    for (priority, priority_of_android, urgency) in [(Priority::Low, "NORMAL", "low"), (Priority::High, "HIGH", "high")]
    {
        let content = Content { data: data.clone(), priority, ..Content::default() };
        let push = Push { collapse_id: "not/url-safe".to_owned(), ..push(1, PushKind::Alert(content)) };
        assert!(is_accepted(&fcm.push(&device(1), &push).await));
        let message = json!({
            "token": "token:1",
            "data": { "a": "b" },
            "android": { "priority": priority_of_android },
            "apns": {
                "headers": { "apns-push-type": "background", "apns-collapse-id": "not/url-safe", "apns-priority": "5" },
                "payload": { "aps": { "content-available": 1 } },
            },
            "webpush": { "headers": { "Urgency": urgency } },
        });
        assert_eq!(google.requests().last().unwrap().json()["message"], message);
    }
    assert_eq!(google.shown("token:1"), [Value::Null; 0]);
}

#[tokio::test]
async fn a_check_shows_nothing() {
    let (google, fcm) = start().await;
    assert!(is_accepted(&fcm.push(&device(1), &push(1, PushKind::Silent)).await));
    assert!(is_accepted(&fcm.push(&device(2), &push(2, PushKind::DryRun)).await));
    let [silent, dry] = &google.requests()[..] else { panic!("two requests") };
    let (silent, dry) = (silent.json(), dry.json());
    assert_eq!(silent["validate_only"], false);
    assert_eq!(silent["message"]["notification"], Value::Null);
    assert_eq!(silent["message"]["android"], json!({ "priority": "NORMAL", "ttl": "0s" }));
    assert_eq!(silent["message"]["apns"]["headers"]["apns-priority"], "5");
    assert_eq!(silent["message"]["apns"]["payload"], json!({ "aps": { "content-available": 1 } }));
    let message = json!({ "data": { "reachability": "check" }, "token": "token:2" });
    assert_eq!(dry, json!({ "validate_only": true, "message": message }));
    assert!(google.shown("token:1").is_empty() && google.shown("token:2").is_empty());
}

#[tokio::test]
async fn an_access_token_is_used_until_shortly_before_its_end() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let now = || Timestamp::from_millis(NOW.load(Ordering::SeqCst));
    let google = Google::start_with(Ca::new().into(), now).await;
    let fcm = client(&google, account(&Google::key()), now);
    // The stand-in checks the signature and the claims of each assertion.
    all_accepted(&fcm, 100).await;
    assert_eq!(google.token_requests(), 1, "for all who waited");
    NOW.fetch_add(54 * MINUTE, Ordering::SeqCst);
    all_accepted(&fcm, 100).await;
    assert_eq!(google.token_requests(), 1);
    NOW.fetch_add(MINUTE, Ordering::SeqCst);
    all_accepted(&fcm, 100).await;
    assert_eq!(google.token_requests(), 2, "before its end, by one");

    // While the token endpoint fails, the old token is used.
    NOW.fetch_add(56 * MINUTE, Ordering::SeqCst);
    google.answer_tokens(Answer::oauth(503, "unavailable").retry_after("1"));
    all_accepted(&fcm, 10).await;
    NOW.fetch_add(5 * MINUTE, Ordering::SeqCst);
    let before = google.token_requests();
    let pause = Some(Duration::from_secs(1));
    assert_eq!(send_all(&fcm, 100).await, vec![PushOutcome::unavailable("unavailable", pause); 100]);
    assert_eq!(google.token_requests(), before + 1, "nobody asks again who has waited for the answer");
    google.answer_tokens(Answer::usual());
    all_accepted(&fcm, 100).await;
    assert_eq!(google.token_requests(), before + 2);
    // The clock was ahead, and is corrected.
    NOW.store(START, Ordering::SeqCst);
    all_accepted(&fcm, 100).await;
    assert_eq!(google.token_requests(), before + 3);
}

#[tokio::test]
async fn a_refused_access_token_is_renewed_once() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let now = || Timestamp::from_millis(NOW.load(Ordering::SeqCst));
    let google = Google::start_with(Ca::new().into(), now).await;
    let fcm = client(&google, account(&Google::key()), now);
    let refused = PushOutcome::rejected("UNAUTHENTICATED", Fault::Credential);
    all_accepted(&fcm, 1).await;
    google.revoke();
    assert_eq!(send_all(&fcm, 1).await, vec![refused.clone()], "one made just now is not too old");
    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    all_accepted(&fcm, 100).await;
    assert_eq!(google.token_requests(), 2);

    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    google.answer_all(Answer::fcm(401, "UNAUTHENTICATED", None));
    assert_eq!(send_all(&fcm, 100).await, vec![refused; 100]);
    assert_eq!(google.token_requests(), 3, "another one does not help");

    NOW.fetch_add(2 * MINUTE, Ordering::SeqCst);
    google.answer_all(Answer::fcm(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR")));
    assert_eq!(send_all(&fcm, 1).await, [PushOutcome::rejected("THIRD_PARTY_AUTH_ERROR", Fault::Push)]);
    assert_eq!(google.token_requests(), 3, "it is not the token that is refused");

    google.answer_all(Answer::fcm(401, "UNAUTHENTICATED", None));
    google.answer_tokens(Answer::oauth(400, "invalid_grant"));
    let outcomes = send_all(&fcm, 100).await;
    assert_eq!(outcomes, vec![PushOutcome::rejected("invalid_grant", Fault::Credential); 100]);
    assert_eq!(google.token_requests(), 4, "nobody asks again who has waited for the answer");
}

#[tokio::test]
async fn nothing_is_sent_without_an_access_token() {
    let (google, fcm) = start().await;
    for (status, error) in [
        (400, "invalid_grant"),
        (400, "invalid_scope"),
        (401, "invalid_client"),
        (401, "unauthorized_client"),
        (403, "access_denied"),
    ] {
        google.answer_tokens(Answer::oauth(status, error));
        assert_eq!(send_all(&fcm, 1).await, [PushOutcome::rejected(error, Fault::Credential)]);
    }
    for (status, body, reason) in [
        (500, "", "Status500"),
        (429, r#"{"error":"rate_limited"}"#, "rate_limited"),
        (404, "<html>", "Status404"),
        (200, "<html>", "BadAccessToken"),
        (200, r#"{"access_token":"a\nb","expires_in":3599}"#, "BadAccessToken"),
    ] {
        google.answer_tokens(Answer::reply(status, body));
        assert_eq!(send_all(&fcm, 1).await, [PushOutcome::unavailable(reason, None)], "{status} {body}");
    }
    google.answer_tokens(Answer::close());
    let outcomes = send_all(&fcm, 1).await;
    assert_eq!(unanswered(&outcomes[0]).0, "ConnectionLost");
    let is_sent = !matches!(outcomes[0], PushOutcome::Unavailable { trouble: Trouble::NotSent, .. });
    assert!(!is_sent, "the push itself was not sent: {:?}", outcomes[0]);
    assert_eq!(google.requests().len(), 0);
    google.answer_tokens(Answer::usual());
    all_accepted(&fcm, 1).await;
}

/// Every status and code that Google documents, and a few that it does not.
#[tokio::test]
async fn every_answer_of_google_is_classified() {
    let (google, fcm) = start().await;
    let token = device(1).as_str().to_owned();
    for (status, word, code, fault) in [
        (404, "NOT_FOUND", Some("UNREGISTERED"), Fault::Token { since: None }),
        (404, "NOT_FOUND", None, Fault::Credential),
        (400, "NOT_FOUND", Some("UNREGISTERED"), Fault::Push),
        (404, "UNREGISTERED", None, Fault::Push),
        (400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), Fault::Push),
        (400, "INVALID_ARGUMENT", None, Fault::Push),
        (400, "FAILED_PRECONDITION", None, Fault::Push),
        (403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), Fault::Mismatch),
        (403, "PERMISSION_DENIED", None, Fault::Credential),
        (401, "UNAUTHENTICATED", None, Fault::Credential),
        (401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"), Fault::Push),
        (409, "ABORTED", Some("UNSPECIFIED_ERROR"), Fault::Push),
    ] {
        google.answer(&token, Answer::fcm(status, word, code));
        let expected = PushOutcome::rejected(code.unwrap_or(word), fault);
        assert_eq!(fcm.push(&device(1), &alert(1)).await, expected, "{status} {word} {code:?}");
    }
    let pause = Some(Duration::from_secs(60));
    for code in [Some("QUOTA_EXCEEDED"), None] {
        google.answer(&token, Answer::fcm(429, "RESOURCE_EXHAUSTED", code).retry_after("60"));
        let expected = PushOutcome::throttled(code.unwrap_or("RESOURCE_EXHAUSTED"), pause);
        assert_eq!(fcm.push(&device(1), &alert(1)).await, expected, "{code:?}");
    }
    for (status, word, code) in [
        (503, "UNAVAILABLE", Some("UNAVAILABLE")),
        (500, "INTERNAL", Some("INTERNAL")),
        (504, "DEADLINE_EXCEEDED", None),
    ] {
        google.answer(&token, Answer::fcm(status, word, code).retry_after("60"));
        let expected = PushOutcome::unavailable(code.unwrap_or(word), pause);
        assert_eq!(fcm.push(&device(1), &alert(1)).await, expected, "{status} {word} {code:?}");
    }
    let unregistered =
        r#"{"error":{"details":[{"@type":"x/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}"#;
    for (status, body, expected) in [
        (404, "<html>404. That's an error.</html>", PushOutcome::unavailable("Status404", None)),
        (502, "<html>502. That's an error.</html>", PushOutcome::unavailable("Status502", None)),
        (200, "<html>Sign in to the network</html>", PushOutcome::unavailable("Status200", None)),
        (200, "{}", PushOutcome::unavailable("Status200", None)),
        (404, &unregistered[..90], PushOutcome::unavailable("Status404", None)),
        (404, "", PushOutcome::rejected("Status404", Fault::Credential)),
        (404, "[7]", PushOutcome::rejected("Status404", Fault::Credential)),
        (503, unregistered, PushOutcome::unavailable("UNREGISTERED", None)),
        (404, unregistered, PushOutcome::rejected("UNREGISTERED", Fault::Token { since: None })),
    ] {
        google.answer(&token, Answer::reply(status, body));
        assert_eq!(fcm.push(&device(1), &alert(1)).await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn the_stand_in_refuses_bad_requests() {
    let google = Google::start().await;
    let key = Google::key();
    let account = account(&key);
    for (account, reason) in [
        (ServiceAccount { client_email: "other@example.com", ..account }, "invalid_grant"),
        (ServiceAccount { private_key_id: "other", ..account }, "invalid_grant"),
        (ServiceAccount { project_id: "other", ..account }, "NOT_FOUND"),
    ] {
        let outcome = client(&google, account, clock::now).push(&device(1), &alert(1)).await;
        assert_eq!(outcome, PushOutcome::rejected(reason, Fault::Credential));
    }
    // The clock is a day behind.
    let yesterday = || Timestamp::from_millis(clock::now().as_millis() - 24 * 60 * MINUTE);
    let outcome = client(&google, account, yesterday).push(&device(1), &alert(1)).await;
    assert_eq!(outcome, PushOutcome::rejected("invalid_grant", Fault::Credential));
}

#[tokio::test]
async fn an_invalid_service_account_is_refused() {
    let (google, apple) = (Google::start().await, Apple::start().await);
    let roots = Roots::from_pem(&google.roots_pem()).unwrap();
    let new = |account| Fcm::new(account, &google.url(), &google.token_url(), &roots, clock::now);
    let (key, of_apple) = (Google::key(), apple.key());
    for project_id in ["", "a/b", "..%2f", "a b", "a?b"] {
        let error = new(ServiceAccount { project_id, ..account(&key) }).unwrap_err();
        assert!(matches!(error, SetupError::ProjectId), "{project_id}");
    }
    assert!(matches!(new(account(&of_apple)).unwrap_err(), SetupError::Key(_)), "a key of another kind");
    assert!(matches!(new(account(&Secret::new("key"))).unwrap_err(), SetupError::Key(_)));
}

/// Nobody knows whether Google carried out a push whose answer is lost, and Google asks for 10 seconds or more before a retry
/// after an error of its own.
#[tokio::test]
async fn an_interrupted_push_is_not_sent_again_at_once() {
    let (google, fcm) = start().await;
    all_accepted(&fcm, 1).await;
    google.answer_once(device(1).as_str(), Answer::reset());
    google.answer_once(device(2).as_str(), Answer::close());
    google.answer_once(device(3).as_str(), Answer::fcm(500, "INTERNAL", Some("INTERNAL")));
    google.answer_once(device(4).as_str(), Answer::fcm(503, "UNAVAILABLE", Some("UNAVAILABLE")));
    google.answer_once(device(5).as_str(), Answer::refuse());
    for (number, found) in [
        (1, Some(("ConnectionLost", Trouble::Unanswered))),
        (2, Some(("ConnectionLost", Trouble::Unanswered))),
        (3, Some(("INTERNAL", Trouble::Failed))),
        (4, Some(("UNAVAILABLE", Trouble::Failed))),
        (5, None),
    ] {
        let before = google.requests().len();
        match (fcm.push(&device(number), &alert(number)).await, found) {
            (PushOutcome::Unavailable { reason, trouble, .. }, Some(found)) => {
                assert_eq!((reason.as_str(), trouble), found, "{number}");
                assert_eq!(google.requests().len(), before + 1, "{number}: one attempt");
            }
            (outcome, None) => assert!(is_accepted(&outcome), "it was not processed before: {outcome:?}"),
            (outcome, found) => panic!("{number}: {outcome:?}, {found:?}"),
        }
        assert!(is_accepted(&fcm.push(&device(number), &alert(number)).await));
        assert_eq!(google.shown(device(number).as_str()).len(), 1, "{number}");
    }
}

/// Google takes five seconds: more than a short timeout, less than a long one.
#[tokio::test]
async fn a_slow_provider_gets_an_alert_once() {
    let (google, fcm) = start().await;
    google.answer_all(Answer::usual().after(Duration::from_secs(5)));
    all_accepted(&fcm, 10).await;
    assert_eq!(google.requests().len(), 10);
}

/// The audience is Google's, wherever the request goes.
#[tokio::test]
async fn the_audience_does_not_follow_the_url() {
    let (google, fcm) = start().await;
    all_accepted(&fcm, 1).await;
    let assertion = google.assertions().remove(0);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
}

#[tokio::test]
async fn the_stand_in_refuses_reserved_names() {
    let (google, fcm) = start().await;
    for key in ["from", "message_type", "google.id", "gcm"] {
        let data = [(key.to_owned(), json!("x"))].into_iter().collect();
        let content = Content { body: Some("Body".to_owned()), data, ..Content::default() };
        let outcome = fcm.push(&device(1), &push(1, PushKind::Alert(content))).await;
        assert_eq!(outcome, PushOutcome::rejected("INVALID_ARGUMENT", Fault::Push), "{key}");
    }
    assert!(google.shown(device(1).as_str()).is_empty());
}

#[tokio::test]
async fn a_server_that_is_gone_for_a_while_is_found_again() {
    let (google, fcm) = start().await;
    google.down().await;
    assert_eq!(unanswered(&send_all(&fcm, 1).await[0]).0, "NotConnected");
    google.up().await;
    all_accepted(&fcm, 10).await;
    google.down().await;
    assert!(matches!(send_all(&fcm, 1).await[..], [PushOutcome::Unavailable { .. }]));
    google.up().await;
    all_accepted(&fcm, 10).await;
    assert_eq!(google.token_requests(), 1);
}

/// The token endpoint and FCM are two hosts. The error says which of them failed.
#[tokio::test]
async fn failures_of_the_token_endpoint_are_classified_too() {
    let (google, other) = (Google::start().await, Google::start().await);
    let host = |url: &str| url.trim_start_matches("https://").trim_end_matches("/token").to_owned();
    let (key, roots) = (Google::key(), Roots::from_pem(&google.roots_pem()).unwrap());
    for (url, token_url, reason, said) in [
        (google.url(), "https://127.0.0.1:9/token".to_owned(), "NotConnected", "127.0.0.1:9".to_owned()),
        (google.url(), other.token_url(), "CertificateRefused", host(&other.token_url())),
        (other.url(), google.token_url(), "CertificateRefused", host(&other.url())),
    ] {
        let fcm = Fcm::new(account(&key), &url, &token_url, &roots, clock::now).unwrap();
        let outcomes = send_all(&fcm, 1).await;
        let (found, cause) = unanswered(&outcomes[0]);
        assert_eq!(found, reason, "{cause}");
        assert!(cause.starts_with(&said), "{cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pushes_share_a_connection() {
    let (google, fcm) = start().await;
    google.max_concurrent_streams(100);
    all_accepted(&fcm, 10_000).await;
    assert_eq!(google.requests().len(), 10_000);
    assert_eq!((google.connections(), google.token_requests()), (2, 1), "one for messages, one for access tokens");
}
