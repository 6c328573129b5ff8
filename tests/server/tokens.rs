//! Access tokens that the vendor's own libraries make, and ours, which they read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use reachability_domain::directory::access_token::{AccessToken, Grant, NewToken, TokenError, mint};
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::identity::UserKey;
use reachability_domain::sid::{AccountSid, CredentialSid, ServiceSid, Sid};
use reachability_infra::clock;
use reachability_tests::{clients, ids};
use serde_json::{Value, json};

/// What a library is asked to make, and who may use it, or why it is refused.
type Case = (Value, Result<UserKey, TokenError>);

fn service() -> ServiceSid {
    Sid::from_bits(1)
}

fn user(identity: &str) -> UserKey {
    UserKey { service: service(), identity: identity.parse().unwrap() }
}

/// What both libraries can make.
fn cases() -> Vec<Case> {
    let chat = json!({"service_sid": service()});
    let full = json!({
        "service_sid": service(),
        "endpoint_id": "device-1",
        "deployment_role_sid": "RL00000000000000000000000000000001",
        "push_credential_sid": credential(),
    });
    let soon = clock::now().as_millis() / 1_000 + 600;
    vec![
        (json!({"identity": "alice", "grants": {"chat": chat}}), Ok(user("alice"))),
        (json!({"identity": "Älice & Böb 😀", "grants": {"chat": full}}), Ok(user("Älice & Böb 😀"))),
        (json!({"identity": "alice", "ttl": 86_400, "region": "us1", "grants": {"chat": chat}}), Ok(user("alice"))),
        (
            json!({"identity": "alice", "grants": {"voice": {"incoming_allow": true}, "video": {"room": "r"}, "chat": chat}}),
            Ok(user("alice")),
        ),
        (json!({"identity": "alice", "ttl": 90_000, "grants": {"chat": chat}}), Err(TokenError::TooLong)),
        // It expires at once.
        (json!({"identity": "alice", "ttl": -1, "grants": {"chat": chat}}), Err(TokenError::Expired)),
        (json!({"identity": "alice", "nbf": soon, "grants": {"chat": chat}}), Err(TokenError::NotYetValid)),
        (json!({"identity": "alice", "grants": {"chat": {}}}), Err(TokenError::Grants)),
        (json!({"identity": "alice", "grants": {"video": {"room": "r"}}}), Err(TokenError::Grants)),
        (json!({"identity": "alice", "grants": {}}), Err(TokenError::Grants)),
    ]
}

fn credential() -> CredentialSid {
    Sid::from_bits(2)
}

/// Has a library make tokens, each of which must be verified or refused, and read ours.
fn check(mut library: Command, cases: &[Case]) {
    let account: AccountSid = ids::sid();
    let key = ApiKey {
        sid: ids::sid(),
        friendly_name: String::new(),
        secret: ids::secret(),
        date_created: clock::now(),
        date_updated: None,
    };
    let ours: Vec<Value> = ["alice", "Älice & Böb 😀"]
        .map(|identity| {
            let user = user(identity);
            let life = Duration::from_secs(3_600);
            let new = NewToken { account, key: &key, user: &user, push_credential: Some(credential()), life };
            json!({"identity": identity, "token": mint(&new, clock::now()).unwrap()})
        })
        .into();
    let make: Vec<&Value> = cases.iter().map(|(wanted, _)| wanted).collect();
    let task = json!({"account": account, "key": key.sid, "secret": key.secret.expose(), "make": make, "read": ours})
        .to_string();

    library.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = library.spawn().expect("the client can be run: run tests/clients/setup");
    child.stdin.take().unwrap().write_all(task.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = String::from_utf8(output.stdout).unwrap();
    assert_eq!(made.lines().count(), cases.len(), "{made}");

    for (token, (wanted, expected)) in made.lines().zip(cases) {
        let now = clock::now();
        let grant = AccessToken::parse(token).and_then(|read| {
            assert_eq!(read.key(), key.sid);
            read.verify(account, &key.secret, now)
        });
        assert_eq!(&grant.clone().map(|grant| grant.user), expected, "{wanted}");
        let Ok(Grant { expires_at, push_credential, .. }) = grant else { continue };
        let named = wanted["grants"]["chat"]["push_credential_sid"].is_string();
        assert_eq!(push_credential, named.then(credential), "{wanted}");
        let life = Duration::from_secs(wanted["ttl"].as_u64().unwrap_or(3_600));
        let left = expires_at.since(now);
        assert!(left <= life && left + Duration::from_secs(60) > life, "{wanted}: {left:?}");
    }
}

#[test]
fn of_python() {
    let chat = json!({"service_sid": service()});
    let more = [
        (json!({"identity": "alice", "nbf": null, "grants": {"chat": chat}}), Ok(user("alice"))),
        (json!({"identity": "alice", "grants": {"ip_messaging": chat}}), Ok(user("alice"))),
        (json!({"grants": {"chat": chat}}), Err(TokenError::Grants)),
    ];
    check(clients::python("tokens.py"), &[cases(), more.into()].concat());
}

#[test]
fn of_node() {
    let chat = json!({"service_sid": service()});
    let more = ["HS384", "HS512"].map(|algorithm| {
        (json!({"identity": "alice", "algorithm": algorithm, "grants": {"chat": chat}}), Err(TokenError::Header))
    });
    check(clients::node("tokens.mjs"), &[cases(), more.into()].concat());
}
