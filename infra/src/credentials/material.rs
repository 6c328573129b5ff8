//! Validation of credentials. They are checked when the owner uploads them, since a provider's later error is harder to
//! understand.

use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::Method;
use reachability_domain::push::vault::InvalidMaterial;
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The user id, which in the subject of Apple's certificates is the app's bundle id.
const USER_ID: Oid<'static> = oid!(0.9.2342.19200300.100.1.1);

/// What Apple appends to a bundle id for the topics of pushes that are neither alerts nor background pushes. They would be
/// refused, or wake the wrong part of the app
/// (<https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>).
const OTHER_TYPES: [&str; 8] = [
    ".voip",
    ".voip-ptt",
    ".complication",
    ".location-query",
    ".pushkit.fileprovider",
    ".push-type.liveactivity",
    ".push-type.controls",
    ".push-type.widgets",
];

/// Checks an APNs signing key, with its id, the owner's team and the app's bundle id.
///
/// # Errors
/// If one of them is malformed.
pub fn apns_key(key_id: &str, team_id: &str, topic: &str, key: &str) -> Result<(Method, Secret), InvalidMaterial> {
    let is_id = |id: &str| id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_id(key_id) {
        return Err(InvalidMaterial::KeyId);
    }
    if !is_id(team_id) {
        return Err(InvalidMaterial::TeamId);
    }
    let topic = checked_topic(topic)?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| InvalidMaterial::SigningKey)?;
    let randomness = ring::rand::SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &randomness)
        .map_err(|_| InvalidMaterial::SigningKey)?;
    Ok((Method::ApnsKey { key_id: key_id.to_owned(), team_id: team_id.to_owned(), topic }, Secret::new(key)))
}

/// Checks an APNs certificate with its key. Without a `topic`, the app's bundle id is taken from the certificate.
///
/// # Errors
/// If one of them is malformed, they do not belong together, or the certificate is not valid now.
pub fn apns_certificate(
    certificate: &str,
    key: &str,
    topic: Option<&str>,
    now: Timestamp,
) -> Result<(Method, Secret), InvalidMaterial> {
    // Either file may hold both sections.
    let (certificate, key) = (sections(certificate, "CERTIFICATE"), sections(key, "PRIVATE KEY"));
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| InvalidMaterial::Certificate)?;
    let der = chain.first().cloned().ok_or(InvalidMaterial::Certificate)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| InvalidMaterial::Certificate)?;
    let time = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1_000));
    let not_before = time(parsed.validity().not_before.timestamp());
    let not_after = time(parsed.validity().not_after.timestamp());
    if now < not_before {
        return Err(InvalidMaterial::NotYetValid(not_before));
    }
    if not_after <= now {
        return Err(InvalidMaterial::Expired(not_after));
    }
    let user_id = parsed.subject().iter_by_oid(&USER_ID).next().and_then(|user_id| user_id.as_str().ok());
    let topic = checked_topic(topic.or(user_id).ok_or(InvalidMaterial::NoTopic)?)?;

    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| InvalidMaterial::PrivateKey)?;
    let signer = any_supported_type(&der).map_err(|_| InvalidMaterial::PrivateKey)?;
    CertifiedKey::new(chain, signer).keys_match().map_err(|_| InvalidMaterial::Mismatch)?;
    Ok((Method::ApnsCertificate { topic, not_after }, Secret::new(certificate + &key)))
}

/// Checks the JSON of a Google service account.
///
/// # Errors
/// If it is not one, or a member is missing or malformed.
pub fn service_account(json: &str) -> Result<(Method, Secret), InvalidMaterial> {
    let Ok(Value::Object(json)) = serde_json::from_str(json) else { return Err(InvalidMaterial::ServerKey) };
    let member = |name, fits: fn(u8) -> bool| {
        let text = json.get(name).and_then(Value::as_str);
        let text = text.filter(|text| (1..=256).contains(&text.len()) && text.bytes().all(fits));
        text.ok_or(InvalidMaterial::Member(name))
    };
    if json.get("type").and_then(Value::as_str) != Some("service_account") {
        return Err(InvalidMaterial::NotServiceAccount);
    }
    // The id becomes part of a path, where dots alone would change the target. Old ids contain a domain:
    // `example.com:project`.
    let project_id = member("project_id", |byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte))?;
    if !project_id.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(InvalidMaterial::Member("project_id"));
    }
    let client_email = member("client_email", |byte| byte.is_ascii_graphic())?;
    if !client_email.contains('@') {
        return Err(InvalidMaterial::Member("client_email"));
    }
    let private_key_id = member("private_key_id", |byte| byte.is_ascii_alphanumeric())?;
    let invalid_key = InvalidMaterial::Member("private_key");
    let key = json.get("private_key").and_then(Value::as_str).ok_or(invalid_key.clone())?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| invalid_key.clone())?;
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| invalid_key)?;
    let method = Method::ServiceAccount {
        project_id: project_id.to_owned(),
        client_email: client_email.to_owned(),
        private_key_id: private_key_id.to_owned(),
    };
    Ok((method, Secret::new(key)))
}

/// Checks the ARN of an SNS platform application. SNS keeps the secret.
///
/// # Errors
/// If it is malformed, or for another channel.
pub fn platform_application(channel: Channel, arn: &str) -> Result<Method, InvalidMaterial> {
    let is_name = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let parts: Vec<&str> = arn.split([':', '/']).filter(|_| arn.len() <= 512).collect();
    if let ["arn", partition, "sns", region, account, "app", platform, name] = parts[..]
        && arn == format!("arn:{partition}:sns:{region}:{account}:app/{platform}/{name}")
        && [partition, region, account].iter().all(|part| is_name(part, b"-"))
        && is_name(name, b"-_.")
        && match channel.canonical() {
            Channel::Apn => matches!(platform, "APNS" | "APNS_SANDBOX"),
            Channel::Fcm | Channel::Gcm => platform == "GCM",
        }
    {
        return Ok(Method::PlatformApplication { arn: arn.to_owned() });
    }
    Err(InvalidMaterial::PlatformApplication)
}

/// The PEM sections whose label ends in `label`, without the text around them.
fn sections(pem: &str, label: &str) -> String {
    let mut found = String::new();
    let mut is_within = false;
    for line in pem.lines().map(str::trim_end) {
        is_within |= line.starts_with("-----BEGIN ") && line.ends_with(&format!("{label}-----"));
        if is_within {
            found.push_str(line);
            found.push('\n');
        }
        is_within &= !line.starts_with("-----END ");
    }
    found
}

fn checked_topic(topic: &str) -> Result<String, InvalidMaterial> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let is_topic = (1..=255).contains(&topic.len()) && topic.bytes().all(fits);
    match is_topic {
        false => Err(InvalidMaterial::Topic),
        true if OTHER_TYPES.iter().any(|suffix| topic.ends_with(suffix)) => Err(InvalidMaterial::TopicOfAnotherType),
        true => Ok(topic.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reachability_test_keys::{certificate, openssl, p256, rsa, service_account as json_of};
    use serde_json::json;

    use super::*;
    use crate::clock;

    const DAY: Duration = Duration::from_secs(86_400);

    /// The error, after checking that it does not contain the input.
    #[track_caller]
    fn refused(given: &str, result: Result<(Method, Secret), InvalidMaterial>) -> InvalidMaterial {
        let error = result.expect_err("the input is invalid");
        for line in given.lines().filter(|line| line.len() >= 40) {
            assert!(!format!("{error:?} {error}").contains(line), "{error}");
        }
        error
    }

    #[test]
    fn only_a_signing_key_is_accepted() {
        let key = p256();
        let (method, secret) = apns_key("ABC123DEFG", "def123ghij", "com.example.app", &key).unwrap();
        assert_eq!(secret.expose(), key);
        let Method::ApnsKey { key_id, team_id, topic } = method else { panic!("{method:?}") };
        assert_eq!((&*key_id, &*team_id, &*topic), ("ABC123DEFG", "def123ghij", "com.example.app"));

        let p384 = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "");
        let sec1 = openssl(&["pkey", "-traditional"], &key);
        let encrypted = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &key);
        let cut = key.replace("\nM", "\nN");
        for key in ["", "x", &p384, &sec1, &encrypted, &cut, &rsa(), &certificate(&key, "/CN=x"), "\u{0}ü"] {
            let result = apns_key("ABC123DEFG", "DEF123GHIJ", "com.example.app", key);
            assert_eq!(refused(key, result), InvalidMaterial::SigningKey);
        }
    }

    #[test]
    fn malformed_apple_ids_are_refused() {
        let key = p256();
        for id in ["", "ABC123DEF", "ABC123DEFGH", "ABC-23DEFG", "ABC 23DEFG", "ÄBC123DEF"] {
            assert_eq!(apns_key(id, "DEF123GHIJ", "a", &key), Err(InvalidMaterial::KeyId), "{id:?}");
            assert_eq!(apns_key("ABC123DEFG", id, "a", &key), Err(InvalidMaterial::TeamId), "{id:?}");
        }
        for topic in ["", "a b", "a/b", "com.example.äpp", "a\r\nb", &"x".repeat(256)] {
            assert_eq!(apns_key("ABC123DEFG", "DEF123GHIJ", topic, &key), Err(InvalidMaterial::Topic), "{topic:?}");
        }
        assert!(apns_key("ABC123DEFG", "DEF123GHIJ", &"x".repeat(255), &key).is_ok());
        let voip = apns_key("ABC123DEFG", "DEF123GHIJ", "com.example.app.voip", &key);
        assert_eq!(voip, Err(InvalidMaterial::TopicOfAnotherType));
    }

    #[test]
    fn a_certificate_needs_its_own_key() {
        // Later than the creation of every certificate in these tests.
        let now = clock::now().plus(Duration::from_secs(60));
        for key in [rsa(), p256()] {
            let certificate = certificate(&key, "/UID=com.example.app/CN=Apple Push Services");
            for key in [key.clone(), openssl(&["pkey", "-traditional"], &key)] {
                let (method, secret) = apns_certificate(&certificate, &key, None, now).unwrap();
                let Method::ApnsCertificate { topic, not_after } = method else { panic!("{method:?}") };
                assert_eq!(topic, "com.example.app");
                assert!(now.plus(DAY * 29) < not_after && not_after < now.plus(DAY * 31), "{not_after}");
                assert_eq!(secret.expose(), format!("{certificate}{key}"));
                let (method, _) = apns_certificate(&certificate, &key, Some("com.example.app2"), now).unwrap();
                assert!(matches!(method, Method::ApnsCertificate { topic, .. } if topic == "com.example.app2"));
                for suffix in OTHER_TYPES {
                    let topic = format!("com.example.app{suffix}");
                    let result = apns_certificate(&certificate, &key, Some(&topic), now);
                    assert_eq!(refused(&key, result), InvalidMaterial::TopicOfAnotherType);
                }
            }
            // Like the export of a tool.
            let both = format!("Bag Attributes\n    friendlyName: x\n{key}{certificate}").replace('\n', "\r\n");
            let (_, secret) = apns_certificate(&both, &both, None, now).unwrap();
            assert_eq!(secret.expose(), format!("{certificate}{key}"));

            let chain = format!("{}{certificate}", self::certificate(&p256(), "/UID=x"));
            assert_eq!(refused(&key, apns_certificate(&chain, &key, None, now)), InvalidMaterial::Mismatch);
            assert_eq!(refused(&key, apns_certificate(&certificate, &p256(), None, now)), InvalidMaterial::Mismatch);
            let encrypted = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &key);
            for key in ["", "x", "-----BEGIN PRIVATE KEY-----", &encrypted, &certificate] {
                let result = apns_certificate(&certificate, key, None, now);
                assert_eq!(refused(key, result), InvalidMaterial::PrivateKey);
            }
            let cut = certificate.replace("\nM", "\nN");
            for certificate in ["", "x", &key, &cut] {
                let result = apns_certificate(certificate, &key, None, now);
                assert_eq!(refused(certificate, result), InvalidMaterial::Certificate);
            }
        }
    }

    #[test]
    fn a_certificate_must_be_valid_now() {
        let key = p256();
        let certificate = certificate(&key, "/UID=com.example.app");
        let at = |now| apns_certificate(&certificate, &key, None, now);
        let now = clock::now();
        let Ok((Method::ApnsCertificate { not_after, .. }, _)) = at(now) else { panic!("it is valid") };
        assert!(at(Timestamp::from_millis(not_after.as_millis() - 1)).is_ok());
        assert_eq!(refused(&key, at(not_after)), InvalidMaterial::Expired(not_after));
        let early = refused(&key, at(Timestamp::from_millis(0)));
        let InvalidMaterial::NotYetValid(not_before) = early else { panic!("{early}") };
        assert!(not_before <= now && at(not_before).is_ok());
    }

    #[test]
    fn a_certificate_names_the_app() {
        let key = p256();
        let now = clock::now().plus(Duration::from_secs(60));
        let unnamed = certificate(&key, "/CN=Apple Push Services: com.example.app");
        assert_eq!(apns_certificate(&unnamed, &key, None, now), Err(InvalidMaterial::NoTopic));
        assert!(apns_certificate(&unnamed, &key, Some("com.example.app"), now).is_ok());
        assert_eq!(apns_certificate(&unnamed, &key, Some("a b"), now), Err(InvalidMaterial::Topic));
        let strange = certificate(&key, "/UID=com example app");
        assert_eq!(apns_certificate(&strange, &key, None, now), Err(InvalidMaterial::Topic));
    }

    #[test]
    fn only_a_service_account_is_accepted() {
        let key = rsa();
        let (method, secret) = service_account(&json_of(&key)).unwrap();
        assert_eq!(secret.expose(), key);
        let Method::ServiceAccount { project_id, client_email, private_key_id } = method else { panic!("{method:?}") };
        assert_eq!(project_id, "example-1");
        assert_eq!(client_email, "push@example-1.iam.gserviceaccount.com");
        assert_eq!(private_key_id, "0123456789abcdef0123456789abcdef01234567");

        let with = |name: &str, value: Value| {
            let mut json: Value = serde_json::from_str(&json_of(&key)).unwrap();
            json[name] = value;
            service_account(&json.to_string())
        };
        assert!(with("project_id", json!("example.com:project")).is_ok());
        let long = "x".repeat(257);
        let small = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "");
        for (name, values) in [
            ("project_id", [json!(".."), json!("a/b"), json!("a b"), json!("a?b"), json!("ä"), json!(long)]),
            ("client_email", [json!("x"), json!("a b@x"), json!("ä@x"), json!(["x"]), json!(7), json!(long)]),
            ("private_key_id", [json!("a b"), json!("a/b"), json!("ä"), json!("a.b"), json!({}), json!(long)]),
            ("private_key", [json!("x"), json!(p256()), json!(small), json!(true), json!([key]), json!("\u{0}")]),
        ] {
            for value in values.into_iter().chain([json!(null), json!("")]) {
                assert_eq!(refused(&key, with(name, value.clone())), InvalidMaterial::Member(name), "{value}");
            }
        }
        for value in [json!(null), json!("authorized_user"), json!(["service_account"])] {
            assert_eq!(refused(&key, with("type", value)), InvalidMaterial::NotServiceAccount);
        }
    }

    #[test]
    fn a_server_key_is_refused_with_an_explanation() {
        let key = rsa();
        for text in ["", "x", "{", "[]", "7", "AIzaSyD0123456789", "AAAA0123:APA91b0123456789", &key] {
            let error = refused(text, service_account(text));
            assert_eq!(error, InvalidMaterial::ServerKey, "{text:?}");
            assert!(error.to_string().contains("2024") && error.to_string().contains("service account"), "{error}");
        }
    }

    #[test]
    fn a_platform_application_must_match_the_channel() {
        let apns = "arn:aws:sns:us-east-1:123456789012:app/APNS/my-app_1.x";
        let sandbox = "arn:aws:sns:us-east-1:123456789012:app/APNS_SANDBOX/x";
        let gcm = "arn:aws-us-gov:sns:us-gov-west-1:123456789012:app/GCM/x";
        for (channel, arn) in [(Channel::Apn, apns), (Channel::Apn, sandbox), (Channel::Fcm, gcm), (Channel::Gcm, gcm)]
        {
            assert_eq!(platform_application(channel, arn), Ok(Method::PlatformApplication { arn: arn.to_owned() }));
        }
        let long = format!("{apns}{}", "x".repeat(512));
        let slashes = apns.replace(':', "/");
        let topic = "arn:aws:sns:us-east-1:123456789012:changes";
        let endpoint = "arn:aws:sns:us-east-1:123456789012:endpoint/APNS/x/y";
        for arn in ["", "x", gcm, &long, &slashes, topic, endpoint, &apns[..39], &format!("{apns}/x"), "arn:aws:sns"] {
            let result = platform_application(Channel::Apn, arn);
            assert_eq!(result, Err(InvalidMaterial::PlatformApplication), "{arn:?}");
        }
        assert!(platform_application(Channel::Fcm, apns).is_err());
    }
}
