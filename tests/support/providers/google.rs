//! A stand-in for Google: its OAuth 2.0 token endpoint, and FCM's HTTP v1 API.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_test_keys as keys;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use uuid::Uuid;

use super::ca::Ca;
use super::verified;
use super::wire::{Answer, Provider, Reply, Request, Script, Wire};

/// For how long an access token is valid.
const TOKEN_LIFE: Duration = Duration::from_secs(3_599);

/// Google, with one service account of one project. It ends when dropped.
pub struct Google {
    wire: Wire,
    state: Arc<State>,
    ca: Arc<Ca>,
}

struct State {
    clock: fn() -> Timestamp,
    /// The answers to messages.
    script: Script,
    token_script: Script,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    keeps_none: bool,
    token_requests: Vec<Request>,
    /// The access tokens, with the times at which they expire.
    access_tokens: HashMap<String, Timestamp>,
    /// Notifications by registration token and tag.
    shown: BTreeMap<(String, String), Value>,
}

impl Google {
    /// The project's id.
    pub const PROJECT_ID: &str = "example-app";
    /// The service account's name.
    pub const CLIENT_EMAIL: &str = "push@example-app.iam.gserviceaccount.com";
    /// The id of its key.
    pub const KEY_ID: &str = "0123456789abcdef";

    /// Starts with a new certificate authority and the real time.
    pub async fn start() -> Self {
        Self::start_with(Arc::new(Ca::new()), clock::now).await
    }

    /// Starts with this certificate authority and this time.
    pub async fn start_with(ca: Arc<Ca>, clock: fn() -> Timestamp) -> Self {
        let script = Script::default;
        let state = Arc::new(State { clock, script: script(), token_script: script(), seen: Mutex::default() });
        Self { wire: Wire::start(ca.server(), state.clone()).await, state, ca }
    }

    /// The URL of FCM.
    pub fn url(&self) -> String {
        self.wire.url()
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> String {
        self.url() + "/token"
    }

    /// The root certificate of its certificate, in PEM.
    pub fn roots_pem(&self) -> String {
        self.ca.pem()
    }

    /// The service account's key, in PEM. It takes a while to make, so there is one for all.
    pub fn key() -> Secret {
        static KEY: OnceLock<Secret> = OnceLock::new();
        KEY.get_or_init(|| Secret::new(keys::rsa())).clone()
    }

    /// The JSON of the service account with this key.
    pub fn service_account(key: &str) -> String {
        let account = json!({
            "type": "service_account",
            "project_id": Self::PROJECT_ID,
            "private_key_id": Self::KEY_ID,
            "private_key": key,
            "client_email": Self::CLIENT_EMAIL,
        });
        account.to_string()
    }

    /// Sets the answer to messages to this registration token from now on.
    pub fn answer(&self, token: &str, answer: Answer) {
        self.state.script.always(token, answer);
    }

    /// Sets the answer to the next message to this registration token. A further call is for the message after that.
    pub fn answer_once(&self, token: &str, answer: Answer) {
        self.state.script.once(token, answer);
    }

    /// Sets the answer to all messages from now on whose registration token has no answer of its own.
    pub fn answer_all(&self, answer: Answer) {
        self.state.script.always("", answer);
    }

    /// Sets the answer to requests for access tokens from now on.
    pub fn answer_tokens(&self, answer: Answer) {
        self.state.token_script.always("", answer);
    }

    /// Sets the answer to the next request for an access token. A further call is for the request after that.
    pub fn answer_token_once(&self, answer: Answer) {
        self.state.token_script.once("", answer);
    }

    /// Revokes all access tokens.
    pub fn revoke(&self) {
        self.state.seen.lock().unwrap().access_tokens.clear();
    }

    /// Sets how many requests may be pending on a connection, for new connections.
    pub fn max_concurrent_streams(&self, count: usize) {
        self.wire.max_streams(count);
    }

    /// Goes down: ends all connections and accepts no more.
    pub async fn down(&self) {
        self.wire.down().await;
    }

    /// Comes up again at the same address.
    pub async fn up(&self) {
        self.wire.up().await;
    }

    /// Records no requests from now on, for tests that send very many.
    pub fn keep_no_requests(&self) {
        self.state.seen.lock().unwrap().keeps_none = true;
    }

    /// How many connections it has accepted, for access tokens and for messages.
    pub fn connections(&self) -> usize {
        self.wire.connections()
    }

    /// The requests with messages so far, good or bad.
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen.lock().unwrap().requests.clone()
    }

    /// The assertions in the requests for access tokens so far.
    pub fn assertions(&self) -> Vec<String> {
        let seen = self.state.seen.lock().unwrap();
        let body = |request: &Request| String::from_utf8(request.body.to_vec()).unwrap();
        let assertion =
            |body: String| body.split("assertion=").nth(1).map(|it| it.split('&').next().unwrap().to_owned());
        seen.token_requests.iter().map(body).filter_map(assertion).collect()
    }

    /// How many requests for access tokens there were.
    pub fn token_requests(&self) -> usize {
        self.state.seen.lock().unwrap().token_requests.len()
    }

    /// The notifications that this device shows.
    pub fn shown(&self, token: &str) -> Vec<Value> {
        let seen = self.state.seen.lock().unwrap();
        seen.shown.iter().filter(|((of, _), _)| of == token).map(|(_, message)| message.clone()).collect()
    }
}

impl Provider for State {
    fn handle(&self, request: Request) -> (Answer, Reply) {
        if request.path == "/token" { self.grant(request) } else { self.send(request) }
    }
}

impl State {
    fn grant(&self, request: Request) -> (Answer, Reply) {
        let answer = self.token_script.next("");
        let mut seen = self.seen.lock().unwrap();
        let reply = match refusal_of_assertion(&request, (self.clock)()) {
            Some(error) => Reply { status: 400, body: json!({ "error": error }).to_string(), ..Reply::default() },
            None => {
                let token = Uuid::new_v4().to_string();
                seen.access_tokens.insert(token.clone(), (self.clock)().plus(TOKEN_LIFE));
                let life = TOKEN_LIFE.as_secs();
                let body = json!({ "access_token": token, "expires_in": life, "token_type": "Bearer" });
                Reply { status: 200, body: body.to_string(), ..Reply::default() }
            }
        };
        seen.token_requests.push(request);
        (answer, reply)
    }

    fn send(&self, request: Request) -> (Answer, Reply) {
        let json = request.json();
        let token = json["message"]["token"].as_str().unwrap_or_default().to_owned();
        let answer = self.script.next(&token);
        let mut seen = self.seen.lock().unwrap();
        let access = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let is_allowed = seen.access_tokens.get(access).is_some_and(|until| (self.clock)() < *until);
        let refusal = match () {
            () if !is_allowed => Some((401, "UNAUTHENTICATED")),
            () if request.path != format!("/v1/projects/{}/messages:send", Google::PROJECT_ID) => {
                Some((404, "NOT_FOUND"))
            }
            () if request.method != "POST" || !is_message(&json) => Some((400, "INVALID_ARGUMENT")),
            () => None,
        };
        let is_dry = json["validate_only"] == true;
        let reply = match refusal {
            Some((status, word)) => {
                let body = json!({ "error": { "code": status, "message": "refused", "status": word } }).to_string();
                Reply { status, body, ..Reply::default() }
            }
            None => {
                let id = if is_dry { "fake_message_id".to_owned() } else { seen.requests.len().to_string() };
                if answer.is_taken() && !is_dry && json["message"]["notification"].is_object() {
                    let tag = json["message"]["android"]["notification"]["tag"].as_str().unwrap_or(&id).to_owned();
                    seen.shown.insert((token, tag), json["message"].clone());
                }
                let name = format!("projects/{}/messages/{id}", Google::PROJECT_ID);
                Reply { status: 200, body: json!({ "name": name }).to_string(), ..Reply::default() }
            }
        };
        if !seen.keeps_none {
            seen.requests.push(request);
        }
        (answer, reply)
    }
}

/// Why a request for an access token is refused.
fn refusal_of_assertion(request: &Request, now: Timestamp) -> Option<&'static str> {
    let form = String::from_utf8_lossy(&request.body).replace("%3A", ":");
    let grant = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=";
    let is_form = request.header("content-type") == "application/x-www-form-urlencoded" && request.method == "POST";
    let Some(assertion) = form.strip_prefix(grant).filter(|_| is_form) else { return Some("invalid_request") };
    let der = PrivatePkcs8KeyDer::from_pem_slice(Google::key().expose().as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let Some((header, claims)) = verified(assertion, &RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref()) else {
        return Some("invalid_grant");
    };
    let seconds = now.as_millis() / 1_000;
    let (issued_at, ends_at) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
    let is_good = header["alg"] == "RS256"
        && header["kid"] == Google::KEY_ID
        && claims["iss"] == Google::CLIENT_EMAIL
        && claims["aud"] == "https://oauth2.googleapis.com/token"
        && issued_at <= seconds
        && ends_at > seconds
        && ends_at - issued_at <= 3_600;
    match () {
        () if !is_good => Some("invalid_grant"),
        () if claims["scope"] != "https://www.googleapis.com/auth/firebase.messaging" => Some("invalid_scope"),
        () => None,
    }
}

/// Whether FCM reserves the name of a member of `data`.
fn is_reserved(key: &str) -> bool {
    ["from", "message_type"].contains(&key) || ["google", "gcm"].iter().any(|start| key.starts_with(start))
}

/// Whether Apple would take the message. Without anything to show, it wants low priority.
fn is_for_apple(message: &Value) -> bool {
    let (headers, aps) = (&message["apns"]["headers"], &message["apns"]["payload"]["aps"]);
    let is_visible =
        message["notification"].is_object() || ["alert", "badge", "sound"].iter().any(|it| !aps[it].is_null());
    is_visible || headers.is_null() || (headers["apns-priority"] == "5" && headers["apns-push-type"] == "background")
}

/// Whether these are members of Android's notification, with their types:
/// <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#AndroidNotification>.
fn is_for_android(notification: &Value) -> bool {
    let is_member = |(name, value): (&String, &Value)| match name.as_str() {
        "sticky" | "local_only" | "default_sound" | "default_vibrate_timings" | "default_light_settings" => {
            value.is_boolean()
        }
        "notification_count" => value.is_u64(),
        "light_settings" => value.is_object(),
        "body_loc_args" | "title_loc_args" | "vibrate_timings" => value.is_array(),
        "title"
        | "body"
        | "icon"
        | "color"
        | "sound"
        | "tag"
        | "click_action"
        | "body_loc_key"
        | "title_loc_key"
        | "channel_id"
        | "ticker"
        | "event_time"
        | "notification_priority"
        | "visibility"
        | "image" => value.is_string(),
        _ => false,
    };
    notification.as_object().map_or(notification.is_null(), |members| members.iter().all(is_member))
}

/// Whether a message follows FCM's schema, as far as the product uses it.
fn is_message(json: &Value) -> bool {
    let message = &json["message"];
    let all_texts = |value: &Value| match value {
        Value::Null => true,
        Value::Object(members) => members.values().all(Value::is_string),
        _ => false,
    };
    let ttl = &message["android"]["ttl"];
    json["validate_only"].is_boolean()
        && message["token"].as_str().is_some_and(|token| !token.is_empty())
        && all_texts(&message["data"])
        && !message["data"].as_object().is_some_and(|data| data.keys().any(|key| is_reserved(key)))
        && is_for_apple(message)
        && all_texts(&message["notification"])
        && is_for_android(&message["android"]["notification"])
        && ["collapse_key", "priority"]
            .iter()
            .all(|it| message["android"][it].is_null() || message["android"][it].is_string())
        && all_texts(&message["apns"]["headers"])
        && all_texts(&message["webpush"]["headers"])
        && (ttl.is_null() || ttl.as_str().is_some_and(|ttl| ttl.ends_with('s')))
        && !json.to_string().contains(":null")
}
