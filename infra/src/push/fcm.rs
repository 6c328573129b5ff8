//! Firebase Cloud Messaging, with its HTTP v1 API.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use reachability_domain::push::device::Address;
use reachability_domain::push::fcm_message::{self, is_shown_on_android, is_shown_on_ios};
use reachability_domain::push::outcome::{Fault, PushOutcome, Rejection};
use reachability_domain::push::payload::{Content, Priority, Push, PushKind};
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Http, Roots, Versions};
use super::jwt::Signer;
use super::{CLOCK_STEP, MAX_RETRY_AFTER, MIN_REFUSED_AGE, SetupError, no_answer, retry_after, seconds};

/// The OAuth scope of access tokens.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// The audience of the signed assertion. It is always this one, also if the request goes through a proxy
/// (<https://developers.google.com/identity/protocols/oauth2/service-account>).
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// Lifetime of the signed assertion that requests an access token: Google's maximum.
const ASSERTION_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long before its expiry an access token is renewed. It stays in use meanwhile.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// How long before its expiry an access token is no longer used: requests take time, and clocks differ.
const UNUSED_BEFORE: Duration = Duration::from_secs(30);

/// Google's maximum time to live of a message.
const MAX_TTL: Duration = Duration::from_secs(28 * 86_400);

/// Google's word for a message of which some part is wrong. It does not always say which.
const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";

/// The reasons for a rejected access token: FCM's own, and this client's for a 401 without a reason.
const REFUSED_TOKEN: [&str; 2] = ["UNAUTHENTICATED", "Status401"];

/// A service account, which authenticates the client at Google.
#[derive(Debug, Clone, Copy)]
pub struct ServiceAccount<'a> {
    /// The project at Google.
    pub project_id: &'a str,
    /// The account's email address.
    pub client_email: &'a str,
    /// The key's id at Google.
    pub private_key_id: &'a str,
    /// The key as PEM.
    pub private_key: &'a Secret,
}

/// Sends pushes to the devices of one project's apps.
pub struct Fcm {
    http: Http,
    send: Uri,
    tokens: AccessTokens,
    clock: fn() -> Timestamp,
}

impl Fcm {
    /// A client for this service account, through the server at `url`, with access tokens from `token_url`. The URL in
    /// the service account's JSON is not used: whoever supplied the JSON could otherwise direct signed requests
    /// anywhere.
    ///
    /// # Errors
    /// If the key is unusable, or the project's id or a URL is malformed.
    pub fn new(
        account: ServiceAccount<'_>,
        url: &str,
        token_url: &str,
        roots: &Roots,
        clock: fn() -> Timestamp,
    ) -> Result<Self, SetupError> {
        let project = account.project_id;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        if project.is_empty() || !project.bytes().all(fits) {
            return Err(SetupError::ProjectId);
        }
        let send = format!("{}/v1/projects/{project}/messages:send", url.trim_end_matches('/'));
        Ok(Self {
            http: Http::new(Versions::Http2, roots, None)?,
            send: send.parse().map_err(SetupError::Url)?,
            tokens: AccessTokens {
                http: Http::new(Versions::Any, roots, None)?,
                uri: token_url.parse().map_err(SetupError::Url)?,
                signer: Signer::rs256(account.private_key, account.private_key_id)?,
                issuer: account.client_email.to_owned(),
                clock,
                state: Mutex::default(),
                renewing: tokio::sync::Mutex::default(),
            },
            clock,
        })
    }

    /// Sends a push to a device.
    pub async fn push(&self, device: &Address, push: &Push) -> PushOutcome {
        match self.answer(device, push).await {
            // All of a check but the token is the same for every device.
            PushOutcome::Rejected(Rejection { reason, fault: Fault::Push })
                if reason.as_str() == INVALID_ARGUMENT && !matches!(push.kind, PushKind::Alert(_)) =>
            {
                PushOutcome::Rejected(Rejection { reason, fault: Fault::Mismatch })
            }
            outcome => outcome,
        }
    }

    async fn answer(&self, device: &Address, push: &Push) -> PushOutcome {
        let body = Bytes::from(request(device, push, (self.clock)()).to_string());
        let first = match self.tokens.get().await {
            Ok(token) => token,
            Err(outcome) => return outcome,
        };
        let outcome = self.send(&first, body.clone()).await;
        match &outcome {
            PushOutcome::Rejected(rejection) if REFUSED_TOKEN.contains(&rejection.reason.as_str()) => {
                match self.tokens.instead_of(&first).await {
                    Ok(Some(second)) => self.send(&second, body).await,
                    Ok(None) => outcome,
                    Err(outcome) => outcome,
                }
            }
            _ => outcome,
        }
    }

    async fn send(&self, token: &AccessToken, body: Bytes) -> PushOutcome {
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, self.send.clone());
        request.headers_mut().insert(AUTHORIZATION, token.bearer.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.http.send(request).await {
            Err(error) => no_answer(&self.send, &error),
            Ok(response) => {
                let pause = retry_after(response.headers(), (self.clock)(), MAX_RETRY_AFTER);
                classify(response.status().as_u16(), response.body(), pause)
            }
        }
    }
}

impl fmt::Debug for Fcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fcm").field("send", &self.send).finish_non_exhaustive()
    }
}

/// The outcome of Google's response. A device token is dead only if FCM itself answers `UNREGISTERED`. A 404 without
/// that reason means an unknown project, and an invalid argument may be any argument. A body that is not JSON does not
/// come from FCM.
pub fn classify(status: u16, body: &[u8], retry_after: Option<Duration>) -> PushOutcome {
    let unnamed = format!("Status{status}");
    let answer: Value = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) if body.is_empty() => Value::Null,
        Err(_) => return PushOutcome::unavailable(&unnamed, retry_after),
    };
    if let (200, Some(name)) = (status, answer["name"].as_str()) {
        return PushOutcome::Accepted { id: Some(name.to_owned()) };
    }
    let error = &answer["error"];
    let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_fcm =
        |detail: &&Value| detail["@type"].as_str().is_some_and(|it| it.ends_with("google.firebase.fcm.v1.FcmError"));
    let code = details.iter().find(is_fcm).and_then(|detail| detail["errorCode"].as_str());
    let reason = code.or(error["status"].as_str()).unwrap_or(&unnamed);
    let fault = match (status, reason) {
        (404, "UNREGISTERED") if code.is_some() => Fault::Token { since: None },
        (400..=499, "SENDER_ID_MISMATCH") => Fault::Mismatch,
        (400..=499, INVALID_ARGUMENT) if is_about_token(details) => Fault::Mismatch,
        (400..=499, "UNREGISTERED" | INVALID_ARGUMENT) => Fault::Push,
        // Of this device, or of the project: the answers look the same.
        (400..=499, "QUOTA_EXCEEDED") | (429, _) => return PushOutcome::throttled(reason, retry_after),
        (400..=499, "UNAVAILABLE" | "INTERNAL") => return PushOutcome::unavailable(reason, retry_after),
        // Occurs only for devices that FCM reaches through APNs.
        (_, "THIRD_PARTY_AUTH_ERROR") => Fault::Push,
        (401 | 403 | 404, _) | (400..=499, "UNAUTHENTICATED" | "PERMISSION_DENIED") => Fault::Credential,
        (400..=499, _) => Fault::Push,
        _ => return PushOutcome::unavailable(reason, retry_after),
    };
    PushOutcome::rejected(reason, fault)
}

/// Whether an error is about the device's token, and not about the message.
fn is_about_token(details: &[Value]) -> bool {
    let violations = details.iter().filter_map(|detail| detail["fieldViolations"].as_array()).flatten();
    violations.into_iter().any(|violation| violation["field"] == "message.token")
}

/// The request body of a push.
fn request(device: &Address, push: &Push, now: Timestamp) -> Value {
    let mut message = message(push, now);
    message["token"] = device.as_str().into();
    json!({ "validate_only": push.kind == PushKind::DryRun, "message": message })
}

/// A push as FCM's message, without its target.
pub(super) fn message(push: &Push, now: Timestamp) -> Value {
    match &push.kind {
        PushKind::DryRun => json!({ "data": check() }),
        PushKind::Silent => json!({
            "data": check(),
            "android": { "priority": "NORMAL", "ttl": "0s" },
            "apns": {
                "headers": { "apns-push-type": "background", "apns-priority": "5", "apns-expiration": "0" },
                "payload": { "aps": { "content-available": 1 } },
            },
            "webpush": { "headers": { "TTL": "0", "Urgency": "low" } },
        }),
        PushKind::Alert(content) => alert(content, push, now),
    }
}

/// The data of a check, so that the app can tell it from other messages.
fn check() -> Value {
    json!({ "reachability": "check" })
}

/// A notification: what it says, and how it is sent.
fn alert(content: &Content, push: &Push, now: Timestamp) -> Value {
    let says = fcm_message::message(content);
    let (is_tagged, is_alert) = (is_shown_on_android(&says), is_shown_on_ios(&says));
    let mut message = Value::Object(says);
    let ttl = push.expires_at.map(|at| at.since(now).min(MAX_TTL).as_secs());
    let (android_priority, apns_priority, urgency) = match content.priority {
        Priority::High => ("HIGH", "10", "high"),
        Priority::Low => ("NORMAL", "5", "low"),
    };
    if message["android"]["priority"].is_null() {
        message["android"]["priority"] = android_priority.into();
    }
    message["android"]["ttl"] = ttl.map(|seconds| format!("{seconds}s")).into();
    // Only the owner's id is a collapse key. With a key for each notification, FCM would keep only four messages for a device
    // that is offline, and throttle them:
    // https://firebase.google.com/docs/cloud-messaging/customize-messages/collapsible-message-types
    message["android"]["collapse_key"] = content.collapse_id.clone().into();
    if is_tagged {
        // The tag replaces a notification that is shown already, and so hides that a push was sent twice.
        message["android"]["notification"]["tag"] = push.collapse_id.as_str().into();
    }
    // Without visible content, Apple takes it only as a background push.
    let (apns_type, apns_priority) = if is_alert { (None, apns_priority) } else { (Some("background"), "5") };
    message["apns"]["headers"] = json!({
        "apns-collapse-id": push.collapse_id,
        "apns-push-type": apns_type,
        "apns-priority": apns_priority,
        "apns-expiration": push.expires_at.map(|at| seconds(at).max(0).to_string()),
    });
    let topic = &push.collapse_id;
    let is_topic = topic.len() <= 32 && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    message["webpush"]["headers"] = json!({
        "TTL": ttl.map(|seconds| seconds.to_string()),
        "Urgency": urgency,
        "Topic": is_topic.then_some(topic),
    });
    without_nulls(&mut message);
    message
}

/// Removes members that are null: FCM rejects some of them, and a missing member means the default.
fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

/// Gets access tokens, with one request at a time.
struct AccessTokens {
    http: Http,
    uri: Uri,
    signer: Signer,
    issuer: String,
    clock: fn() -> Timestamp,
    state: Mutex<State>,
    /// Held while a token is requested.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<AccessToken>>,
    /// Number of requests so far, and the failed outcome of the last one, if it failed. Callers that waited for that
    /// request share its outcome.
    asked: u64,
    failure: Option<PushOutcome>,
}

struct AccessToken {
    bearer: HeaderValue,
    since: Timestamp,
    until: Timestamp,
}

/// Google's response with an access token.
#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    /// Lifetime in seconds.
    expires_in: u64,
}

impl AccessTokens {
    /// The current access token. On failure, the outcome for the push that needed it.
    async fn get(&self) -> Result<Arc<AccessToken>, PushOutcome> {
        let (known, asked) = {
            let state = self.state();
            (state.token.clone(), state.asked)
        };
        let now = (self.clock)();
        let left = known.as_ref().map_or(Duration::ZERO, |token| token.left(now));
        match known {
            Some(token) if left > RENEW_BEFORE => Ok(token),
            // One caller requests the next token; the others keep using this one.
            Some(token) if left > UNUSED_BEFORE => match self.renewing.try_lock() {
                Ok(_renewing) => Ok(self.ask().await.unwrap_or(token)),
                Err(_) => Ok(token),
            },
            _ => {
                let _renewing = self.renewing.lock().await;
                self.ask_unless_asked(asked).await
            }
        }
    }

    /// A replacement for a rejected token. `None` if its age cannot be the cause.
    async fn instead_of(&self, refused: &Arc<AccessToken>) -> Result<Option<Arc<AccessToken>>, PushOutcome> {
        let asked = self.state().asked;
        let _renewing = self.renewing.lock().await;
        let known = self.state().token.clone();
        match known {
            Some(token) if !Arc::ptr_eq(&token, refused) => Ok(Some(token)),
            Some(token) if (self.clock)().since(token.since) < MIN_REFUSED_AGE => Ok(None),
            _ => self.ask_unless_asked(asked).await.map(Some),
        }
    }

    /// Requests a token, unless another caller has done so since `asked`.
    async fn ask_unless_asked(&self, asked: u64) -> Result<Arc<AccessToken>, PushOutcome> {
        {
            let state = self.state();
            match (&state.failure, &state.token) {
                _ if state.asked == asked => {}
                (Some(failure), _) => return Err(failure.clone()),
                (None, Some(token)) => return Ok(token.clone()),
                (None, None) => {}
            }
        }
        self.ask().await
    }

    async fn ask(&self) -> Result<Arc<AccessToken>, PushOutcome> {
        let result = self.request().await;
        let mut state = self.state();
        state.asked += 1;
        state.failure = result.as_ref().err().cloned();
        if let Ok(token) = &result {
            state.token = Some(token.clone());
        }
        result
    }

    async fn request(&self) -> Result<Arc<AccessToken>, PushOutcome> {
        let now = (self.clock)();
        let claims = json!({
            "iss": self.issuer,
            "scope": SCOPE,
            "aud": AUDIENCE,
            "iat": seconds(now),
            "exp": seconds(now.plus(ASSERTION_LIFE)),
        });
        let Ok(assertion) = self.signer.sign(&claims) else { return Err(PushOutcome::unavailable("NotSigned", None)) };
        // Only the colons need escaping here.
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let mut request = Request::new(Bytes::from(form));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, self.uri.clone());
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        let response = self.http.send(request).await;
        let response = response.map_err(|error| no_answer(&self.uri, &error).of_preparation())?;
        let pause = retry_after(response.headers(), (self.clock)(), MAX_RETRY_AFTER);
        let granted = granted(response.status().as_u16(), response.body(), pause)?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", granted.access_token.expose()));
        let mut bearer = bearer.map_err(|_| PushOutcome::unavailable("BadAccessToken", None))?;
        bearer.set_sensitive(true);
        let until = now.plus(Duration::from_secs(granted.expires_in));
        Ok(Arc::new(AccessToken { bearer, since: now, until }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessToken {
    /// The remaining lifetime; zero if the clock was set back.
    fn left(&self, now: Timestamp) -> Duration {
        if self.since.since(now) > CLOCK_STEP { Duration::ZERO } else { self.until.since(now) }
    }
}

/// Parses Google's response to a token request.
fn granted(status: u16, body: &[u8], retry_after: Option<Duration>) -> Result<Granted, PushOutcome> {
    if status == 200 {
        return serde_json::from_slice(body).map_err(|_| PushOutcome::unavailable("BadAccessToken", retry_after));
    }
    let unnamed = format!("Status{status}");
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let reason = answer["error"].as_str().unwrap_or(&unnamed);
    Err(match status {
        400 | 401 | 403 => PushOutcome::rejected(reason, Fault::Credential),
        _ => PushOutcome::unavailable(reason, retry_after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unregistered_from_fcm_ends_a_token() {
        let body = json!({ "error": { "code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND",
            "details": [{ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED" }] } });
        let body = body.to_string();
        let dead = PushOutcome::rejected("UNREGISTERED", Fault::Token { since: None });
        for status in 100..=999 {
            assert_eq!(classify(status, body.as_bytes(), None) == dead, status == 404, "{status}");
        }
        for end in 0..body.len() {
            assert_ne!(classify(404, &body.as_bytes()[..end], None), dead, "cut off after {end} bytes");
        }
        // The same word from another API, or in another member.
        for other in [
            body.replace("firebase.fcm.v1.FcmError", "rpc.ErrorInfo"),
            body.replace("errorCode", "reason"),
            body.replace("details", "causes"),
            body.replace("\"UNREGISTERED\"", "[\"UNREGISTERED\"]"),
        ] {
            assert_eq!(
                classify(404, other.as_bytes(), None),
                PushOutcome::rejected("NOT_FOUND", Fault::Credential),
                "{other}"
            );
        }
    }

    #[test]
    fn the_ttl_is_limited_to_googles_maximum() {
        let now = Timestamp::from_millis(1_795_132_800_000);
        for (seconds, ttl) in [(0, "0s"), (1, "1s"), (30 * 86_400, "2419200s")] {
            let push = Push {
                id: 1,
                collapse_id: "c".to_owned(),
                expires_at: Some(now.plus(Duration::from_secs(seconds))),
                kind: PushKind::Alert(Content::default()),
            };
            let PushKind::Alert(content) = &push.kind else { unreachable!() };
            assert_eq!(alert(content, &push, now)["android"]["ttl"], ttl);
            assert_eq!(alert(content, &push, now.plus(Duration::from_secs(seconds + 1)))["android"]["ttl"], "0s");
        }
    }
}
