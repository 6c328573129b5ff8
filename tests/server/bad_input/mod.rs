//! Bad requests. Each is answered in the documented form, changes nothing, and does not affect other clients.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

mod bodies;
mod concurrency;
mod events;
mod forms;
mod http;
mod limits;
mod pages;
mod routes;
mod secrets;

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use reachability_test_keys as keys;
use reachability_tests::raw::{Answer, CLOSE, Connection, FORM, basic, encode, request};
use reachability_tests::server::{PATIENCE, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A well-formed service that does not exist.
const NO_SERVICE: &str = "IS00000000000000000000000000000000";

/// A well-formed credential that does not exist.
const NO_CREDENTIAL: &str = "CR00000000000000000000000000000000";

/// Every route that needs credentials, with its methods. A new route must be added here. A test checks that the methods
/// are complete: the answer to a wrong method names the allowed ones.
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/Configuration", &["GET", "POST"]),
    ("/v1/Configuration/Webhooks", &["GET", "POST"]),
    ("/v1/Conversations", &["GET"]),
    ("/v1/Credentials", &["GET", "POST"]),
    ("/v1/Credentials/{CR}", &["GET", "POST", "DELETE"]),
    ("/v1/ParticipantConversations", &["GET"]),
    ("/v1/Roles", &["GET"]),
    ("/v1/Roles/{defaultRL}", &["GET"]),
    ("/v1/Services", &["GET", "POST"]),
    ("/v1/Services/{IS}", &["GET", "POST", "DELETE"]),
    ("/v1/Services/{IS}/Bindings", &["GET", "POST"]),
    ("/v1/Services/{IS}/Bindings/{BS}", &["GET", "DELETE"]),
    ("/v1/Services/{IS}/Changes", &["GET"]),
    ("/v1/Services/{IS}/Channels", &["GET", "POST"]),
    ("/v1/Services/{IS}/Channels/messaging/general", &["GET", "POST", "DELETE"]),
    ("/v1/Services/{IS}/Channels/messaging/general/Members", &["GET", "POST"]),
    ("/v1/Services/{IS}/Channels/messaging/general/Members/john", &["DELETE"]),
    ("/v1/Services/{IS}/Configuration", &["GET", "POST"]),
    ("/v1/Services/{IS}/Configuration/Notifications", &["GET", "POST"]),
    ("/v1/Services/{IS}/Configuration/Webhooks", &["GET", "POST"]),
    ("/v1/Services/{IS}/Conversations", &["GET"]),
    ("/v1/Services/{IS}/Events", &["POST"]),
    ("/v1/Services/{IS}/Notifications", &["POST"]),
    ("/v1/Services/{IS}/Notifications/{NT}", &["GET"]),
    ("/v1/Services/{IS}/Notifications/{NT}/Deliveries", &["GET"]),
    ("/v1/Services/{IS}/ParticipantConversations", &["GET"]),
    ("/v1/Services/{IS}/Presence", &["GET"]),
    ("/v1/Services/{IS}/Presence/alice", &["GET", "POST"]),
    ("/v1/Services/{IS}/Roles", &["GET"]),
    ("/v1/Services/{IS}/Roles/{RL}", &["GET"]),
    ("/v1/Services/{IS}/Users", &["GET", "POST"]),
    ("/v1/Services/{IS}/Users/alice", &["GET", "POST", "DELETE"]),
    ("/v1/Services/{IS}/Users/alice/Conversations", &["GET"]),
    ("/v1/Users", &["GET", "POST"]),
    ("/v1/Users/alice", &["GET", "POST", "DELETE"]),
    ("/v1/Users/alice/Conversations", &["GET"]),
    ("/v2/Credentials", &["GET", "POST"]),
    ("/v2/Credentials/{CR}", &["GET", "POST", "DELETE"]),
    ("/v2/Services", &["GET", "POST"]),
    ("/v2/Services/{IS}", &["GET", "POST", "DELETE"]),
    ("/v2/Services/{IS}/Bindings", &["GET"]),
    ("/v2/Services/{IS}/Bindings/{BS}", &["GET", "DELETE"]),
    ("/v2/Services/{IS}/Channels", &["GET"]),
    ("/v2/Services/{IS}/Roles", &["GET"]),
    ("/v2/Services/{IS}/Roles/{RL}", &["GET"]),
    ("/v2/Services/{IS}/Users", &["GET", "POST"]),
    ("/v2/Services/{IS}/Users/alice", &["GET", "POST", "DELETE"]),
    ("/v2/Services/{IS}/Users/alice/Bindings", &["GET"]),
    ("/v2/Services/{IS}/Users/alice/Bindings/{BS}", &["GET", "DELETE"]),
    ("/v2/Services/{IS}/Users/alice/Channels", &["GET"]),
    ("/2010-04-01/Accounts/{AC}/Keys.json", &["GET", "POST"]),
    ("/2010-04-01/Accounts/{AC}/Keys/{SK}.json", &["GET", "POST", "DELETE"]),
];

/// The lists, with the largest page of each.
const LISTS: &[(&str, u64)] = &[
    ("/v1/Conversations", 100),
    ("/v1/Credentials", 100),
    ("/v1/ParticipantConversations", 50),
    ("/v1/Roles", 100),
    ("/v1/Services", 100),
    ("/v1/Services/{IS}/Bindings", 100),
    ("/v1/Services/{IS}/Channels", 100),
    ("/v1/Services/{IS}/Channels/messaging/general/Members", 1000),
    ("/v1/Services/{IS}/Conversations", 100),
    ("/v1/Services/{IS}/Notifications/{NT}/Deliveries", 100),
    ("/v1/Services/{IS}/ParticipantConversations", 50),
    ("/v1/Services/{IS}/Presence", 100),
    ("/v1/Services/{IS}/Roles", 100),
    ("/v1/Services/{IS}/Users", 50),
    ("/v1/Services/{IS}/Users/alice/Conversations", 50),
    ("/v1/Users", 50),
    ("/v1/Users/alice/Conversations", 50),
    ("/v2/Credentials", 1000),
    ("/v2/Services", 100),
    ("/v2/Services/{IS}/Bindings", 50),
    ("/v2/Services/{IS}/Channels", 100),
    ("/v2/Services/{IS}/Roles", 50),
    ("/v2/Services/{IS}/Users", 100),
    ("/v2/Services/{IS}/Users/alice/Bindings", 50),
    ("/v2/Services/{IS}/Users/alice/Channels", 50),
    ("/2010-04-01/Accounts/{AC}/Keys.json", 1000),
];

/// A form that every route with a form accepts.
const GOOD_FORM: &str = "FriendlyName=changed&Identity=mallory&ReachabilityEnabled=false&Method=GET&LogEnabled=true\
    &DefaultInactiveTimer=PT5M";

/// Keys and certificates like those of push providers, made once for all tests.
struct Material {
    key: String,
    certificate: String,
    service_account: String,
}

fn material() -> &'static Material {
    static MATERIAL: OnceLock<Material> = OnceLock::new();
    MATERIAL.get_or_init(|| {
        let key = keys::p256();
        let certificate = keys::certificate(&key, "/UID=com.example.app");
        Material { key, certificate, service_account: keys::service_account(&keys::rsa()) }
    })
}

/// A server with data: a service with reachability on and the user alice with a device, another service, an API key, a
/// credential and a notification.
struct Fixture {
    server: Server,
    _directory: TempDir,
    address: String,
    service: String,
    other_service: String,
    key: String,
    key_secret: String,
    credential: String,
    binding: String,
    notification: String,
    /// A role of the service.
    role: String,
    /// A role of the default service.
    default_role: String,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // It sends more wrong credentials than one address may.
        let server = Server::start(directory.path(), &["--max-failed-authentications", "0"]);
        let address = server.address().to_owned();
        let mut fixture = Self {
            server,
            _directory: directory,
            address,
            service: String::new(),
            other_service: String::new(),
            key: String::new(),
            key_secret: String::new(),
            credential: String::new(),
            binding: String::new(),
            notification: String::new(),
            role: String::new(),
            default_role: String::new(),
        };
        let sid = |answer: Answer| answer.json()["sid"].as_str().unwrap().to_owned();
        fixture.service = sid(fixture.post("/v1/Services", "FriendlyName=one"));
        fixture.other_service = sid(fixture.post("/v1/Services", "FriendlyName=other"));
        let key = fixture.post(&fixture.path("/2010-04-01/Accounts/{AC}/Keys.json"), "FriendlyName=key").json();
        fixture.key = key["sid"].as_str().unwrap().to_owned();
        fixture.key_secret = key["secret"].as_str().unwrap().to_owned();
        for (path, form) in [
            ("/v1/Services/{IS}/Configuration", "ReachabilityEnabled=true"),
            ("/v1/Services/{IS}/Users", "Identity=alice&FriendlyName=Alice&Attributes=%7B%22a%22%3A1%7D"),
            ("/v1/Users", "Identity=alice"),
        ] {
            assert!([200, 201].contains(&fixture.post(&fixture.path(path), form).status), "{path}");
        }
        // This credential does not check registrations, since no provider can be reached.
        let account = encode(&material().service_account);
        let form = format!("Type=fcm&FriendlyName=fcm&RegistrationCheck=none&Secret={account}");
        fixture.credential = sid(fixture.post("/v1/Credentials", &form));
        let form = "Identity=alice&BindingType=fcm&Address=token&Endpoint=phone";
        fixture.binding = sid(fixture.post("/v1/Services/{IS}/Bindings", form));
        fixture.notification = sid(fixture.post("/v1/Services/{IS}/Notifications", "Identity=nobody&Body=x"));
        let channel = fixture.post("/v1/Services/{IS}/Channels", "Type=messaging&Id=general&Identity=john");
        assert_eq!(channel.status, 201);
        let role = |answer: Answer| answer.json()["role_sid"].as_str().unwrap().to_owned();
        fixture.role = role(fixture.get("/v1/Services/{IS}/Users/alice"));
        fixture.default_role = role(fixture.get("/v1/Users/alice"));
        fixture
    }

    /// Fills in the placeholders in a path.
    fn path(&self, path: &str) -> String {
        [
            ("{IS}", &self.service),
            ("{AC}", &self.server.account),
            ("{SK}", &self.key),
            ("{CR}", &self.credential),
            ("{BS}", &self.binding),
            ("{NT}", &self.notification),
            ("{RL}", &self.role),
            ("{defaultRL}", &self.default_role),
        ]
        .into_iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
    }

    /// The header with the owner's credentials.
    fn owner(&self) -> String {
        basic(&self.server.account, &self.server.token)
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// Sends a request on a new connection.
    #[track_caller]
    fn send(&self, method: &str, path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect();
        connection.send(request(method, &self.path(path), &[headers, &[CLOSE]].concat(), body.as_ref()));
        let answer = connection.receive(method).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!(connection.is_closed(), "{method} {path}");
        answer
    }

    /// Sends a request as the owner.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, form: impl AsRef<[u8]>) -> Answer {
        self.send(method, path, &[&self.owner(), FORM], form)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    #[track_caller]
    fn post(&self, path: &str, form: &str) -> Answer {
        self.ask("POST", path, form)
    }

    /// Everything that the API shows.
    #[track_caller]
    fn everything(&self) -> Value {
        let services = self.get("/v1/Services?PageSize=100").json();
        let mut paths: Vec<String> = [
            "/v1/Configuration",
            "/v1/Configuration/Webhooks",
            "/v1/Users",
            "/v1/Roles",
            "/v1/Credentials?PageSize=100",
            "/2010-04-01/Accounts/{AC}/Keys.json?PageSize=1000",
        ]
        .map(str::to_owned)
        .into();
        for service in services["services"].as_array().unwrap() {
            let sid = service["sid"].as_str().unwrap();
            paths.extend(
                [
                    "/Configuration",
                    "/Configuration/Notifications",
                    "/Configuration/Webhooks",
                    "/Users?Reachability=true",
                    "/Bindings",
                    "/Channels",
                    "/Roles",
                ]
                .map(|part| format!("/v1/Services/{sid}{part}")),
            );
            paths.push(format!("/v2/Services/{sid}"));
        }
        let mut everything = json!({ "/v1/Services": services });
        for path in paths {
            let answer = self.get(&path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            everything[&path] = answer.json();
        }
        everything
    }

    /// The end of every test: the server still answers, nothing has panicked, and it stops properly.
    #[track_caller]
    fn end(self) {
        let health = self.send("GET", "/healthz", &[], "");
        assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
        let started = Instant::now();
        let (status, logs) = self.server.stop();
        assert!(status.success(), "{status}");
        assert!(!logs.contains("panicked"), "{logs}");
        assert!(started.elapsed() < Duration::from_secs(9), "it took {:?} to stop: {logs}", started.elapsed());
    }
}

/// Waits until a condition holds.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}
