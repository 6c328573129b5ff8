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

/// For how long an access token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(3_599);

/// Google, with one service account of one project. It ends when dropped.
pub struct Google {
    wire: Wire,
    state: Arc<State>,
    ca: Arc<Ca>,
}

struct State {
    clock: fn() -> Timestamp,
    /// Of messages.
    script: Script,
    token_script: Script,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    keeps_none: bool,
    token_requests: Vec<Request>,
    /// Until when.
    access_tokens: HashMap<String, Timestamp>,
    /// By registration token and tag.
    shown: BTreeMap<(String, String), Value>,
}

impl Google {
    /// The project's id.
    pub const PROJECT_ID: &str = "example-app";
    /// The service account's name.
    pub const CLIENT_EMAIL: &str = "push@example-app.iam.gserviceaccount.com";
    /// The id of its key.
    pub const KEY_ID: &str = "0123456789abcdef";

    /// With an authority and the time of its own.
    pub async fn start() -> Self {
        Self::start_with(Arc::new(Ca::new()), clock::now).await
    }

    /// With this authority and this time.
    pub async fn start_with(ca: Arc<Ca>, clock: fn() -> Timestamp) -> Self {
        let script = Script::default;
        let state = Arc::new(State { clock, script: script(), token_script: script(), seen: Mutex::default() });
        Self { wire: Wire::start(ca.server(), state.clone()).await, state, ca }
    }

    /// Where FCM is.
    pub fn url(&self) -> String {
        self.wire.url()
    }

    /// Where access tokens are given out.
    pub fn token_url(&self) -> String {
        self.url() + "/token"
    }

    /// What its certificate leads to, in PEM.
    pub fn roots_pem(&self) -> String {
        self.ca.pem()
    }

    /// The service account's key, in PEM. It takes a while to make, so there is one for all.
    pub fn key() -> Secret {
        static KEY: OnceLock<Secret> = OnceLock::new();
        KEY.get_or_init(|| Secret::new(keys::rsa())).clone()
    }

    /// What to do with messages to this registration token from now on.
    pub fn answer(&self, token: &str, answer: Answer) {
        self.state.script.always(token, answer);
    }

    /// What to do with the next message to this registration token. Called again: with the one after.
    pub fn answer_once(&self, token: &str, answer: Answer) {
        self.state.script.once(token, answer);
    }

    /// What to do with all messages from now on, where nothing is said of their registration token.
    pub fn answer_all(&self, answer: Answer) {
        self.state.script.always("", answer);
    }

    /// What to do with those who want access tokens from now on.
    pub fn answer_tokens(&self, answer: Answer) {
        self.state.token_script.always("", answer);
    }

    /// What to do with who wants an access token next. Called again: with the one after.
    pub fn answer_token_once(&self, answer: Answer) {
        self.state.token_script.once("", answer);
    }

    /// Takes no access token any more that it has given out.
    pub fn revoke(&self) {
        self.state.seen.lock().unwrap().access_tokens.clear();
    }

    /// How many requests may be under way on a connection: of those that are made from now on.
    pub fn max_concurrent_streams(&self, count: usize) {
        self.wire.max_streams(count);
    }

    /// Ends all connections and takes no more.
    pub async fn down(&self) {
        self.wire.down().await;
    }

    /// Is there again, where it was before.
    pub async fn up(&self) {
        self.wire.up().await;
    }

    /// Keeps no requests from now on: for those who make very many.
    pub fn keep_no_requests(&self) {
        self.state.seen.lock().unwrap().keeps_none = true;
    }

    /// How many connections were made to it, both for access tokens and for messages.
    pub fn connections(&self) -> usize {
        self.wire.connections()
    }

    /// The messages that it was sent, good or not.
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen.lock().unwrap().requests.clone()
    }

    /// The assertions that it was shown by those who wanted access tokens.
    pub fn assertions(&self) -> Vec<String> {
        let seen = self.state.seen.lock().unwrap();
        let body = |request: &Request| String::from_utf8(request.body.to_vec()).unwrap();
        let assertion =
            |body: String| body.split("assertion=").nth(1).map(|it| it.split('&').next().unwrap().to_owned());
        seen.token_requests.iter().map(body).filter_map(assertion).collect()
    }

    /// How often an access token was asked for.
    pub fn token_requests(&self) -> usize {
        self.state.seen.lock().unwrap().token_requests.len()
    }

    /// The notifications that are to be seen on this device.
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
        && claims["aud"] == request.url.as_str()
        && issued_at <= seconds
        && ends_at > seconds
        && ends_at - issued_at <= 3_600;
    match () {
        () if !is_good => Some("invalid_grant"),
        () if claims["scope"] != "https://www.googleapis.com/auth/firebase.messaging" => Some("invalid_scope"),
        () => None,
    }
}

/// Whether it is a message by FCM's schema, as far as it is used here.
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
        && all_texts(&message["notification"])
        && all_texts(&message["android"]["notification"])
        && all_texts(&message["apns"]["headers"])
        && all_texts(&message["webpush"]["headers"])
        && (ttl.is_null() || ttl.as_str().is_some_and(|ttl| ttl.ends_with('s')))
        && !json.to_string().contains(":null")
}
