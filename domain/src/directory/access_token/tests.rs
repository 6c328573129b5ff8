use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Mac;
use serde_json::json;

use super::*;
use crate::directory::api_key::ApiKey;
use crate::sid::Sid;

const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_250);
/// The second of it.
const SECOND: i64 = 1_795_132_800;

fn account() -> AccountSid {
    Sid::from_bits(1)
}

fn key() -> ApiKey {
    ApiKey {
        sid: KeySid::from_bits(2),
        friendly_name: String::new(),
        secret: Secret::new("the secret of the key"),
        date_created: NOW,
        date_updated: None,
    }
}

fn user() -> UserKey {
    UserKey { service: Sid::from_bits(3), identity: "älice".parse().unwrap() }
}

fn header() -> Value {
    json!({ "alg": "HS256", "typ": "JWT", "cty": "twilio-fpa;v=1" })
}

fn claims() -> Value {
    json!({
        "jti": "SK00000000000000000000000000000002-1795132800",
        "iss": key().sid,
        "sub": account(),
        "iat": SECOND,
        "exp": SECOND + 3_600,
        "grants": { "identity": "älice", "chat": { "service_sid": user().service } },
    })
}

fn encode(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let signed = format!("{header}.{claims}");
    let signature = jwt::sign(&signed, &key().secret).unwrap().finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn verify(token: &str, now: Timestamp) -> Result<Grant, TokenError> {
    let token = AccessToken::parse(token)?;
    assert_eq!(token.key(), key().sid);
    token.verify(account(), &key().secret, now)
}

/// Verifies a token with these changes of the claims. `null` removes one.
fn with(changes: &[(&str, Value)]) -> Result<Grant, TokenError> {
    let mut claims = claims();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = claims.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => drop(parent.remove(name)),
            value => drop(parent.insert(name.to_owned(), value.clone())),
        }
    }
    verify(&encode(&header().to_string(), &claims.to_string()), NOW)
}

#[test]
fn what_is_minted_is_valid_until_its_end() {
    let (key, user) = (key(), user());
    let push_credential = Some(CredentialSid::from_bits(4));
    let life = Duration::from_secs(60);
    let new = NewToken { account: account(), key: &key, user: &user, push_credential, life };
    let token = mint(&new, NOW).unwrap();
    let expires_at = Timestamp::from_millis((SECOND + 60) * 1_000);
    let grant = Grant { user: user.clone(), expires_at, key: key.sid, push_credential };
    assert_eq!(verify(&token, NOW), Ok(grant.clone()));
    assert_eq!(verify(&token, Timestamp::from_millis(expires_at.as_millis() - 1)), Ok(grant));
    assert_eq!(verify(&token, expires_at), Err(TokenError::Expired));
    for (life, expected) in [(MAX_LIFE, None), (MAX_LIFE + Duration::from_secs(1), Some(TokenError::TooLong))] {
        let token = mint(&NewToken { life, ..new.clone() }, NOW);
        assert_eq!(token.as_ref().err(), expected.as_ref());
        assert!(token.is_err() || verify(&token.unwrap(), NOW).is_ok());
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let token = encode(&header().to_string(), &claims().to_string());
    assert!(verify(&token, NOW).is_ok());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let mut longer = claims();
    longer["jti"] = json!("x".repeat(AccessToken::MAX_BYTES));
    for malformed in [
        String::new(),
        ".".into(),
        "..".into(),
        "alice".into(),
        signed.into(),
        format!("{token}."),
        format!(".{token}"),
        format!(" {token}"),
        format!("{token}="),
        format!("{head}!.{body}.{signature}"),
        format!("{head}.{body}+.{signature}"),
        format!("{head}.{}.{signature}", &body[..body.len() - 2]),
        format!("{head}.{body}.{}", signature.replace(['-', '_'], "") + "+/+"),
        encode("[", "{}"),
        encode(&header().to_string(), ""),
        encode(&header().to_string(), "null"),
        encode(&header().to_string(), "[1]"),
        encode(&header().to_string(), &"[".repeat(2_000)),
        encode(&header().to_string(), "{\"exp\":1e999}"),
        encode(&header().to_string(), &longer.to_string()),
    ] {
        assert_eq!(verify(&malformed, NOW), Err(TokenError::Malformed), "{malformed}");
    }
}

#[test]
fn another_header_is_refused() {
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("None")),
        ("alg", json!("HS384")),
        ("alg", json!("HS512")),
        ("alg", json!("RS256")),
        ("alg", json!(["HS256"])),
        ("typ", json!("JWS")),
        ("cty", json!("twilio-fpa;v=2")),
        ("cty", json!("twilio-pkrv;v=1")),
        ("crit", json!(["exp"])),
    ] {
        let mut header = header();
        header[name] = value;
        let token = encode(&header.to_string(), &claims().to_string());
        assert_eq!(verify(&token, NOW), Err(TokenError::Header), "{header}");
    }
    for name in ["alg", "typ", "cty"] {
        let mut header = header();
        header.as_object_mut().unwrap().remove(name);
        assert_eq!(verify(&encode(&header.to_string(), "{}"), NOW), Err(TokenError::Header), "{name}");
    }
    for header in ["1", "[]", "null", "\"HS256\""] {
        assert_eq!(verify(&encode(header, "{}"), NOW), Err(TokenError::Header), "{header}");
    }
    // A region, for example.
    let mut more = header();
    more["twr"] = json!("us1");
    assert!(verify(&encode(&more.to_string(), &claims().to_string()), NOW).is_ok());
}

#[test]
fn every_claim_is_checked() {
    use TokenError::{Expired, Grants, Issuer, Malformed, NotYetValid, TooLong};
    let day = 86_400;
    let refused: &[(&str, Value, TokenError)] = &[
        ("/iss", Value::Null, Issuer),
        ("/iss", json!("AC00000000000000000000000000000001"), Issuer),
        ("/iss", json!(2), Issuer),
        ("/sub", Value::Null, Issuer),
        ("/sub", json!("AC00000000000000000000000000000002"), Issuer),
        ("/sub", json!({}), Issuer),
        ("/exp", Value::Null, Expired),
        ("/exp", json!("1795136400"), Expired),
        ("/exp", json!(SECOND), Expired),
        ("/exp", json!(0), Expired),
        ("/exp", json!(-1e300), Expired),
        // Milliseconds, by mistake.
        ("/exp", json!((SECOND + 3_600) * 1_000), TooLong),
        ("/exp", json!(1e300), TooLong),
        ("/exp", json!(SECOND + day + 62), TooLong),
        ("/iat", json!(SECOND - day), TooLong),
        ("/iat", json!("yesterday"), Malformed),
        ("/nbf", json!(SECOND + 62), NotYetValid),
        ("/nbf", json!("now"), NotYetValid),
        ("/grants", Value::Null, Grants),
        ("/grants", json!([]), Grants),
        ("/grants", json!("chat"), Grants),
        ("/grants/identity", Value::Null, Grants),
        ("/grants/identity", json!(""), Grants),
        ("/grants/identity", json!(1), Grants),
        ("/grants/identity", json!("x".repeat(257)), Grants),
        ("/grants/identity", json!("US00000000000000000000000000000001"), Grants),
        ("/grants/chat", Value::Null, Grants),
        ("/grants/chat", json!("IS00000000000000000000000000000003"), Grants),
        ("/grants/chat", json!({}), Grants),
        ("/grants/chat/service_sid", json!("US00000000000000000000000000000003"), Grants),
        ("/grants/chat/push_credential_sid", json!("apn"), Grants),
    ];
    for (claim, value, error) in refused {
        assert_eq!(with(&[(claim, value.clone())]), Err(*error), "{claim}: {value}");
    }
    let service = json!({ "service_sid": user().service, "push_credential_sid": null, "endpoint_id": "d" });
    let accepted: &[&[(&str, Value)]] = &[
        &[],
        &[("/jti", Value::Null)],
        &[("/exp", json!(SECOND as f64 + 1.5))],
        &[("/exp", json!(SECOND + day + 60))],
        &[("/nbf", json!(SECOND)), ("/iat", Value::Null)],
        &[("/nbf", json!(SECOND + 60)), ("/iat", json!(SECOND + 60))],
        &[("/grants/voice", json!({ "incoming": { "allow": true } }))],
        &[("/grants/chat", service.clone())],
        &[("/grants/chat", Value::Null), ("/grants/ip_messaging", service.clone())],
        &[("/grants/ip_messaging", json!({ "service_sid": "IS00000000000000000000000000000009" }))],
    ];
    for changes in accepted {
        let grant = with(changes);
        assert_eq!(grant.as_ref().map(|grant| &grant.user), Ok(&user()), "{changes:?}");
        assert_eq!(grant.unwrap().push_credential, None);
    }
    // The life counts from when it was issued: a token for two days is refused on the second one too.
    let two_days = [("/iat", json!(SECOND - day - 100)), ("/exp", json!(SECOND + 100))];
    assert_eq!(with(&two_days), Err(TooLong));
    // Nobody prolongs it by a clock that is ahead.
    let ahead = [("/iat", json!(SECOND + 9 * day)), ("/exp", json!(SECOND + 10 * day))];
    assert_eq!(with(&ahead), Err(TooLong));
}

#[test]
fn a_signature_is_of_this_key_and_of_these_claims() {
    let token = encode(&header().to_string(), &claims().to_string());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bob = claims();
    bob["grants"]["identity"] = json!("bob");
    let other = encode(&header().to_string(), &bob.to_string());
    let (other, _) = other.rsplit_once('.').unwrap();
    for forged in [
        format!("{other}.{signature}"),
        format!("{signed}."),
        format!("{signed}.{}", &signature[..signature.len() - 3]),
        format!("{signed}.AAAA"),
    ] {
        let result = verify(&forged, NOW);
        assert!(matches!(result, Err(TokenError::Signature | TokenError::Malformed)), "{forged}: {result:?}");
    }
    assert_eq!(verify(&format!("{other}.{signature}"), NOW), Err(TokenError::Signature));
    let read = AccessToken::parse(&token).unwrap();
    assert_eq!(read.verify(account(), &Secret::new("another secret"), NOW), Err(TokenError::Signature));
    // What an unsigned token says is not looked at.
    let mut expired = claims();
    expired["exp"] = json!(0);
    let expired = encode(&header().to_string(), &expired.to_string());
    let read = AccessToken::parse(&expired).unwrap();
    assert_eq!(read.verify(account(), &Secret::new("another secret"), NOW), Err(TokenError::Signature));
}

#[test]
fn no_byte_can_be_changed_or_left_out() {
    let token = encode(&header().to_string(), &claims().to_string());
    for index in 0..token.len() {
        for other in ["A", "_", "9", ".", "=", "é", ""] {
            let changed = [&token[..index], other, &token[index + 1..]].concat();
            let is_same = changed == token;
            let result = AccessToken::parse(&changed).and_then(|read| read.verify(account(), &key().secret, NOW));
            assert_eq!(result.is_ok(), is_same, "{changed}");
        }
        let begun = AccessToken::parse(&token[..index]).and_then(|read| read.verify(account(), &key().secret, NOW));
        assert!(begun.is_err(), "{}", &token[..index]);
    }
}

#[test]
fn every_error_has_its_code() {
    use TokenError::{Expired, Grants, Header, Issuer, Malformed, NotYetValid, Signature, TooLong};
    let errors = [Malformed, Header, Issuer, Expired, NotYetValid, Grants, Signature, TooLong];
    assert_eq!(errors.map(TokenError::code), [20101, 20102, 20103, 20104, 20105, 20106, 20107, 20157]);
}
