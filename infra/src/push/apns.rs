//! Apple Push Notification service.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use a2::{CollapseId, NotificationOptions, Priority as ApnsPriority, PushType};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use reachability_domain::push::apns_payload::{self, MAX_BYTES};
use reachability_domain::push::device::Address;
use reachability_domain::push::outcome::{Fault, PushOutcome};
use reachability_domain::push::payload::{Priority, Push, PushKind};
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use uuid::Uuid;

use super::http::{Http, HttpError, Roots, Versions};
use super::jwt::{NotSigned, Signer};
use super::{CLOCK_STEP, MAX_RETRY_AFTER, MIN_REFUSED_AGE, SetupError, no_answer, retry_after, seconds};

/// How long a provider token is used. Apple rejects tokens older than an hour, and clients that create them more often
/// than every 20 minutes.
const TOKEN_LIFE: Duration = Duration::from_secs(50 * 60);

/// Apple's reason for a provider token that is too old.
const EXPIRED_TOKEN: &str = "ExpiredProviderToken";

/// How the client authenticates at Apple.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// With tokens signed by a key.
    Key {
        /// The key as PEM (p8).
        pem: &'a Secret,
        /// The key's id at Apple.
        key_id: &'a str,
        /// The owner's team at Apple.
        team_id: &'a str,
    },
    /// With a certificate.
    Certificate {
        /// The certificate and its key, concatenated as PEM.
        pem: &'a Secret,
    },
}

/// Sends pushes to the devices of one app.
pub struct Apns {
    http: Http,
    /// For example `https://api.push.apple.com`, without a trailing slash.
    url: String,
    topic: HeaderValue,
    /// `None` with a certificate.
    token: Option<Arc<ProviderToken>>,
    clock: fn() -> Timestamp,
}

impl Apns {
    /// A client for the app with this topic (its bundle id), through the server at this URL. Its provider tokens are its own.
    ///
    /// # Errors
    /// If the key or certificate is unusable, or the topic or URL is malformed.
    pub fn new(
        identity: Identity<'_>,
        topic: &str,
        url: &str,
        roots: &Roots,
        clock: fn() -> Timestamp,
    ) -> Result<Self, SetupError> {
        Self::sharing(&ProviderTokens::default(), identity, topic, url, roots, clock)
    }

    /// The same, with the provider tokens of other clients that use the same key.
    ///
    /// # Errors
    /// As for [`Apns::new`].
    pub fn sharing(
        tokens: &ProviderTokens,
        identity: Identity<'_>,
        topic: &str,
        url: &str,
        roots: &Roots,
        clock: fn() -> Timestamp,
    ) -> Result<Self, SetupError> {
        url.parse::<Uri>().map_err(SetupError::Url)?;
        let (token, certificate) = match identity {
            Identity::Key { pem, key_id, team_id } => (Some(tokens.of(pem, key_id, team_id)?), None),
            Identity::Certificate { pem } => (None, Some(pem)),
        };
        Ok(Self {
            http: Http::new(Versions::Http2, roots, certificate)?,
            url: url.trim_end_matches('/').to_owned(),
            topic: HeaderValue::from_str(topic).map_err(|_| SetupError::Topic)?,
            token,
            clock,
        })
    }

    /// Sends a push to a device. APNs cannot validate without sending, so a dry run is a silent push.
    pub async fn push(&self, device: &Address, push: &Push) -> PushOutcome {
        let id = Uuid::from_u128(push.id).to_string();
        let Ok(collapse_id) = CollapseId::new(&push.collapse_id) else {
            return PushOutcome::rejected("BadCollapseId", Fault::Push);
        };
        let options = NotificationOptions { apns_id: Some(&id), apns_collapse_id: Some(collapse_id), ..options(push) };
        let Some(headers) = headers(&options) else { return PushOutcome::rejected("BadMessage", Fault::Push) };
        match payload(push) {
            Ok(json) => self.send(device, headers, json.into()).await,
            Err(refused) => refused,
        }
    }

    /// Sends the request, and once more with a new token if Apple rejected the token as too old.
    async fn send(&self, device: &Address, mut headers: HeaderMap, body: Bytes) -> PushOutcome {
        let Ok(uri) = format!("{}/3/device/{}", self.url, device.as_str()).parse::<Uri>() else {
            return PushOutcome::rejected("BadPath", Fault::Push);
        };
        headers.insert("apns-topic", self.topic.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, uri, headers);
        let Some(token) = &self.token else { return self.answer(request).await };

        let with = |token: HeaderValue| {
            let mut request = request.clone();
            request.headers_mut().insert(AUTHORIZATION, token);
            request
        };
        let Ok(first) = token.get(self.clock) else { return PushOutcome::unavailable("NotSigned", None) };
        let outcome = self.answer(with(first.clone())).await;
        match &outcome {
            PushOutcome::Rejected(rejection) if rejection.reason.as_str() == EXPIRED_TOKEN => {
                match token.instead_of(&first, self.clock) {
                    Some(second) => self.answer(with(second)).await,
                    None => outcome,
                }
            }
            _ => outcome,
        }
    }

    async fn answer(&self, request: Request<Bytes>) -> PushOutcome {
        let uri = request.uri().clone();
        let response = match self.http.send(request).await {
            Ok(response) => response,
            Err(error) => return self.no_answer(&uri, &error),
        };
        let pause = retry_after(response.headers(), (self.clock)(), MAX_RETRY_AFTER);
        match classify(response.status().as_u16(), response.body(), pause) {
            PushOutcome::Accepted { .. } => {
                let id = response.headers().get("apns-id").and_then(|id| id.to_str().ok());
                PushOutcome::Accepted { id: id.map(str::to_owned) }
            }
            outcome => outcome,
        }
    }

    /// The outcome of a request without a response. The cause may be that Apple does not accept the client's certificate,
    /// which TLS says with an alert.
    fn no_answer(&self, uri: &Uri, error: &HttpError) -> PushOutcome {
        let refused = error.refused_certificate().filter(|_| self.token.is_none());
        refused.map_or_else(|| no_answer(uri, error), |reason| PushOutcome::rejected(reason, Fault::Credential))
    }
}

impl fmt::Debug for Apns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apns").field("url", &self.url).field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// The outcome of Apple's response. Only the documented reasons for a dead device token end a registration: other
/// errors may have other causes. The id of an accepted push is not in the body, but in a header.
pub fn classify(status: u16, body: &[u8], retry_after: Option<Duration>) -> PushOutcome {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let unnamed = format!("Status{status}");
    let reason = body["reason"].as_str().unwrap_or(&unnamed);
    let fault = match (status, reason) {
        (200, _) => return PushOutcome::Accepted { id: None },
        // The token is none, or of another environment or app.
        (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => Fault::Mismatch,
        (410, "Unregistered" | "ExpiredToken") => match &body["timestamp"] {
            Value::Null => Fault::Token { since: None },
            // Without a readable time, the token may have died before the device registered again.
            since => match since.as_i64() {
                None => Fault::Push,
                since => Fault::Token { since: since.map(Timestamp::from_millis) },
            },
        },
        (
            400..=499,
            "BadCertificate"
            | "BadCertificateEnvironment"
            // The last reason is spelt as documented, and as sent.
            | "BadEnvironmentKeyIdInToken"
            | "BadEnvironmentKeyInToken"
            | "BadTopic"
            | EXPIRED_TOKEN
            | "Forbidden"
            | "InvalidProviderToken"
            | "MissingProviderToken"
            | "MissingTopic"
            | "TopicDisallowed"
            | "UnrelatedKeyIdInToken",
        ) => Fault::Credential,
        (400..=428 | 430..=499, _) => Fault::Push,
        // Too many pushes to one device.
        (429, "TooManyRequests") => return PushOutcome::throttled(reason, retry_after),
        // Any other 429 applies to the creation of tokens. 500 and above are Apple's internal errors. Apple documents no
        // others.
        _ => return PushOutcome::unavailable(reason, retry_after),
    };
    PushOutcome::rejected(reason, fault)
}

/// The payload of a push.
///
/// # Errors
/// If the payload is too long.
pub(super) fn payload(push: &Push) -> Result<String, PushOutcome> {
    let payload = match &push.kind {
        PushKind::Alert(content) => Value::Object(apns_payload::payload(content)),
        PushKind::Silent | PushKind::DryRun => json!({ "aps": { "content-available": 1 } }),
    };
    let json = payload.to_string();
    if json.len() <= MAX_BYTES { Ok(json) } else { Err(PushOutcome::rejected("PayloadTooLarge", Fault::Push)) }
}

/// The headers of a push.
pub(super) fn options(push: &Push) -> NotificationOptions<'static> {
    let (push_type, priority, expiration) = match &push.kind {
        // A check is not stored for later delivery.
        PushKind::Silent | PushKind::DryRun => (PushType::Background, ApnsPriority::Normal, Some(0)),
        PushKind::Alert(content) => {
            let (push_type, priority) = match content.priority {
                // Apple wakes the app in the background only for pushes of this type, which must have low priority:
                // https://developer.apple.com/documentation/usernotifications/pushing-background-updates-to-your-app
                _ if !apns_payload::is_shown(content) => (PushType::Background, ApnsPriority::Normal),
                Priority::High => (PushType::Alert, ApnsPriority::High),
                Priority::Low => (PushType::Alert, ApnsPriority::Normal),
            };
            (push_type, priority, push.expires_at.map(|at| u64::try_from(seconds(at)).unwrap_or(0)))
        }
    };
    NotificationOptions {
        apns_push_type: Some(push_type),
        apns_priority: Some(priority),
        apns_expiration: expiration,
        ..NotificationOptions::default()
    }
}

/// Converts the options to HTTP headers; `None` if a value is not allowed in a header.
fn headers(options: &NotificationOptions<'_>) -> Option<HeaderMap> {
    let texts = [
        ("apns-id", options.apns_id.map(str::to_owned)),
        ("apns-push-type", options.apns_push_type.map(|it| it.to_string())),
        ("apns-priority", options.apns_priority.as_ref().map(ToString::to_string)),
        ("apns-expiration", options.apns_expiration.map(|it| it.to_string())),
        ("apns-collapse-id", options.apns_collapse_id.as_ref().map(|it| it.value.to_owned())),
    ];
    let given = texts.into_iter().filter_map(|(name, text)| Some((HeaderName::from_static(name), text?)));
    given.map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))).collect()
}

/// The provider tokens of the keys in use. Apple wants one token for a key of a team, however many apps it is used for, and
/// refuses clients that renew it more often than every 20 minutes
/// (<https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns>).
#[derive(Default)]
pub struct ProviderTokens(Mutex<HashMap<KeyName, Arc<ProviderToken>>>);

/// A team, the id of its key, and the key's hash: another key that is uploaded with this id by mistake has its own tokens.
type KeyName = (String, String, Vec<u8>);

impl ProviderTokens {
    /// Maximum number of keys before those that no client uses are dropped.
    const MAX: usize = 1_000;

    fn of(&self, pem: &Secret, key_id: &str, team_id: &str) -> Result<Arc<ProviderToken>, SetupError> {
        let hash = digest(&SHA256, pem.expose().as_bytes());
        let name = (team_id.to_owned(), key_id.to_owned(), hash.as_ref().to_vec());
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(&name) {
            return Ok(token.clone());
        }
        if tokens.len() >= Self::MAX {
            tokens.retain(|_, token| Arc::strong_count(token) > 1);
        }
        let token = Arc::new(ProviderToken::new(Signer::es256(pem, key_id)?, team_id));
        tokens.insert(name, token.clone());
        Ok(token)
    }
}

impl fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderTokens").finish_non_exhaustive()
    }
}

/// The current provider token. Creates a new one no more often than Apple allows.
struct ProviderToken {
    signer: Signer,
    team_id: String,
    current: Mutex<Option<Issued>>,
}

struct Issued {
    at: Timestamp,
    /// The value of the header, with its scheme.
    bearer: HeaderValue,
}

impl ProviderToken {
    fn new(signer: Signer, team_id: &str) -> Self {
        Self { signer, team_id: team_id.to_owned(), current: Mutex::default() }
    }

    /// The current token. If it is too old, the first caller creates the next one while others wait.
    fn get(&self, clock: fn() -> Timestamp) -> Result<HeaderValue, NotSigned> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock();
        match &*current {
            Some(Issued { at, bearer }) if now.since(*at) < TOKEN_LIFE && at.since(now) <= CLOCK_STEP => {
                Ok(bearer.clone())
            }
            _ => self.issue(&mut current, now),
        }
    }

    /// A replacement for a token that Apple rejected as too old. `None` if its age cannot be the cause.
    fn instead_of(&self, refused: &HeaderValue, clock: fn() -> Timestamp) -> Option<HeaderValue> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock();
        match &*current {
            Some(Issued { bearer, .. }) if bearer != refused => Some(bearer.clone()),
            Some(Issued { at, .. }) if now.since(*at) < MIN_REFUSED_AGE => None,
            _ => self.issue(&mut current, now).ok(),
        }
    }

    fn issue(&self, current: &mut Option<Issued>, now: Timestamp) -> Result<HeaderValue, NotSigned> {
        let jwt = self.signer.sign(&json!({ "iss": self.team_id, "iat": seconds(now) }))?;
        let mut bearer = HeaderValue::try_from(format!("bearer {jwt}")).map_err(|_| NotSigned)?;
        bearer.set_sensitive(true);
        *current = Some(Issued { at: now, bearer: bearer.clone() });
        Ok(bearer)
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::push::payload::Content;

    use super::*;

    fn payload(push: &Push) -> Value {
        serde_json::from_str(&super::payload(push).unwrap()).unwrap()
    }

    fn push(kind: PushKind) -> Push {
        Push { id: 1, collapse_id: "c".to_owned(), expires_at: Some(Timestamp::from_millis(1_795_132_800_999)), kind }
    }

    fn header(push: &Push, name: &str) -> Option<String> {
        headers(&options(push)).unwrap().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_check_is_silent_and_not_stored() {
        for kind in [PushKind::Silent, PushKind::DryRun] {
            let push = push(kind);
            assert_eq!(payload(&push), json!({ "aps": { "content-available": 1 } }));
            assert_eq!(header(&push, "apns-push-type").unwrap(), "background");
            assert_eq!(header(&push, "apns-priority").unwrap(), "5");
            assert_eq!(header(&push, "apns-expiration").unwrap(), "0");
        }
    }

    #[test]
    fn an_alert_has_its_content() {
        let Value::Object(data) = json!({ "channel": { "id": 7 }, "aps": { "badge": 9 } }) else { unreachable!() };
        let content = Content {
            title: Some("T".to_owned()),
            body: Some("B".to_owned()),
            data,
            priority: Priority::Low,
            sound: Some("ping.aiff".to_owned()),
            ..Content::default()
        };
        let mut push = push(PushKind::Alert(content));
        assert_eq!(
            payload(&push),
            json!({ "aps": { "alert": { "title": "T", "body": "B" }, "sound": "ping.aiff" }, "channel": { "id": 7 } })
        );
        assert_eq!(header(&push, "apns-push-type").unwrap(), "alert");
        assert_eq!(header(&push, "apns-priority").unwrap(), "5");
        assert_eq!(header(&push, "apns-expiration").unwrap(), "1795132800", "the requested expiry");

        push.kind = PushKind::Alert(Content { body: Some("B".to_owned()), ..Content::default() });
        push.expires_at = None;
        assert_eq!(payload(&push), json!({ "aps": { "alert": "B" } }));
        assert_eq!(header(&push, "apns-priority").unwrap(), "10");
        assert_eq!(header(&push, "apns-expiration"), None);
    }

    #[test]
    fn data_alone_is_a_background_push() {
        let Value::Object(data) = json!({ "room": 7 }) else { unreachable!() };
        for priority in [Priority::High, Priority::Low] {
            let push = push(PushKind::Alert(Content { data: data.clone(), priority, ..Content::default() }));
            assert_eq!(payload(&push), json!({ "aps": { "content-available": 1 }, "room": 7 }));
            assert_eq!(header(&push, "apns-push-type").unwrap(), "background");
            assert_eq!(header(&push, "apns-priority").unwrap(), "5");
            assert_eq!(header(&push, "apns-expiration").unwrap(), "1795132800", "unlike that of a check");
        }
        let sound = Some("ping".to_owned());
        let push = push(PushKind::Alert(Content { data, sound, ..Content::default() }));
        assert_eq!(payload(&push), json!({ "aps": { "sound": "ping" }, "room": 7 }));
        assert_eq!(header(&push, "apns-push-type").unwrap(), "alert", "it is heard");
    }

    #[test]
    fn only_documented_reasons_end_a_token() {
        let classify = |status, body: &str| classify(status, body.as_bytes(), None);
        let dead = |reason, since: Option<i64>| {
            PushOutcome::rejected(reason, Fault::Token { since: since.map(Timestamp::from_millis) })
        };
        for reason in ["BadDeviceToken", "DeviceTokenNotForTopic"] {
            let body = format!(r#"{{"reason":"{reason}"}}"#);
            assert_eq!(classify(400, &body), PushOutcome::rejected(reason, Fault::Mismatch));
        }
        assert_eq!(classify(410, r#"{"reason":"Unregistered"}"#), dead("Unregistered", None));
        for reason in ["Unregistered", "ExpiredToken"] {
            let body = format!(r#"{{"reason":"{reason}","timestamp":1795132800123}}"#);
            assert_eq!(classify(410, &body), dead(reason, Some(1_795_132_800_123)));
        }
        for (status, body, reason) in [
            (410, r#"{"reason":"Unregistered","timestamp":"yesterday"}"#, "Unregistered"),
            (410, r#"{"reason":"Unregistered","timestamp":1e300}"#, "Unregistered"),
            (410, r#"{"reason":"SomethingNew","timestamp":1}"#, "SomethingNew"),
            (410, r#"{"reason":7}"#, "Status410"),
            (410, "", "Status410"),
            (410, "<html>gone</html>", "Status410"),
            (410, r#""Unregistered""#, "Status410"),
            (410, r#"["Unregistered"]"#, "Status410"),
            (410, r#"{"reason":"BadDeviceToken"}"#, "BadDeviceToken"),
            (400, r#"{"reason":"Unregistered"}"#, "Unregistered"),
            (404, r#"{"reason":"BadDeviceToken"}"#, "BadDeviceToken"),
            (404, r#"{"reason":"DeviceTokenNotForTopic"}"#, "DeviceTokenNotForTopic"),
            (400, "\u{0}{", "Status400"),
            (418, r#"{"reason":"<b>"}"#, "b"),
        ] {
            assert_eq!(classify(status, body), PushOutcome::rejected(reason, Fault::Push), "{status} {body}");
        }
        let pause = Some(Duration::from_secs(3));
        assert_eq!(
            super::classify(429, br#"{"reason":"TooManyRequests"}"#, pause),
            PushOutcome::throttled("TooManyRequests", pause)
        );
        for status in [100, 204, 302, 429, 500, 502, 503, 504, 599, 999] {
            let outcome = super::classify(status, br#"{"reason":"Unregistered"}"#, pause);
            assert_eq!(outcome, PushOutcome::unavailable("Unregistered", pause), "{status}");
        }
    }

    #[test]
    fn a_collapse_id_that_is_not_a_valid_header_is_not_sent() {
        let options = NotificationOptions { apns_collapse_id: CollapseId::new("a\nb").ok(), ..Default::default() };
        assert!(headers(&options).is_none());
    }
}
