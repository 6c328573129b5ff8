//! A stand-in for Apple Push Notification service.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ca::Ca;
use super::verified;
use super::wire::{Answer, Provider, Reply, Request, Script, Wire};

/// For how long Apple accepts a provider token.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// Where the paths of the sandbox begin. The real one has another name.
const SANDBOX: &str = "/sandbox";

/// The names of the headers that it knows.
const HEADERS: [&str; 6] =
    ["apns-id", "apns-topic", "apns-push-type", "apns-priority", "apns-expiration", "apns-collapse-id"];

/// Apple, with one app of one team. It ends when dropped.
pub struct Apple {
    wire: Wire,
    state: Arc<State>,
    ca: Arc<Ca>,
}

struct State {
    key: KeyPair,
    clock: fn() -> Timestamp,
    script: Script,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    keeps_none: bool,
    /// The provider tokens seen, with the header and the claims of those that the key has signed.
    provider_tokens: HashMap<String, Option<(Value, Value)>>,
    certificates: HashSet<Vec<u8>>,
    /// The payloads that woke the app in the background, with the token.
    woken: Vec<(String, Value)>,
    in_sandbox: HashSet<String>,
    /// Notifications by token and collapse id.
    shown: BTreeMap<(String, String), Value>,
}

impl Apple {
    /// The id of the team's key.
    pub const KEY_ID: &str = "ABC123DEFG";
    /// The team's id.
    pub const TEAM_ID: &str = "DEF123GHIJ";
    /// The app's bundle id.
    pub const TOPIC: &str = "com.example.app";

    /// Starts with a new certificate authority and the real time.
    pub async fn start() -> Self {
        Self::start_with(Arc::new(Ca::new()), clock::now).await
    }

    /// Starts with this certificate authority and this time.
    pub async fn start_with(ca: Arc<Ca>, clock: fn() -> Timestamp) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let state = Arc::new(State { key, clock, script: Script::default(), seen: Mutex::default() });
        Self { wire: Wire::start(ca.server(), state.clone()).await, state, ca }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.wire.url()
    }

    /// The URL of its sandbox. As with the real one, each device token works in one of the two environments.
    pub fn sandbox_url(&self) -> String {
        self.url() + SANDBOX
    }

    /// From now on this token is one of the sandbox. Others are of production.
    pub fn in_sandbox(&self, token: &str) {
        self.state.seen.lock().unwrap().in_sandbox.insert(token.to_owned());
    }

    /// The root certificate of its certificate, in PEM.
    pub fn roots_pem(&self) -> String {
        self.ca.pem()
    }

    /// The team's key, in PEM.
    pub fn key(&self) -> Secret {
        Secret::new(self.state.key.serialize_pem())
    }

    /// The parameters of a credential with this key.
    pub fn credential(key: &str) -> [(&str, &str); 5] {
        [
            ("Type", "apn"),
            ("PrivateKey", key),
            ("KeyId", Self::KEY_ID),
            ("TeamId", Self::TEAM_ID),
            ("Topic", Self::TOPIC),
        ]
    }

    /// A new certificate of the app with its key, in PEM.
    pub fn certificate(&self) -> Secret {
        let (pem, der) = self.ca.of_app(Self::TOPIC);
        self.state.seen.lock().unwrap().certificates.insert(der);
        pem
    }

    /// Sets the answer to pushes to this token from now on.
    pub fn answer(&self, token: &str, answer: Answer) {
        self.state.script.always(token, answer);
    }

    /// Sets the answer to the next push to this token. A further call is for the push after that.
    pub fn answer_once(&self, token: &str, answer: Answer) {
        self.state.script.once(token, answer);
    }

    /// Sets the answer to all pushes from now on whose token has no answer of its own.
    pub fn answer_all(&self, answer: Answer) {
        self.state.script.always("", answer);
    }

    /// Sets the answer to the next push. A further call is for the push after that.
    pub fn answer_next(&self, answer: Answer) {
        self.state.script.once("", answer);
    }

    /// Sets how many requests may be pending on a connection, for new connections.
    pub fn max_concurrent_streams(&self, count: usize) {
        self.wire.max_streams(count);
    }

    /// Sends a GOAWAY on the next connection after this many requests. It says that only the first of them, the number
    /// to answer, were seen.
    pub fn go_away(&self, after: usize, answered: usize) {
        self.wire.go_away(after, answered);
    }

    /// Drops the open connections silently, as a firewall does.
    pub fn freeze(&self) {
        self.wire.freeze();
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

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.wire.connections()
    }

    /// How many provider tokens it has seen.
    pub fn provider_tokens(&self) -> usize {
        self.state.seen.lock().unwrap().provider_tokens.len()
    }

    /// The requests so far, good or bad.
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen.lock().unwrap().requests.clone()
    }

    /// The requests so far for this token, in both environments.
    pub fn requests_to(&self, token: &str) -> Vec<Request> {
        let path = format!("/3/device/{token}");
        self.requests().into_iter().filter(|request| environment(&request.path).1 == path).collect()
    }

    /// The payloads that this device shows.
    pub fn shown(&self, token: &str) -> Vec<Value> {
        let seen = self.state.seen.lock().unwrap();
        seen.shown.iter().filter(|((of, _), _)| of == token).map(|(_, payload)| payload.clone()).collect()
    }
}

impl Apple {
    /// The payloads that woke the app on this device in the background, checks among them.
    pub fn woken(&self, token: &str) -> Vec<Value> {
        let seen = self.state.seen.lock().unwrap();
        seen.woken.iter().filter(|(of, _)| of == token).map(|(_, payload)| payload.clone()).collect()
    }

    /// A certificate of the app whose time is over, with its key, in PEM.
    pub fn expired_certificate(&self) -> Secret {
        self.ca.of_app_late(Self::TOPIC).0
    }
}

impl Provider for State {
    fn handle(&self, request: Request) -> (Answer, Reply) {
        let token = environment(&request.path).1.strip_prefix("/3/device/").unwrap_or_default().to_owned();
        let answer = self.script.next(&token);
        let mut seen = self.seen.lock().unwrap();
        let id = match request.header("apns-id") {
            "" => Uuid::new_v4().to_string(),
            id => id.to_owned(),
        };
        let (status, body) = match self.refusal(&request, &token, &mut seen) {
            Some((status, reason)) => (status, json!({ "reason": reason }).to_string()),
            None => {
                let payload = request.json();
                let is_alert = request.header("apns-push-type") == "alert";
                // Apple accepts an alert that has nothing to show, and the device drops it:
                // https://forums.developer.apple.com/forums/thread/745345
                let is_visible = ["alert", "badge", "sound"].iter().any(|member| !payload["aps"][member].is_null());
                if answer.is_taken() && !is_alert {
                    seen.woken.push((token, payload));
                } else if answer.is_taken() && is_visible {
                    let collapse_id = request.header("apns-collapse-id");
                    let name = if collapse_id.is_empty() { &id } else { collapse_id };
                    seen.shown.insert((token, name.to_owned()), payload);
                }
                (200, String::new())
            }
        };
        if !seen.keeps_none {
            seen.requests.push(request);
        }
        (answer, Reply { status, headers: vec![("apns-id", id)], body })
    }
}

/// Whether a path is one of the sandbox, and the path in its environment.
fn environment(path: &str) -> (bool, &str) {
    path.strip_prefix(SANDBOX).map_or((false, path), |path| (true, path))
}

impl State {
    /// Why it refuses a request, checked in Apple's order.
    fn refusal(&self, request: &Request, token: &str, seen: &mut Seen) -> Option<(u16, &'static str)> {
        let header = |name| request.header(name);
        if request.method != "POST" {
            return Some((405, "MethodNotAllowed"));
        }
        let (is_sandbox, path) = environment(&request.path);
        if !path.starts_with("/3/device/") {
            return Some((404, "BadPath"));
        }
        if HEADERS.iter().any(|name| request.headers.get_all(*name).iter().count() > 1) {
            return Some((400, "DuplicateHeaders"));
        }
        match &request.certificate {
            Some(certificate) if !seen.certificates.contains(certificate) => return Some((403, "BadCertificate")),
            Some(_) => {}
            None => {
                if let Some(reason) = self.token_refusal(header("authorization"), seen) {
                    return Some((403, reason));
                }
            }
        }
        let is_background = header("apns-push-type") == "background";
        let payload = request.json();
        let checks = [
            (token.is_empty(), 400, "MissingDeviceToken"),
            (!token.bytes().all(|byte| byte.is_ascii_hexdigit()), 400, "BadDeviceToken"),
            (seen.in_sandbox.contains(token) != is_sandbox, 400, "BadDeviceToken"),
            (header("apns-topic").is_empty(), 400, "MissingTopic"),
            (header("apns-topic") != Apple::TOPIC, 400, "TopicDisallowed"),
            (!["alert", "background"].contains(&header("apns-push-type")), 400, "InvalidPushType"),
            (!["", "10", "5", "1"].contains(&header("apns-priority")), 400, "BadPriority"),
            (is_background && header("apns-priority") != "5", 400, "BadPriority"),
            (!header("apns-expiration").bytes().all(|byte| byte.is_ascii_digit()), 400, "BadExpirationDate"),
            (!header("apns-id").is_empty() && Uuid::try_parse(header("apns-id")).is_err(), 400, "BadMessageId"),
            (header("apns-collapse-id").len() > 64, 400, "BadCollapseId"),
            (request.body.is_empty(), 400, "PayloadEmpty"),
            (request.body.len() > 4_096, 413, "PayloadTooLarge"),
            // Apple does not document this refusal, but does not show such a push either.
            (!payload["aps"].is_object(), 400, "PayloadEmpty"),
            (is_background && payload["aps"]["content-available"] != 1, 400, "PayloadEmpty"),
        ];
        checks.into_iter().find(|(is_wrong, ..)| *is_wrong).map(|(_, status, reason)| (status, reason))
    }

    fn token_refusal(&self, authorization: &str, seen: &mut Seen) -> Option<&'static str> {
        let Some(jwt) = authorization.strip_prefix("bearer ") else { return Some("MissingProviderToken") };
        let verify = || verified(jwt, &ECDSA_P256_SHA256_FIXED, self.key.der_bytes());
        let Some((header, claims)) = seen.provider_tokens.entry(jwt.to_owned()).or_insert_with(verify) else {
            return Some("InvalidProviderToken");
        };
        let Some(issued_at) = claims["iat"].as_i64().map(|seconds| Timestamp::from_millis(seconds * 1_000)) else {
            return Some("InvalidProviderToken");
        };
        let now = (self.clock)();
        let is_ours = header["alg"] == "ES256" && header["kid"] == Apple::KEY_ID && claims["iss"] == Apple::TEAM_ID;
        match () {
            () if !is_ours || issued_at > now => Some("InvalidProviderToken"),
            () if now.since(issued_at) > TOKEN_LIFE => Some("ExpiredProviderToken"),
            () => None,
        }
    }
}
