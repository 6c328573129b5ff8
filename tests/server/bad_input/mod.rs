//! Requests that are wrong. Each is answered in the documented form, changes nothing, and harms nobody else.
//!
//! The client in here sends what it is told to, byte for byte: HTTP libraries refuse to send most of this.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reachability_infra::clock;
use reachability_tests::keys;
use reachability_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const JSON: &str = "Content-Type: application/json";
const CLOSE: &str = "Connection: close";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A well-formed service that does not exist.
const NO_SERVICE: &str = "IS00000000000000000000000000000000";

/// A well-formed credential that does not exist.
const NO_CREDENTIAL: &str = "CR00000000000000000000000000000000";

/// What a body that is too large has in it: more than any route takes.
const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

// --- The client -----------------------------------------------------------------------------------------------------

/// An answer, as it came.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    fn says_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// What every answer has.
    #[track_caller]
    fn assert_headers(&self, what: &str) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{what}: {} {}", self.status, self.body);
        let id = self.header("twilio-request-id").unwrap_or_default();
        let is_sid = id.len() == 34 && id.starts_with("RQ") && id[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_sid, "{what}: Twilio-Request-Id is {id:?}");
        assert_eq!(self.header("www-authenticate").is_some(), self.status == 401, "{what}");
    }

    /// An error with exactly the documented members. Returns its message.
    #[track_caller]
    fn assert_error(&self, status: u16, code: u32, what: &str) -> String {
        self.assert_error_with(status, code, &["code", "message", "more_info", "status"], what)
    }

    #[track_caller]
    fn assert_error_with(&self, status: u16, code: u32, members: &[&str], what: &str) -> String {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        self.assert_headers(what);
        let body = self.json();
        let mut names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, members, "{what}");
        assert_eq!(body["code"], code, "{what}: {body}");
        assert_eq!(body["status"], status, "{what}: {body}");
        assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"), "{what}");
        body["message"].as_str().unwrap().to_owned()
    }
}

/// A connection to the server.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    #[track_caller]
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Ends what is sent. An answer can still be read.
    fn finish(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// Reads an answer to a request with this method.
    fn receive(&mut self, method: &str) -> io::Result<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("status line {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        if method != "HEAD" {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            self.0.by_ref().take(length).read_to_string(&mut answer.body)?;
            assert_eq!(answer.body.len() as u64, length, "the body is as long as its Content-Length");
        }
        Ok(answer)
    }

    /// Whether the server has closed the connection, without anything more in it.
    fn is_closed(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            // It did not read everything before it closed.
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Encodes a value for a form or a path.
fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Writes a request down.
fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: chat.test\r\n");
    if !body.is_empty() || method == "POST" {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    for header in headers {
        request += &format!("{header}\r\n");
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

// --- The server -----------------------------------------------------------------------------------------------------

/// What push providers give out: made once, for all tests.
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

/// A server with something in it: a service with reachability on and the user alice with a device, another service, an
/// API key, a credential and a notification.
struct Stage {
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
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &[]);
        let address = server.url.strip_prefix("http://").unwrap().to_owned();
        let mut stage = Self {
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
        };
        let sid = |answer: Answer| answer.json()["sid"].as_str().unwrap().to_owned();
        stage.service = sid(stage.post("/v1/Services", "FriendlyName=one"));
        stage.other_service = sid(stage.post("/v1/Services", "FriendlyName=other"));
        let key = stage.post(&stage.path("/2010-04-01/Accounts/{AC}/Keys.json"), "FriendlyName=key").json();
        stage.key = key["sid"].as_str().unwrap().to_owned();
        stage.key_secret = key["secret"].as_str().unwrap().to_owned();
        for (path, form) in [
            ("/v1/Services/{IS}/Configuration", "ReachabilityEnabled=true"),
            ("/v1/Services/{IS}/Users", "Identity=alice&FriendlyName=Alice&Attributes=%7B%22a%22%3A1%7D"),
            ("/v1/Users", "Identity=alice"),
        ] {
            assert!([200, 201].contains(&stage.post(&stage.path(path), form).status), "{path}");
        }
        // Whom nobody asks anything: there is no way to a provider.
        let account = encode(&material().service_account);
        let form = format!("Type=fcm&FriendlyName=fcm&RegistrationCheck=none&Secret={account}");
        stage.credential = sid(stage.post("/v1/Credentials", &form));
        let form = "Identity=alice&BindingType=fcm&Address=token&Endpoint=phone";
        stage.binding = sid(stage.post("/v1/Services/{IS}/Bindings", form));
        stage.notification = sid(stage.post("/v1/Services/{IS}/Notifications", "Identity=nobody&Body=x"));
        stage
    }

    /// Fills in the names in a path.
    fn path(&self, path: &str) -> String {
        [
            ("{IS}", &self.service),
            ("{AC}", &self.server.account),
            ("{SK}", &self.key),
            ("{CR}", &self.credential),
            ("{BS}", &self.binding),
            ("{NT}", &self.notification),
        ]
        .into_iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
    }

    /// The header of the account's owner.
    fn owner(&self) -> String {
        basic(&self.server.account, &self.server.token)
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// Sends a request on a connection of its own.
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

    /// Everything that can be seen.
    #[track_caller]
    fn everything(&self) -> Value {
        let services = self.get("/v1/Services?PageSize=100").json();
        let mut paths: Vec<String> = [
            "/v1/Configuration",
            "/v1/Configuration/Webhooks",
            "/v1/Users",
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

    /// The end of every test: it still serves, nothing panicked, and it stops as it should.
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

/// Asks until it is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

// --- Routes ---------------------------------------------------------------------------------------------------------

/// Every route that needs credentials, with its methods. A new route must be added here. That the methods are complete
/// is checked: an answer to a wrong one names the right ones.
const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/Configuration", &["GET", "POST"]),
    ("/v1/Configuration/Webhooks", &["GET", "POST"]),
    ("/v1/Credentials", &["GET", "POST"]),
    ("/v1/Credentials/{CR}", &["GET", "POST", "DELETE"]),
    ("/v1/Services", &["GET", "POST"]),
    ("/v1/Services/{IS}", &["GET", "DELETE"]),
    ("/v1/Services/{IS}/Bindings", &["GET", "POST"]),
    ("/v1/Services/{IS}/Bindings/{BS}", &["GET", "DELETE"]),
    ("/v1/Services/{IS}/Configuration", &["GET", "POST"]),
    ("/v1/Services/{IS}/Configuration/Notifications", &["GET", "POST"]),
    ("/v1/Services/{IS}/Configuration/Webhooks", &["GET", "POST"]),
    ("/v1/Services/{IS}/Events", &["POST"]),
    ("/v1/Services/{IS}/Notifications", &["POST"]),
    ("/v1/Services/{IS}/Notifications/{NT}", &["GET"]),
    ("/v1/Services/{IS}/Notifications/{NT}/Deliveries", &["GET"]),
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
    ("/v2/Services/{IS}/Users", &["GET", "POST"]),
    ("/v2/Services/{IS}/Users/alice", &["GET", "POST", "DELETE"]),
    ("/v2/Services/{IS}/Users/alice/Bindings", &["GET"]),
    ("/v2/Services/{IS}/Users/alice/Bindings/{BS}", &["GET", "DELETE"]),
    ("/v2/Services/{IS}/Users/alice/Channels", &["GET"]),
    ("/2010-04-01/Accounts/{AC}/Keys.json", &["GET", "POST"]),
    ("/2010-04-01/Accounts/{AC}/Keys/{SK}.json", &["GET", "DELETE"]),
];

/// The lists, with the largest page of each.
const LISTS: &[(&str, u64)] = &[
    ("/v1/Credentials", 100),
    ("/v1/Services", 100),
    ("/v1/Services/{IS}/Bindings", 100),
    ("/v1/Services/{IS}/Notifications/{NT}/Deliveries", 100),
    ("/v1/Services/{IS}/Users", 50),
    ("/v1/Services/{IS}/Users/alice/Conversations", 50),
    ("/v1/Users", 50),
    ("/v1/Users/alice/Conversations", 50),
    ("/v2/Credentials", 1000),
    ("/v2/Services", 100),
    ("/v2/Services/{IS}/Bindings", 50),
    ("/v2/Services/{IS}/Users", 100),
    ("/v2/Services/{IS}/Users/alice/Bindings", 50),
    ("/v2/Services/{IS}/Users/alice/Channels", 100),
    ("/2010-04-01/Accounts/{AC}/Keys.json", 1000),
];

/// A form that every route that takes one would take.
const GOOD_FORM: &str = "FriendlyName=changed&Identity=mallory&ReachabilityEnabled=false&Method=GET&LogEnabled=true\
    &DefaultInactiveTimer=PT5M";

#[test]
fn every_route_wants_good_credentials() {
    let stage = Stage::new();
    let (account, token) = (&stage.server.account, &stage.server.token);
    let deleted = stage.post("/2010-04-01/Accounts/{AC}/Keys.json", "").json();
    let deleted_sid = deleted["sid"].as_str().unwrap();
    assert_eq!(stage.ask("DELETE", &format!("/2010-04-01/Accounts/{{AC}}/Keys/{deleted_sid}.json"), "").status, 204);
    let before = stage.everything();

    let encoded = STANDARD.encode(format!("{account}:{token}"));
    let bad = [
        ("nothing", String::new()),
        ("an empty value", "Authorization:".to_owned()),
        ("no more than a scheme", "Authorization: Basic".to_owned()),
        ("an empty password and name", format!("Authorization: Basic {}", STANDARD.encode(":"))),
        ("no base64", "Authorization: Basic !!!".to_owned()),
        ("no colon", format!("Authorization: Basic {}", STANDARD.encode(account))),
        ("no UTF-8", format!("Authorization: Basic {}", STANDARD.encode(b"\xFF\xFE:\xFF"))),
        ("no scheme", format!("Authorization: {encoded}")),
        ("another scheme", format!("Authorization: Bearer {encoded}")),
        ("the token as a bearer's", format!("Authorization: Bearer {token}")),
        ("a digest", format!("Authorization: Digest username=\"{account}\"")),
        ("a wrong token", basic(account, "00000000000000000000000000000000")),
        ("the beginning of the token", basic(account, &token[..31])),
        ("the token and more", basic(account, &format!("{token}0"))),
        ("the token in capitals", basic(account, &format!("{}X", token.to_uppercase()))),
        ("no token", basic(account, "")),
        ("no name", basic("", token)),
        ("another account", basic("AC00000000000000000000000000000000", token)),
        ("an account in small letters", basic(&account.to_lowercase(), token)),
        ("a service as the name", basic(&stage.service, token)),
        ("an unknown key", basic("SK00000000000000000000000000000000", &stage.key_secret)),
        ("a deleted key", basic(deleted_sid, deleted["secret"].as_str().unwrap())),
        ("a key with a wrong secret", basic(&stage.key, "00000000000000000000000000000000")),
        ("a key with the account's token", basic(&stage.key, token)),
        ("the account with a key's secret", basic(account, &stage.key_secret)),
    ];
    for (path, methods) in ROUTES {
        for method in *methods {
            for (name, header) in &bad {
                let headers: Vec<&str> =
                    [FORM, header.as_str()].into_iter().filter(|header| !header.is_empty()).collect();
                let body = if *method == "POST" { GOOD_FORM } else { "" };
                let answer = stage.send(method, path, &headers, body);
                let message = answer.assert_error(401, 20003, &format!("{method} {path} with {name}"));
                assert_eq!(message, "Authenticate");
            }
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn unknown_paths_do_not_tell_strangers_that_they_are_unknown() {
    let stage = Stage::new();
    for (method, path) in [("GET", "/v1/Nothing"), ("PUT", "/v1/Services"), ("GET", "/v1/Services/%FF")] {
        stage.send(method, path, &[], "").assert_error(401, 20003, path);
    }
    stage.end();
}

#[test]
fn keys_are_managed_with_the_accounts_own_token() {
    let stage = Stage::new();
    let before = stage.everything();
    let key = basic(&stage.key, &stage.key_secret);
    assert_eq!(stage.send("GET", "/v1/Services", &[&key], "").status, 200, "the key works elsewhere");
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("/Keys")) {
        for method in *methods {
            stage.send(method, path, &[&key, FORM], "").assert_error(403, 20403, &format!("{method} {path}"));
            let strange = path.replace("{AC}", "AC00000000000000000000000000000000");
            stage.ask(method, &strange, "").assert_error(404, 20404, &format!("{method} {strange}"));
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn wrong_methods_are_refused_and_the_right_ones_named() {
    let stage = Stage::new();
    let before = stage.everything();
    for (path, methods) in ROUTES {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if methods.contains(&method) || (method == "HEAD" && methods.contains(&"GET")) {
                continue;
            }
            let what = format!("{method} {path}");
            let answer = stage.ask(method, path, "");
            if method == "HEAD" {
                assert_eq!(answer.status, 405, "{what}");
                answer.assert_headers(&what);
            } else {
                assert_eq!(answer.assert_error(405, 20004, &what), "Method not allowed");
            }
            let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            allowed.retain(|method| *method != "HEAD");
            allowed.sort_unstable();
            let mut expected = methods.to_vec();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{what}");
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn the_health_check_refuses_wrong_methods_too() {
    let stage = Stage::new();
    for method in ["POST", "PUT", "DELETE"] {
        stage.ask(method, "/healthz", "").assert_error(405, 20004, method);
    }
    stage.end();
}

#[test]
fn unknown_paths_are_not_found() {
    let stage = Stage::new();
    let before = stage.everything();
    // The message names the path without its version and its query.
    for (path, resource) in [
        ("/", "/"),
        ("/index.html", "/index.html"),
        ("/v1/", "/"),
        ("/v1/Nothing", "/Nothing"),
        ("/v1/Nothing?Identity=alice", "/Nothing"),
        ("/v1/Services/", "/Services/"),
        ("/v1/services", "/services"),
        ("/v1//Services", "//Services"),
        ("/v3/Services", "/v3/Services"),
        ("/v2/Configuration", "/Configuration"),
        ("/v1/Services/{IS}/Nothing", "/Services/{IS}/Nothing"),
        ("/v1/Services/{IS}/Users/", "/Services/{IS}/Users/"),
        ("/v1/Services/{IS}/Users/alice/Channels", "/Services/{IS}/Users/alice/Channels"),
        ("/v2/Services/{IS}/Configuration", "/Services/{IS}/Configuration"),
        ("/v2/Services/{IS}/Events", "/Services/{IS}/Events"),
        ("/v1/Bindings", "/Bindings"),
        ("/v1/Services/{IS}/Credentials", "/Services/{IS}/Credentials"),
        ("/v1/Services/{IS}/Users/alice/Bindings", "/Services/{IS}/Users/alice/Bindings"),
        ("/v2/Services/{IS}/Notifications", "/Services/{IS}/Notifications"),
        ("/v2/Services/{IS}/Users/alice/Nothing", "/Services/{IS}/Users/alice/Nothing"),
        ("/v2/Services/{IS}/Users/a%20b/Nothing", "/Services/{IS}/Users/a%20b/Nothing"),
        ("/2010-04-01/Accounts/{AC}.json", "/2010-04-01/Accounts/{AC}.json"),
        ("/healthz/more", "/healthz/more"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let message = stage.ask(method, path, "").assert_error(404, 20404, &format!("{method} {path}"));
            assert_eq!(message, format!("The requested resource {} was not found", stage.path(resource)));
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn only_a_whole_segment_is_a_version() {
    let stage = Stage::new();
    for path in ["/v10/Services", "/v1Services"] {
        let message = stage.get(path).assert_error(404, 20404, path);
        assert_eq!(message, format!("The requested resource {path} was not found"));
    }
    stage.end();
}

#[test]
fn what_is_no_sid_or_nobodys_is_not_found() {
    let stage = Stage::new();
    let before = stage.everything();
    let digits = &stage.service[2..];
    let services = [
        "IS".to_owned(),
        digits.to_owned(),
        format!("IS{}", &digits[1..]),
        format!("IS{digits}0"),
        format!("IS{}g", &digits[1..]),
        format!("IS+{}", &digits[1..]),
        format!("US{digits}"),
        format!("is{digits}"),
        format!("%20IS{digits}"),
        format!("IS{}%C3%BC", &digits[1..]),
        "alice".to_owned(),
        NO_SERVICE.to_owned(),
    ];
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("{IS}")) {
        for (method, sid) in methods.iter().flat_map(|method| services.iter().map(move |sid| (method, sid))) {
            let path = path.replace("{IS}", sid);
            let message = stage.ask(method, &path, GOOD_FORM).assert_error(404, 20404, &format!("{method} {path}"));
            assert_eq!(message, format!("The requested resource {} was not found", &stage.path(&path)[3..]));
        }
    }
    let users =
        ["nobody", "Alice", "US00000000000000000000000000000000", "US", "alice%20", "alice%00", &"x".repeat(257)];
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("/alice")) {
        for (method, user) in methods.iter().flat_map(|method| users.iter().map(move |user| (method, user))) {
            let path = path.replace("alice", user);
            stage.ask(method, &path, GOOD_FORM).assert_error(404, 20404, &format!("{method} {path}"));
        }
    }
    // A user of one service is nobody in another, by either name.
    let alice = stage.get("/v1/Services/{IS}/Users/alice").json()["sid"].as_str().unwrap().to_owned();
    for name in [alice.as_str(), "alice"] {
        stage.get(&format!("/v1/Services/{}/Users/{name}", stage.other_service)).assert_error(404, 20404, name);
    }
    // So is a binding, and a notification, and neither is another user's.
    assert_eq!(stage.everything(), before);
    stage.post("/v2/Services/{IS}/Users", "Identity=bob");
    let before = stage.everything();
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("{CR}") || path.contains("{BS}")) {
        for method in *methods {
            for sid in ["x", "BS", "CR", "{IS}", NO_CREDENTIAL, "BS00000000000000000000000000000000"] {
                let path = path.replace("{CR}", sid).replace("{BS}", sid);
                stage.ask(method, &path, GOOD_FORM).assert_error(404, 20404, &format!("{method} {path}"));
            }
            for (name, other) in [("{IS}", &*stage.other_service), ("alice", "bob")] {
                if path.contains("{BS}") && path.contains(name) {
                    let path = path.replace(name, other);
                    stage.ask(method, &path, "").assert_error(404, 20404, &format!("{method} {path}"));
                }
            }
        }
    }
    for sid in ["x", "NT", "{BS}", "NT00000000000000000000000000000000"] {
        for path in ["/v1/Services/{IS}/Notifications/{NT}", "/v1/Services/{IS}/Notifications/{NT}/Deliveries"] {
            for path in [path.replace("{NT}", sid), path.replace("{IS}", &stage.other_service)] {
                stage.get(&path).assert_error(404, 20404, &path);
            }
        }
    }
    for key in ["SK", "SKx.json", "SK00000000000000000000000000000000.json", "{IS}.json", "{SK}.xml", ".json"] {
        for method in ["GET", "DELETE"] {
            let path = format!("/2010-04-01/Accounts/{{AC}}/Keys/{key}");
            stage.ask(method, &path, "").assert_error(404, 20404, &format!("{method} {path}"));
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn a_path_that_is_no_utf_8_is_nobodys() {
    let stage = Stage::new();
    let before = stage.everything();
    for path in [
        "/v1/Services/%FF",
        "/v1/Services/%FF/Configuration",
        "/v1/Services/{IS}/Users/%FF",
        "/v1/Services/{IS}/Users/a%C3",
        "/v1/Users/%C3%28",
        "/v2/Services/{IS}/Users/%FF",
        "/2010-04-01/Accounts/%FF/Keys.json",
        "/2010-04-01/Accounts/{AC}/Keys/%FF.json",
        "/%FF",
        // Half an encoding is text like any other.
        "/v1/Users/%",
        "/v1/Users/%4",
        "/v1/Users/%zz",
    ] {
        stage.get(path).assert_error(404, 20404, path);
    }
    for method in ["POST", "DELETE"] {
        stage.ask(method, "/v1/Services/{IS}/Users/%FF", GOOD_FORM).assert_error(404, 20404, method);
    }
    stage.get("/v1/Services?PageToken=%FF").assert_error(400, 20001, "a query");
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn names_in_paths_are_decoded_once() {
    let stage = Stage::new();
    let identities = ["x/y", "x%2Fy", "p+q", "p%2Bq", "a b", "ü", "100%", "100%25", "%FF"];
    for identity in identities {
        let user = stage.post("/v1/Services/{IS}/Users", &format!("Identity={}", encode(identity)));
        assert_eq!(user.json()["identity"], identity);
    }
    for identity in identities {
        let path = format!("/v1/Services/{{IS}}/Users/{}", encode(identity));
        assert_eq!(stage.get(&path).json()["identity"], identity, "{path}");
    }
    // A plus is a plus, encoded or not.
    assert_eq!(stage.get("/v1/Services/{IS}/Users/p+q").json()["identity"], "p+q");
    let before = stage.everything();
    for method in ["GET", "POST", "DELETE"] {
        stage.ask(method, "/v1/Services/{IS}/Users/x/y", "").assert_error(404, 20404, method);
        stage.ask(method, "/v1/Services/{IS}/Users/p+q/r", "").assert_error(404, 20404, method);
        stage.ask(method, "/v1/Services/{IS}/Users/a+b", "").assert_error(404, 20404, method);
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

// --- Forms ----------------------------------------------------------------------------------------------------------

#[test]
fn bad_parameters_are_refused_and_the_good_ones_beside_them_too() {
    let stage = Stage::new();
    let before = stage.everything();
    let long = |length: usize| "x".repeat(length);
    let user_sid = format!("US{}", "aB".repeat(16));
    let attributes = format!("\"{}\"", long(4_095));
    let url = format!("https://chat.test/{}", long(2_048));
    let services: &[&str] = &["/v1/Services", "/v2/Services"];
    let users: &[&str] = &["/v1/Services/{IS}/Users", "/v1/Users", "/v2/Services/{IS}/Users"];
    let user: &[&str] = &["/v1/Services/{IS}/Users/alice", "/v1/Users/alice", "/v2/Services/{IS}/Users/alice"];
    let account: &[&str] = &["/v1/Configuration"];
    let configuration: &[&str] = &["/v1/Services/{IS}/Configuration"];
    let notifications: &[&str] = &["/v1/Services/{IS}/Configuration/Notifications"];
    let account_webhooks: &[&str] = &["/v1/Configuration/Webhooks"];
    let webhooks: &[&str] = &["/v1/Services/{IS}/Configuration/Webhooks", "/v1/Configuration/Webhooks"];
    let chat: &[&str] = &["/v2/Services/{IS}"];
    let keys: &[&str] = &["/2010-04-01/Accounts/{AC}/Keys.json"];
    let credentials: &[&str] = &["/v1/Credentials", "/v2/Credentials"];
    let credential: &[&str] = &["/v1/Credentials/{CR}", "/v2/Credentials/{CR}"];
    let bindings: &[&str] = &["/v1/Services/{IS}/Bindings"];
    let sent: &[&str] = &["/v1/Services/{IS}/Notifications"];
    let Material { key, certificate, service_account } = material();
    let fcm = format!("Type=fcm&Secret={}", encode(service_account));
    let gcm = format!("Type=gcm&ApiKey={}", encode(service_account));
    let certified = format!("Type=apn&Certificate={}&PrivateKey={}", encode(certificate), encode(key));
    let signing =
        format!("Type=apn&PrivateKey={}&KeyId=ABC123DEFG&TeamId=DEF123GHIJ&Topic=com.example.app", encode(key));
    let other_key = keys::p256();
    let large = format!("{service_account}{}", " ".repeat(16 * 1024));
    let application = "arn:aws:sns:us-east-1:123456789012:app/GCM/x";
    let accounts: &[&str] = &["x", "{}", "[]", "AAAA0123:APA91b", "{\"type\":\"service_account\"}", key, &large];
    let no_form: &[&str] = &["x", "-----BEGIN PRIVATE KEY-----", service_account, &long(20_000)];
    let device = "Identity=mallory&BindingType=fcm&Address=other";
    let apple_device = "Identity=mallory&BindingType=apn&Address=0a";
    let said = "Identity=alice&Body=x";
    let data = format!("{{\"a\":\"{}\"}}", long(4_090));
    let identities = format!("x{}", (0..100).map(|number| format!("&Identity={number}")).collect::<String>());
    for (paths, good, name, bad_values, code) in [
        (services, "Type=x", "FriendlyName", &[""] as &[&str], 20001),
        (services, "Type=x", "FriendlyName", &[&long(257), &"ü".repeat(257)], 50003),
        (users, "FriendlyName=m", "Identity", &[""], 20001),
        (users, "FriendlyName=m", "Identity", &[&long(257), &"ü".repeat(257)], 50207),
        (users, "FriendlyName=m", "Identity", &[&user_sid, &user_sid.to_lowercase().replace("us", "US")], 50206),
        (users, "Identity=mallory", "FriendlyName", &[&long(257), &"ü".repeat(257)], 50003),
        (users, "Identity=mallory", "Attributes", &["x", "{", "{\"a\":1}}", "{'a':1}", "\u{FEFF}{}"], 50304),
        (users, "Identity=mallory", "Attributes", &[&attributes, &format!("x{attributes}")], 50303),
        (users, "Identity=mallory", "RoleSid", &["RL", "x", &stage.service], 20001),
        (user, "Attributes=%7B%7D", "FriendlyName", &[&long(257)], 50003),
        (user, "FriendlyName=m", "Attributes", &["x", "{", &"[".repeat(4_096), "1 2"], 50304),
        (user, "FriendlyName=m", "Attributes", &[&attributes], 50303),
        (user, "FriendlyName=m", "RoleSid", &["RL", "x", &stage.service], 20001),
        (configuration, GOOD_FORM, "DefaultConversationRoleSid", &["RL", "x", &stage.service], 20001),
        (configuration, GOOD_FORM, "DefaultConversationCreatorRoleSid", &["RL", "x", &stage.service], 20001),
        (configuration, GOOD_FORM, "DefaultChatServiceRoleSid", &["RL", "x", &stage.service], 20001),
        (configuration, "LogEnabled=x", "ReachabilityEnabled", &["", "1", "yes", "tru", "null", " true"], 20001),
        (notifications, "NewMessage.Template=x", "LogEnabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.BadgeCountEnabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.WithMedia.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "AddedToConversation.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "RemovedFromConversation.Enabled", &["", "1", "on"], 20001),
        (notifications, "LogEnabled=true", "NewMessage.Template", &[&long(2_049)], 50058),
        (notifications, "LogEnabled=true", "RemovedFromConversation.Sound", &[&long(257)], 50059),
        (webhooks, GOOD_FORM, "PreWebhookUrl", &["x", "/x", "ftp://chat.test/", "http://", "//x", &url], 50054),
        (webhooks, GOOD_FORM, "PostWebhookUrl", &["x", "/x", "mailto:a@b.c", "https:///x", "http://a b/"], 50054),
        (webhooks, "PreWebhookUrl=http://x/", "Method", &["PUT", "x", "GET,POST"], 50055),
        (webhooks, GOOD_FORM, "Filters", &["on User", "onUserUpdated,onUserAdded", &long(65)], 20001),
        (account_webhooks, GOOD_FORM, "Target", &["x", "Webhook "], 20001),
        (account, GOOD_FORM, "DefaultChatServiceSid", &["", "x", &stage.server.account, NO_SERVICE], 20001),
        (account, GOOD_FORM, "DefaultMessagingServiceSid", &["", "MG", &stage.service], 20001),
        (account, "DefaultClosedTimer=PT1H", "DefaultInactiveTimer", &["x", "60", "PT", "PT59S", "-PT5M"], 20001),
        (account, GOOD_FORM, "DefaultClosedTimer", &["x", "PT9M59S", "P0D", "1 hour", "P1Y"], 20001),
        (chat, "ReachabilityEnabled=false", "FriendlyName", &[""], 50000),
        (chat, "ReachabilityEnabled=false", "FriendlyName", &[&long(257)], 50003),
        (chat, GOOD_FORM, "ReadStatusEnabled", &["", "1", "on"], 20001),
        (chat, GOOD_FORM, "DefaultServiceRoleSid", &["RL", "x", &stage.service], 20001),
        (chat, GOOD_FORM, "TypingIndicatorTimeout", &["", "x", "-1", "1.5", "99999999999"], 20001),
        (chat, GOOD_FORM, "ConsumptionReportInterval", &["", "x", "-1", "1e1"], 20001),
        (chat, GOOD_FORM, "Limits.ChannelMembers", &["", "x", "0", "1001"], 20001),
        (chat, GOOD_FORM, "Limits.UserChannels", &["", "x", "0", "1001"], 20001),
        (chat, GOOD_FORM, "PreWebhookRetryCount", &["", "x", "-1", "4"], 50065),
        (chat, GOOD_FORM, "PostWebhookRetryCount", &["", "x", "-1", "4"], 50065),
        (chat, GOOD_FORM, "PreWebhookUrl", &["x", &url], 50054),
        (chat, GOOD_FORM, "WebhookMethod", &["PUT"], 50055),
        (chat, GOOD_FORM, "WebhookFilters", &["on User"], 20001),
        (chat, GOOD_FORM, "Notifications.NewMessage.Enabled", &["x"], 20001),
        (chat, GOOD_FORM, "Notifications.InvitedToChannel.Template", &[&long(2_049)], 50058),
        (chat, GOOD_FORM, "Notifications.AddedToChannel.Sound", &[&long(257)], 50059),
        (chat, GOOD_FORM, "Notifications.LogEnabled", &["x"], 20001),
        (keys, "", "FriendlyName", &[&long(65)], 20001),
        (credentials, &fcm, "Type", &["", "x", "APN", "twilsock", "fcm "], 20001),
        (credentials, &fcm, "FriendlyName", &[&long(65), &"ü".repeat(65)], 20001),
        (credentials, &fcm, "Sandbox", &["", "1", "yes"], 20001),
        (credentials, &fcm, "RegistrationCheck", &["", "x", "Silent", "dry_run"], 20001),
        (credentials, &certified, "RegistrationCheck", &["dry-run"], 20001),
        (credentials, &fcm, "Secret", &[""], 20001),
        (credentials, &fcm, "Secret", accounts, 20001),
        (credentials, &gcm, "ApiKey", accounts, 20001),
        (credentials, &fcm, "PlatformApplicationArn", &["x", application], 20001),
        (credentials, &certified, "Certificate", no_form, 20001),
        (credentials, &certified, "PrivateKey", &["", &other_key], 20001),
        (credentials, &certified, "PrivateKey", no_form, 20001),
        (credentials, &certified, "Topic", &["a b", "a/b", &long(256)], 20001),
        (credentials, &signing, "PrivateKey", &["", certificate], 20001),
        (credentials, &signing, "PrivateKey", no_form, 20001),
        (credentials, &signing, "KeyId", &["", "ABC123DEF", "ABC123DEFGH", "ABC 23DEFG"], 20001),
        (credentials, &signing, "TeamId", &["", "DEF123GHI", "DEF123GHIJK", "DEF-23GHIJ"], 20001),
        (credentials, &signing, "Topic", &["", "a b", &long(256)], 20001),
        (credential, "FriendlyName=changed", "Type", &["", "x", "apn"], 20001),
        (credential, "Sandbox=true", "FriendlyName", &[&long(65)], 20001),
        (credential, "FriendlyName=changed", "Sandbox", &["", "1"], 20001),
        (credential, "FriendlyName=changed", "RegistrationCheck", &["", "x"], 20001),
        (credential, "FriendlyName=changed", "Secret", accounts, 20001),
        (credential, "FriendlyName=changed", "ApiKey", accounts, 20001),
        (credential, "FriendlyName=changed", "PlatformApplicationArn", &["x", application], 20001),
        (bindings, device, "Identity", &[""], 20001),
        (bindings, device, "Identity", &[&long(257)], 50207),
        (bindings, device, "Identity", &[&user_sid], 50206),
        (bindings, device, "BindingType", &[""], 20001),
        (bindings, device, "BindingType", &["x", "FCM", "twilsock", "sms"], 50209),
        (bindings, device, "Address", &["", "a b", "ü", "a\nb", &long(4_097)], 20001),
        (bindings, apple_device, "Address", &["", "x", "0g", "../0a", &"0".repeat(4_097)], 20001),
        (bindings, device, "CredentialSid", &["", "x", &stage.service, NO_CREDENTIAL], 20001),
        (bindings, apple_device, "CredentialSid", &[&stage.credential], 20001),
        (bindings, device, "Endpoint", &[&long(257)], 20001),
        (sent, said, "Identity", &[""], 20001),
        (sent, said, "Identity", &[&long(257)], 50207),
        (sent, said, "Identity", &[&user_sid], 50206),
        (sent, said, "Title", &[&long(1_025)], 20001),
        (sent, said, "Body", &["", &long(4_097)], 20001),
        (sent, said, "Data", &["x", "{", "[]", "7", "\"x\"", "{\"aps\":1}", "{}{}", &data], 20001),
        (sent, said, "Priority", &["", "x", "High", "normal"], 20001),
        (sent, said, "Ttl", &["", "x", "-1", "1.5", "2419201"], 20001),
        (sent, said, "Sound", &[&long(257)], 20001),
    ] {
        for path in paths {
            for value in bad_values {
                // The bad one comes first, and so is the one that counts where the good ones have it too.
                let form = format!("{name}={}&{good}", encode(value));
                let what = format!("POST {path} with {name}={value:.80}");
                let message = stage.post(path, &form).assert_error(400, code, &what);
                assert!(message.contains(name) || code != 20001, "{what}: {message}");
            }
        }
    }
    // Each is small enough, and all together are not.
    let body = format!("Identity=alice&Title={}&Body={}", long(1_000), encode(&"ü".repeat(1_550)));
    stage.post(sent[0], &body).assert_error(400, 20001, "too much");
    let message = stage.post(sent[0], &format!("Body=x&Identity={identities}")).assert_error(400, 20001, "too many");
    assert!(message.contains("Identity"), "{message}");
    for (path, query, code) in [
        ("/v1/Services/{IS}/Bindings", "BindingType=x", 50209),
        ("/v1/Services/{IS}/Bindings", "BindingType=apn&BindingType=", 50209),
        ("/v2/Services/{IS}/Bindings", "BindingType=APN", 50209),
        ("/v2/Services/{IS}/Users/alice/Bindings", "BindingType=x", 50209),
        ("/v1/Services/{IS}/Bindings", &format!("Identity={}", long(257)), 50207),
        ("/v2/Services/{IS}/Bindings", &format!("Identity={user_sid}"), 50206),
        ("/v2/Services/{IS}/Bindings", &format!("Identity={identities}"), 20001),
    ] {
        stage.get(&format!("{path}?{query}")).assert_error(400, code, &format!("GET {path}?{query:.80}"));
    }
    assert_eq!(stage.everything(), before);

    // With several credentials it has to be said which.
    let another = stage.post("/v1/Credentials", &gcm);
    assert_eq!(another.status, 201, "{}", another.body);
    let message = stage.post(bindings[0], device).assert_error(400, 20001, "which one");
    assert_eq!(message, "Missing required parameter CredentialSid in the post body");
    let form = format!("{device}&CredentialSid={}", stage.credential);
    assert_eq!(stage.post(bindings[0], &form).json()["credential_sid"], stage.credential);
    stage.end();
}

/// Whoever has a device's token may reach the device, and whoever has a credential's key is the app's owner.
#[test]
fn what_is_secret_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let owner = basic(&server.account, &server.token);
    let mut answers = server.greeting.clone();
    let mut ask = |method: &str, path: &str, form: &str| {
        let mut connection = Connection::open(&address);
        connection.send(request(method, path, &[&owner, FORM, CLOSE], form.as_bytes()));
        let answer = connection.receive(method).unwrap();
        answers += &answer.body;
        answer.json()["sid"].as_str().unwrap_or_default().to_owned()
    };
    let Material { key, certificate, service_account } = material();
    let service = ask("POST", "/v1/Services", "FriendlyName=x");
    let (bindings, token) = (format!("/v1/Services/{service}/Bindings"), "0123456789abcdef".repeat(4));
    for (form, other_form) in [
        (format!("Type=fcm&Secret={}", encode(service_account)), format!("ApiKey={}", encode(key))),
        (
            format!("Type=apn&Certificate={}&PrivateKey={}", encode(certificate), encode(key)),
            format!("Certificate={}&PrivateKey={}", encode(key), encode(service_account)),
        ),
    ] {
        // Nor is anything sent to anybody.
        let sid = ask("POST", "/v1/Credentials", &format!("{form}&RegistrationCheck=none"));
        assert!(sid.starts_with("CR"), "{sid}");
        ask("POST", &format!("/v1/Credentials/{sid}"), &form);
        ask("POST", &format!("/v2/Credentials/{sid}"), &other_form);
        ask("GET", &format!("/v2/Credentials/{sid}"), "");
    }
    for path in ["/v1/Credentials", "/v2/Credentials", &bindings] {
        ask("GET", path, "");
    }
    for kind in ["apn", "fcm"] {
        let sid = ask("POST", &bindings, &format!("Identity=alice&BindingType={kind}&Address={token}"));
        ask("GET", &format!("{bindings}/{sid}"), "");
        ask("POST", &bindings, &format!("Identity=alice&BindingType={kind}&Address={token}%20x"));
    }
    let (_, logs) = server.stop();
    let sealing = std::fs::read_to_string(directory.path().join("credentials.key")).unwrap();
    assert_eq!(sealing.trim_end().len(), 64);
    let secret_lines = key.lines().chain(service_account.split("\\n")).filter(|line| line.len() == 64);
    let secret_lines: Vec<&str> = secret_lines.chain([sealing.trim_end(), &token, "PRIVATE KEY"]).collect();
    assert!(secret_lines.len() > 20, "{}", secret_lines.len());
    for secret in secret_lines {
        assert!(!answers.contains(secret) && !logs.contains(secret), "{secret}");
    }
    // What is stored of them cannot be read either.
    let stored = ["reachability.db", "reachability.db-wal"].map(|name| std::fs::read(directory.path().join(name)));
    for bytes in stored.into_iter().flatten() {
        assert!(!bytes.windows(11).any(|text| text == b"PRIVATE KEY"));
    }
}

#[test]
fn required_parameters_are_required() {
    let stage = Stage::new();
    let before = stage.everything();
    for (path, name) in [
        ("/v1/Services", "FriendlyName"),
        ("/v2/Services", "FriendlyName"),
        ("/v1/Services/{IS}/Users", "Identity"),
        ("/v1/Users", "Identity"),
        ("/v2/Services/{IS}/Users", "Identity"),
        ("/v1/Credentials", "Type"),
        ("/v2/Credentials", "Type"),
        ("/v1/Services/{IS}/Bindings", "Identity"),
        ("/v1/Services/{IS}/Notifications", "Identity"),
    ] {
        let small = name.to_lowercase();
        let owner = stage.owner();
        let json = format!("{{\"{name}\":\"x\"}}");
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n--b--\r\n");
        let form = format!("{name}=x");
        for (headers, body) in [
            (&[FORM] as &[&str], ""),
            (&[], ""),
            (&[FORM], "Unknown=x"),
            (&[FORM], &format!("{small}=x")),
            (&[FORM], &format!("{name}=")),
            (&[FORM], name),
            // A body that is no form has no parameters.
            (&[JSON], &json),
            (&[JSON], &form),
            (&["Content-Type: text/plain"], &form),
            (&["Content-Type: multipart/form-data; boundary=b"], &part),
        ] {
            let what = format!("POST {path} with {body:?}");
            let answer = stage.send("POST", path, &[&[owner.as_str()], headers].concat(), body);
            let message = answer.assert_error(400, 20001, &what);
            assert_eq!(message, format!("Missing required parameter {name} in the post body"), "{what}");
        }
        // The query is no form either.
        stage.post(&format!("{path}?{name}=x"), "").assert_error(400, 20001, path);
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn text_that_is_no_utf_8_is_refused() {
    let stage = Stage::new();
    let before = stage.everything();
    for (path, form) in [
        ("/v1/Services", b"FriendlyName=%FF" as &[u8]),
        ("/v1/Services", b"FriendlyName=\xFF"),
        ("/v1/Services", b"FriendlyName=x&%FF=y"),
        ("/v1/Services/{IS}/Users", b"Identity=%C3"),
        ("/v1/Services/{IS}/Users", b"Identity=a\xC3\x28"),
        ("/v1/Services/{IS}/Users", b"Identity=mallory&FriendlyName=%ED%A0%80"),
        ("/v1/Services/{IS}/Users/alice", b"FriendlyName=%C0%80"),
        ("/v1/Services/{IS}/Users/alice", b"Attributes=%22%FF%22"),
        ("/v2/Services/{IS}", b"FriendlyName=\xFE"),
    ] {
        stage.ask("POST", path, form).assert_error(400, 20001, &format!("POST {path}"));
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn reachability_is_read_only() {
    let stage = Stage::new();
    for path in ["/v1/Services/{IS}/Users", "/v1/Users"] {
        assert_eq!(stage.post(path, "Identity=carol").status, 201, "{path}");
    }
    let before = stage.everything();
    let attempts = "IsOnline=true&IsNotifiable=true&is_online=true&is_notifiable=true&Online=true&Notifiable=true";
    for path in ["/v1/Services/{IS}/Users/carol", "/v2/Services/{IS}/Users/carol", "/v1/Users/carol"] {
        for (headers, body) in [(FORM, attempts), (JSON, r#"{"IsOnline":true,"is_online":true}"#)] {
            let user = stage.send("POST", path, &[&stage.owner(), headers], body);
            assert_eq!(user.status, 200, "{path}");
            assert_eq!(
                (&user.json()["is_online"], &user.json()["is_notifiable"]),
                (&Value::Null, &Value::Null),
                "{path}"
            );
        }
        assert_eq!(stage.post(&format!("{path}?{attempts}"), "").status, 200, "{path}");
    }
    assert_eq!(stage.everything(), before);

    let created = stage.post("/v1/Services/{IS}/Users", &format!("Identity=bob&{attempts}"));
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["is_online"], Value::Null);
    assert_eq!(stage.get("/v1/Services/{IS}/Users/bob").json()["is_online"], Value::Null);
    stage.end();
}

#[test]
fn unknown_parameters_are_ignored() {
    let stage = Stage::new();
    let before = stage.everything();
    let unknown = "Unknown=x&friendlyname=x&reachabilityEnabled=false&Sid=IS0&AccountSid=x&DateCreated=x&=x&&x";
    for (path, methods) in ROUTES {
        if methods.contains(&"GET") {
            assert_eq!(stage.get(&format!("{path}?{unknown}")).status, 200, "GET {path}");
        }
    }
    assert_eq!(stage.post("/v1/Services/{IS}/Configuration", unknown).status, 200);
    assert_eq!(stage.post("/v2/Services/{IS}", unknown).status, 200);
    assert_eq!(stage.everything(), before);

    let form = format!("{unknown}&ReachabilityEnabled=False");
    assert_eq!(stage.post("/v1/Services/{IS}/Configuration", &form).json()["reachability_enabled"], false);
    stage.end();
}

#[test]
fn an_update_with_nothing_in_it_changes_nothing() {
    let stage = Stage::new();
    let before = stage.everything();
    let owner = stage.owner();
    for path in [
        "/v1/Configuration",
        "/v1/Configuration/Webhooks",
        "/v1/Services/{IS}/Configuration",
        "/v1/Services/{IS}/Configuration/Notifications",
        "/v1/Services/{IS}/Configuration/Webhooks",
        "/v1/Services/{IS}/Users/alice",
        "/v1/Users/alice",
        "/v1/Credentials/{CR}",
        "/v2/Credentials/{CR}",
        "/v2/Services/{IS}",
        "/v2/Services/{IS}/Users/alice",
    ] {
        let fetched = stage.get(path).json();
        for headers in [&[owner.as_str()] as &[&str], &[&owner, FORM], &[&owner, JSON]] {
            let answer = stage.send("POST", path, headers, "");
            assert_eq!((answer.status, answer.json()), (200, fetched.clone()), "{path} {}", headers.len());
        }
        // Without so much as a length.
        let mut connection = stage.connect();
        connection.send(format!("POST {} HTTP/1.1\r\nHost: chat.test\r\n{owner}\r\n\r\n", stage.path(path)));
        let answer = connection.receive("POST").unwrap();
        assert_eq!((answer.status, answer.json()), (200, fetched), "{path}");
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn pages_are_at_least_one_and_at_most_so_many_items_long() {
    let stage = Stage::new();
    for (path, max) in LISTS {
        let size = |list: &Value| list["meta"]["page_size"].as_u64().or(list["page_size"].as_u64());
        for (asked, expected) in
            [("", 50.min(*max)), ("0", 1), ("-1", 1), ("1", 1), ("100000", *max), ("-9000000000", 1)]
        {
            let answer = stage.get(&format!("{path}?PageSize={asked}"));
            assert_eq!(answer.status, 200, "{path} {asked:?}: {}", answer.body);
            assert_eq!(size(&answer.json()), Some(expected), "{path} {asked:?}");
        }
        for asked in ["abc", "1.5", "%20", "1x", "0x10", "%FF"] {
            stage.get(&format!("{path}?PageSize={asked}")).assert_error(400, 20001, &format!("{path} {asked}"));
        }
        let other = if path.ends_with("Services") { "US" } else { "IS" };
        for token in [
            "x",
            "PT",
            "%C3%BC",
            "PTx",
            "XX{IS}",
            "{IS}",
            &format!("PT{other}00000000000000000000000000000000"),
            &"x".repeat(10_000),
        ] {
            let message = stage.get(&format!("{path}?PageToken={token}")).assert_error(400, 20001, path);
            assert!(message.contains("PageToken"), "{path} {token}: {message}");
        }
        // The page's number is the client's own affair.
        for number in ["-1", "x", "99999999999999999999"] {
            assert_eq!(stage.get(&format!("{path}?Page={number}")).status, 200, "{path} {number}");
        }
    }
    stage.get("/v1/Services/{IS}/Users?Reachability=maybe").assert_error(400, 20001, "Reachability");
    stage.end();
}

// --- Bodies ---------------------------------------------------------------------------------------------------------

#[test]
fn too_large_bodies_are_refused_to_clients_that_send_all_before_they_read() {
    let stage = Stage::new();
    let before = stage.everything();
    let event = event(&stage.service, "mallory", "connect").to_string() + "\n";
    let events = event.repeat(TEN_MEGABYTES / event.len() + 1);
    let form = format!("FriendlyName={}", "x".repeat(TEN_MEGABYTES));
    let (owner, stranger) = (stage.owner(), basic(&stage.server.account, "wrong"));
    for (path, body) in [
        ("/v1/Services", &form),
        ("/v1/Services/{IS}/Users/alice", &form),
        ("/v2/Services/{IS}", &form),
        ("/v1/Nothing", &form),
        ("/v1/Services/{IS}/Events", &events),
    ] {
        let (first, rest) = body.split_at(body.len() / 2);
        let chunked =
            format!("{:x}\r\n{first}\r\n{:x};x=y\r\n{rest}\r\n0\r\n\r\n", first.len(), rest.len()).into_bytes();
        for (credentials, status, code) in [(&owner, 413, 20001), (&stranger, 401, 20003)] {
            let headers = [credentials.as_str(), FORM];
            stage.send("POST", path, &headers, body).assert_error(status, code, path);

            let mut connection = stage.connect();
            let [authorization, form] = headers;
            connection.send(format!("POST {} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n{form}\r\n", stage.path(path)));
            connection.send("Transfer-Encoding: chunked\r\n\r\n");
            connection.send(&chunked);
            connection.receive("POST").unwrap().assert_error(status, code, path);
            // All of it was read, so the connection is as good as new.
            connection.send(request("GET", "/healthz", &[CLOSE], b""));
            assert_eq!(connection.receive("GET").unwrap().status, 200, "{path}");
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

/// A form and events that would be taken, and their beginnings that would be, too.
fn bodies(stage: &Stage) -> [(String, String); 3] {
    let event = event(&stage.service, "mallory", "connect");
    [
        ("/v1/Services".to_owned(), "FriendlyName=mallory".to_owned()),
        (stage.path("/v1/Services/{IS}/Users"), "Identity=mallory".to_owned()),
        (stage.path("/v1/Services/{IS}/Events"), format!("{event}\n")),
    ]
}

#[test]
fn half_a_body_is_nothing() {
    let stage = Stage::new();
    let before = stage.everything();
    let owner = stage.owner();
    for (path, body) in bodies(&stage) {
        let size = body.len();
        for (name, framing, sent) in [
            ("shorter than its length", format!("Content-Length: {}", size + 100), body.clone()),
            ("nothing at all", format!("Content-Length: {size}"), String::new()),
            ("a chunk cut short", "Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{body}", size + 100)),
            ("no last chunk", "Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n")),
            ("half of the last chunk", "Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n0\r\n")),
            ("half of a chunk's size", "Transfer-Encoding: chunked".to_owned(), format!("{size:x}\r\n{body}\r\n1")),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{owner}\r\n{FORM}\r\n{framing}\r\n\r\n");
            // Gone for good.
            let mut connection = stage.connect();
            connection.send(&head);
            connection.send(&sent);
            drop(connection);
            // Waiting for an answer.
            let mut connection = stage.connect();
            connection.send(&head);
            connection.send(&sent);
            connection.finish();
            let what = format!("POST {path} with {name}");
            let answer = connection.receive("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
            answer.assert_error(400, 20001, &what);
            assert!(connection.is_closed(), "{what}");
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

/// Chunks that are none, after which nobody knows where the next request begins.
const MALFORMED_CHUNKS: &[&str] =
    &["zz\r\nFriendlyName=x\r\n0\r\n\r\n", "-1\r\nx\r\n0\r\n\r\n", "5\r\nFriendlyName=x\r\n0\r\n\r\n", "\r\n\r\n\r\n"];

#[test]
fn malformed_chunks_are_refused() {
    let stage = Stage::new();
    let before = stage.everything();
    for (path, _) in bodies(&stage) {
        for chunks in MALFORMED_CHUNKS.iter().chain(&["fffffffffffffffff\r\nx\r\n0\r\n\r\n"]) {
            let mut connection = stage.connect();
            let owner = stage.owner();
            connection.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{owner}\r\n{FORM}\r\n"));
            connection.send("Transfer-Encoding: chunked\r\n\r\n");
            connection.send(chunks);
            let what = format!("POST {path} with {chunks:?}");
            let answer = connection.receive("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
            answer.assert_error(400, 20001, &what);
            assert!(connection.is_closed(), "{what}");
        }
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn a_connection_that_ends_after_an_answer_is_said_to() {
    let stage = Stage::new();
    let owner = stage.owner();
    for chunks in MALFORMED_CHUNKS {
        let mut connection = stage.connect();
        connection.send(format!("POST /v1/Services HTTP/1.1\r\nHost: x\r\n{owner}\r\n{FORM}\r\n"));
        connection.send("Transfer-Encoding: chunked\r\n\r\n");
        connection.send(chunks);
        assert!(connection.receive("POST").unwrap().says_close(), "{chunks:?}");
    }
    stage.end();
}

#[test]
fn json_may_be_nested_deeply() {
    let stage = Stage::new();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let path = "/v1/Services/{IS}/Events";
    let before = stage.everything();
    for (body, what) in [
        ("[".repeat(1_000_000), "brackets"),
        ("{\"a\":".repeat(1_000_000), "braces"),
        (format!("[{}]", "{\"a\":".repeat(1_000_000)), "braces in brackets"),
    ] {
        let answer = stage.post(path, &body);
        let whole = answer.json()["refused"].is_array();
        let members: &[&str] = if whole {
            &["accepted", "code", "message", "more_info", "refused", "status"]
        } else {
            &["code", "message", "more_info", "status"]
        };
        answer.assert_error_with(400, 20001, members, what);
    }
    stage.post(path, &nested(1_000_000)).assert_error_with(
        400,
        20001,
        &["accepted", "code", "message", "more_info", "refused", "status"],
        "an array",
    );
    for name in ["service_sid", "lease_seconds", "type"] {
        let event = event(&stage.service, "mallory", "connect");
        let mut event = event.as_object().unwrap().clone();
        event.remove(name);
        let rest = serde_json::to_string(&event).unwrap();
        let body = format!("{{\"{name}\":{},{}", nested(1_000_000), &rest[1..]);
        assert_eq!(stage.post(path, &body).status, 400, "{name}");
    }
    assert_eq!(stage.everything(), before);

    // Unknown fields are ignored however deep they are; attributes are a text that is JSON.
    let event = event(&stage.service, "alice", "connect").to_string();
    let answer = stage.post(path, &format!("{{\"x\":{},{}", nested(1_000_000), &event[1..]));
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{}", answer.body);
    let answer = stage.post("/v1/Services/{IS}/Users/alice", &format!("Attributes={}", nested(2_048)));
    assert_eq!((answer.status, answer.json()["attributes"].as_str()), (200, Some(nested(2_048).as_str())));
    stage.end();
}

// --- HTTP -----------------------------------------------------------------------------------------------------------

/// What cannot be read as a request never reaches a function: it is answered, and the connection ends.
#[test]
fn what_is_no_http_is_refused() {
    let stage = Stage::new();
    let before = stage.everything();
    let owner = stage.owner();
    let head = |line: &str, headers: &str| format!("{line}\r\nHost: x\r\n{owner}\r\n{headers}\r\n").into_bytes();
    let post = |headers: &str| [head("POST /v1/Services HTTP/1.1", headers), b"FriendlyName=x".to_vec()].concat();
    for (what, bytes, status) in [
        ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03\r\n\r\n".to_vec(), 400),
        ("words", b"hello there\r\n\r\n".to_vec(), 400),
        ("no version", b"GET /v1/Services\r\n\r\n".to_vec(), 400),
        ("another version", head("GET /v1/Services HTTP/2.0", ""), 400),
        ("a space in the path", head("GET /v1/Ser vices HTTP/1.1", ""), 400),
        ("bytes that are no UTF-8", [b"GET /v1/Services/\xFF".to_vec(), head(" HTTP/1.1", "")].concat(), 400),
        ("a header without a colon", head("GET /v1/Services HTTP/1.1", "Nonsense\r\n"), 400),
        ("a header with a control character", head("GET /v1/Services HTTP/1.1", "X: a\u{1}b\r\n"), 400),
        ("a length that is none", post("Content-Length: abc\r\n"), 400),
        ("a negative length", post("Content-Length: -1\r\n"), 400),
        ("two lengths", post("Content-Length: 14\r\nContent-Length: 15\r\n"), 400),
        ("two lengths in one", post("Content-Length: 14, 15\r\n"), 400),
        ("an unknown encoding", post("Transfer-Encoding: gzip\r\n"), 400),
        ("too many headers", head("GET /v1/Services HTTP/1.1", &"X: y\r\n".repeat(1_000)), 431),
        ("too large a header", head("GET /v1/Services HTTP/1.1", &format!("X: {}\r\n", "y".repeat(1 << 20))), 431),
        ("too long a path", head(&format!("GET /v1/{} HTTP/1.1", "x".repeat(70_000)), ""), 414),
    ] {
        let mut connection = stage.connect();
        // It may be refused before all of it was sent.
        let _ = connection.0.get_mut().write_all(&bytes);
        let answer = connection.receive("GET").unwrap_or_else(|error| panic!("{what}: {error}"));
        answer.assert_error(status, 20001, what);
        assert!(answer.says_close(), "{what}");
        assert!(connection.is_closed(), "{what}");
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

/// All errors are JSON, also those that no function makes: helper libraries cannot read anything else. These are the
/// ones that a helper library can bring about.
#[test]
fn requests_that_are_too_large_for_http_are_refused_in_the_documented_form() {
    let stage = Stage::new();
    let owner = stage.owner();
    let identities = "Identity=0123456789&".repeat(5_000);
    for (what, path, headers, status) in [
        ("too many headers", "/v1/Services".to_owned(), "X: y\r\n".repeat(1_000), 431),
        ("too large a header", "/v1/Services".to_owned(), format!("Cookie: {}\r\n", "y".repeat(1 << 20)), 431),
        ("too long a query", format!("/v1/Services?{identities}"), String::new(), 414),
    ] {
        let mut connection = stage.connect();
        let _ = connection
            .0
            .get_mut()
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{owner}\r\n{headers}{CLOSE}\r\n\r\n").as_bytes());
        connection.receive("GET").unwrap().assert_error(status, 20001, what);
    }
    stage.end();
}

#[test]
fn a_client_that_leaves_early_leaves_nothing_behind() {
    let stage = Stage::new();
    let before = stage.everything();
    let whole = request("POST", "/v1/Services", &[&stage.owner(), FORM], b"FriendlyName=mallory");
    let head = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    for length in [0, 1, 10, head, head + 4, whole.len() - 1] {
        let mut connection = stage.connect();
        connection.send(&whole[..length]);
        drop(connection);
        // Having said all it wants to say. If there is an answer, it is an error.
        let mut connection = stage.connect();
        connection.send(&whole[..length]);
        connection.finish();
        if let Ok(answer) = connection.receive("POST") {
            assert_eq!(answer.status, 400, "after {length} bytes");
        }
        assert!(connection.is_closed(), "after {length} bytes");
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

/// A client that asks and asks and never reads an answer keeps its connection for a while, not for ever.
#[test]
fn a_client_that_does_not_read_is_left() {
    let stage = Stage::new();
    let mut connection = stage.connect();
    let stream = connection.0.get_mut();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let questions = request("GET", "/v1/Services", &[&stage.owner()], b"").repeat(100);
    let started = Instant::now();
    // Once both sides' buffers are full it is the client that waits, until the server closes the connection.
    loop {
        match stream.write_all(&questions) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(started.elapsed() < Duration::from_secs(90), "it is still connected");
    }
    stage.end();
}

#[test]
fn a_slow_client_is_served() {
    let stage = Stage::new();
    let whole = request("POST", "/v1/Services", &[&stage.owner(), FORM, CLOSE], b"FriendlyName=slow");
    let mut connection = stage.connect();
    for bytes in whole.chunks(8) {
        connection.send(bytes);
        thread::sleep(Duration::from_millis(10));
    }
    let answer = connection.receive("POST").unwrap();
    assert_eq!((answer.status, &answer.json()["friendly_name"]), (201, &json!("slow")));
    stage.end();
}

#[test]
fn a_client_may_ask_before_it_sends_a_body() {
    let stage = Stage::new();
    let body = b"FriendlyName=asked";
    let (owner, stranger) = (stage.owner(), basic(&stage.server.account, "wrong"));
    for (credentials, status) in [(&owner, 201), (&stranger, 401)] {
        let whole = request("POST", "/v1/Services", &[credentials, FORM, CLOSE, "Expect: 100-continue"], body);
        let mut connection = stage.connect();
        connection.send(&whole[..whole.len() - body.len()]);
        let mut answer = connection.receive("POST").unwrap();
        if answer.status == 100 {
            connection.send(body);
            answer = connection.receive("POST").unwrap();
        }
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(connection.is_closed());
    }
    stage.end();
}

#[test]
fn old_clients_are_served() {
    let stage = Stage::new();
    let owner = stage.owner();
    for (path, status) in [("/v1/Services", 200), ("/v1/Nothing", 404), ("/healthz", 200)] {
        let mut connection = stage.connect();
        connection.send(format!("GET {path} HTTP/1.0\r\n{owner}\r\n\r\n"));
        let answer = connection.receive("GET").unwrap();
        assert_eq!(answer.status, status, "{path}");
        if status == 404 {
            answer.assert_error(404, 20404, path);
        }
        assert!(connection.is_closed(), "{path}");
    }
    stage.end();
}

#[test]
fn a_head_is_answered_without_its_body() {
    let stage = Stage::new();
    for (path, methods) in ROUTES.iter().filter(|(_, methods)| methods.contains(&"GET")) {
        let (get, head) = (stage.get(path), stage.ask("HEAD", path, ""));
        assert!(methods.contains(&"GET"));
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
    }
    assert_eq!(stage.ask("HEAD", "/v1/Nothing", "").status, 404);
    assert_eq!(stage.send("HEAD", "/v1/Services", &[], "").status, 401);
    stage.end();
}

#[test]
fn a_connection_can_be_used_after_an_error() {
    let stage = Stage::new();
    let owner = stage.owner();
    let large = vec![b'x'; 1 << 20];
    let mut connection = stage.connect();
    for (method, path, headers, body, status) in [
        ("GET", "/v1/Services", &[] as &[&str], b"" as &[u8], 401),
        ("POST", "/v1/Services", &[FORM], b"FriendlyName=x", 401),
        ("POST", "/v1/Services", &[FORM], &large, 401),
        ("GET", "/v1/Nothing", &[&owner], b"", 404),
        ("PUT", "/v1/Services", &[&owner, FORM], b"FriendlyName=x", 405),
        ("POST", "/v1/Services", &[&owner, JSON], b"{}", 400),
        ("POST", "/v1/Services", &[&owner, FORM], b"FriendlyName=%FF", 400),
        ("POST", "/v1/Services", &[&owner, FORM], &large, 413),
        ("HEAD", "/v1/Nothing", &[&owner], b"", 404),
        ("DELETE", "/v1/Users/nobody", &[&owner], b"", 404),
        ("GET", "/v1/Services", &[&owner], b"", 200),
    ] {
        connection.send(request(method, path, headers, body));
        let answer = connection.receive(method).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(answer.status, status, "{method} {path}");
        if answer.says_close() {
            assert!(connection.is_closed(), "{method} {path}");
            connection = stage.connect();
        }
    }
    drop(connection);
    stage.end();
}

#[test]
fn a_connection_is_closed_when_the_client_says_so() {
    let stage = Stage::new();
    for (path, status) in [("/v1/Services", 200), ("/v1/Nothing", 404)] {
        let mut connection = stage.connect();
        connection.send(request("GET", path, &[&stage.owner(), CLOSE], b""));
        let answer = connection.receive("GET").unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.says_close(), "{path}");
        assert!(connection.is_closed(), "{path}");
    }
    stage.end();
}

// --- Events ---------------------------------------------------------------------------------------------------------

/// An event that is taken.
fn event(service: &str, identity: &str, kind: &str) -> Value {
    let mut event = json!({
        "type": kind,
        "service_sid": service,
        "identity": identity,
        "connection_id": "c-1",
        "occurred_at": clock::now().to_string(),
    });
    if kind == "disconnect" {
        event["reason"] = json!("client_closed");
    }
    event
}

const EVENTS: &str = "/v1/Services/{IS}/Events";

/// Nothing in this body is taken, for these reasons.
#[track_caller]
fn assert_all_refused(stage: &Stage, body: &str, reasons: &[&str]) {
    let what = format!("{body:.300}");
    let answer = stage.post(EVENTS, body);
    let members = ["accepted", "code", "message", "more_info", "refused", "status"];
    answer.assert_error_with(400, 20001, &members, &what);
    let body = answer.json();
    assert_eq!(body["accepted"], 0, "{what}");
    let refused = body["refused"].as_array().unwrap();
    assert_eq!(refused.len(), reasons.len(), "{what}: {refused:?}");
    for (index, (refused, reason)) in refused.iter().zip(reasons).enumerate() {
        assert_eq!(refused["index"], index, "{what}");
        assert!(refused["reason"].as_str().unwrap().contains(reason), "{what}: {refused} has no {reason:?}");
    }
}

#[test]
fn bad_events_are_refused_with_the_reason() {
    let stage = Stage::new();
    let before = stage.everything();
    for (kind, fields) in [
        ("connect", &["type", "service_sid", "identity", "connection_id", "occurred_at"] as &[&str]),
        ("renew", &["type", "service_sid", "identity", "connection_id", "occurred_at"]),
        ("disconnect", &["type", "service_sid", "identity", "connection_id", "occurred_at", "reason"]),
    ] {
        for field in fields {
            let good = event(&stage.service, "mallory", kind);
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(*field);
            assert_all_refused(&stage, &bad.to_string(), &[&format!("missing field: {field}")]);
            for value in [json!(null), json!(7), json!(true), json!(["x"]), json!({"x": 1}), json!("")] {
                let mut bad = good.clone();
                bad[*field] = value;
                assert_all_refused(&stage, &bad.to_string(), &[""]);
                assert_all_refused(&stage, &json!([bad]).to_string(), &[""]);
            }
        }
    }
    let ahead = clock::now().plus(Duration::from_secs(301 + 60)).to_string();
    let user_sid = format!("US{}", "0".repeat(32));
    for (field, value, reason) in [
        ("type", json!("check"), "unknown type"),
        ("type", json!("Connect"), "unknown type"),
        ("type", json!("binding"), "unknown type"),
        ("service_sid", json!("IS1"), "service_sid"),
        ("service_sid", json!(NO_SERVICE), "service_sid"),
        ("service_sid", json!(stage.other_service), "service_sid"),
        ("identity", json!("x".repeat(257)), "identity is longer"),
        ("identity", json!(user_sid), "identity looks like a user sid"),
        ("connection_id", json!("x".repeat(129)), "connection_id is longer"),
        ("occurred_at", json!("yesterday"), "occurred_at"),
        ("occurred_at", json!("2026-11-20"), "occurred_at"),
        ("occurred_at", json!("2026-11-20T10:00:00"), "occurred_at"),
        ("occurred_at", json!("2026-13-20T10:00:00Z"), "occurred_at"),
        ("occurred_at", json!("1795171200"), "occurred_at"),
        ("occurred_at", json!(1_795_171_200), ""),
        ("occurred_at", json!(ahead), "in the future"),
        ("occurred_at", json!("9999-01-01T00:00:00Z"), "in the future"),
        ("lease_seconds", json!(0), "lease_seconds"),
        ("lease_seconds", json!(-1), "lease_seconds"),
        ("lease_seconds", json!(1.5), "lease_seconds"),
        ("lease_seconds", json!(4_294_967_296_u64), "lease_seconds"),
        ("lease_seconds", json!("60"), ""),
        ("device", json!("x".repeat(257)), "device"),
        ("device", json!(7), ""),
    ] {
        let mut bad = event(&stage.service, "mallory", "connect");
        bad[field] = value;
        assert_all_refused(&stage, &bad.to_string(), &[reason]);
    }
    let mut bad = event(&stage.service, "mallory", "disconnect");
    bad["reason"] = json!("bored");
    assert_all_refused(&stage, &bad.to_string(), &["unknown reason"]);
    let good = event(&stage.service, "mallory", "connect").to_string();
    for bad in ["x", "7", "null", "\"connect\"", "{", "{}", "{}{}", &good[1..], &format!("{good}x"), &good[..50]] {
        assert_all_refused(&stage, bad, &[""]);
    }
    // The same field twice says two things.
    assert_all_refused(&stage, &good.replacen('{', "{\"identity\":\"bob\",", 1), &["identity"]);
    assert_all_refused(&stage, "[1, null, \"x\", [], {}]", &["", "", "", "", "missing field"]);
    assert_all_refused(&stage, "x\n\n{}\r\n", &["malformed JSON", "missing field: type"]);
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn events_that_are_no_array_are_refused_whole() {
    let stage = Stage::new();
    let before = stage.everything();
    let good = event(&stage.service, "mallory", "connect").to_string();
    for body in [
        "[".to_owned(),
        format!("[{good}"),
        format!("[{good},]"),
        format!("[{good} {good}]"),
        format!("[{good}]]"),
        format!("[{good}]\n{good}"),
        format!("[{good},x]"),
    ] {
        let message = stage.post(EVENTS, &body).assert_error(400, 20001, &body);
        assert!(message.contains("malformed JSON"), "{message}");
    }
    let broken = [b"[\"", good.as_bytes(), b"\xFF\"]"].concat();
    assert_eq!(stage.ask("POST", EVENTS, broken).status, 400);
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn the_answer_to_many_bad_events_is_not_much_larger_than_they_are() {
    let stage = Stage::new();
    for body in ["x\n".repeat(1 << 19), format!("[{}1]", "1,".repeat(1 << 19))] {
        let answer = stage.post(EVENTS, &body);
        assert!([400, 413].contains(&answer.status), "{}", answer.status);
        let (asked, answered) = (body.len(), answer.body.len());
        assert!(answered < 4 * asked, "{answered} bytes are the answer to {asked}");
    }
    stage.end();
}

#[test]
fn good_events_are_taken_from_among_bad_ones() {
    let stage = Stage::new();
    let online =
        |identity: &str| stage.get(&format!("/v1/Services/{{IS}}/Users/{identity}")).json()["is_online"].clone();
    let event = |identity: &str| event(&stage.service, identity, "connect");
    let mut stranger = event("mallory");
    stranger["service_sid"] = json!(stage.other_service);
    let mut unknown_fields = event("bob");
    unknown_fields["zone"] = json!({"a": [1, {"b": null}]});
    unknown_fields["is_online"] = json!(false);

    let lines = format!("{}\nnonsense\n\n  {}\r\n{stranger}\n{unknown_fields}", event("alice"), event("carol"));
    let array = format!("[{},\"nonsense\",{},{stranger},{unknown_fields}]", event("dave"), event("erin"));
    for (body, identities) in [(lines, ["alice", "carol", "bob"]), (array, ["dave", "erin", "bob"])] {
        let answer = stage.post(EVENTS, &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.assert_headers(&body);
        let taken = answer.json();
        assert_eq!(taken["accepted"], 3, "{taken}");
        let refused = taken["refused"].as_array().unwrap();
        assert_eq!(refused.iter().map(|refused| &refused["index"]).collect::<Vec<_>>(), [1, 3], "{taken}");
        assert!(refused[0]["reason"].as_str().unwrap().contains("malformed JSON"), "{taken}");
        assert_eq!(refused[1]["reason"], "service_sid is not the service in the path");
        for identity in identities {
            wait_until(identity, || online(identity) == true);
        }
    }
    assert_eq!(stage.get("/v1/Services/{IS}/Users/mallory").status, 404);
    assert_eq!(stage.get(&format!("/v1/Services/{}/Users/mallory", stage.other_service)).status, 404);
    stage.end();
}

/// A new service is off. Events that came then were accepted without a hint, and nobody came online.
#[test]
fn the_answer_says_whether_reachability_is_on() {
    let stage = Stage::new();
    for (service, enabled) in [(&stage.service, true), (&stage.other_service, false)] {
        for body in [event(service, "alice", "connect").to_string(), "[]".to_owned()] {
            let answer = stage.post(&format!("/v1/Services/{service}/Events"), &body);
            assert_eq!(answer.status, 202, "{}", answer.body);
            assert_eq!(answer.json()["reachability_enabled"], enabled, "{}", answer.body);
        }
    }
    stage.end();
}

#[test]
fn no_events_are_no_error() {
    let stage = Stage::new();
    let before = stage.everything();
    for body in ["", "\n", " \r\n \n", "[]", " [ ] "] {
        let answer = stage.post(EVENTS, body);
        let none = json!({ "accepted": 0, "refused": [], "reachability_enabled": true });
        assert_eq!((answer.status, answer.json()), (202, none), "{body:?}");
        answer.assert_headers(body);
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

#[test]
fn an_unknown_service_takes_no_events() {
    let stage = Stage::new();
    let before = stage.everything();
    let path = format!("/v1/Services/{NO_SERVICE}/Events");
    for body in [event(NO_SERVICE, "mallory", "connect").to_string(), String::new(), "x".to_owned()] {
        stage.post(&path, &body).assert_error(404, 20404, &body);
    }
    assert_eq!(stage.everything(), before);
    stage.end();
}

// --- At the same time -----------------------------------------------------------------------------------------------

#[test]
fn of_users_with_the_same_name_created_at_the_same_time_one_is() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 10;
    let stage = Stage::new();
    let paths = ["/v1/Services/{IS}/Users", "/v2/Services/{IS}/Users"];
    for round in 0..ROUNDS {
        let together = Barrier::new(CLIENTS);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let create = |client: usize| {
                together.wait();
                stage.post(paths[client % 2], &format!("Identity=same-{round}"))
            };
            let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || create(client))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let (created, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(created.len(), 1, "round {round}");
        for answer in refused {
            assert_eq!(answer.assert_error(409, 50201, "a second user"), "User already exists");
        }
        let user = stage.get(&format!("/v1/Services/{{IS}}/Users/same-{round}")).json();
        assert_eq!(user["sid"], created[0].json()["sid"]);
    }
    let list = stage.get("/v1/Services/{IS}/Users").json();
    assert_eq!(list["users"].as_array().unwrap().len(), ROUNDS + 1);
    stage.end();
}

#[test]
fn of_updates_at_the_same_time_none_is_lost() {
    const CHAT: &str = "/v2/Services/{IS}";
    const CONFIGURATION: &str = "/v1/Services/{IS}/Configuration";
    const NOTIFICATIONS: &str = "/v1/Services/{IS}/Configuration/Notifications";
    const WEBHOOKS: &str = "/v1/Services/{IS}/Configuration/Webhooks";
    // The route, a parameter, its value, and where the same route shows it.
    let updates = [
        (CHAT, "FriendlyName", "changed", "/friendly_name"),
        (CHAT, "DefaultServiceRoleSid", "RL00000000000000000000000000000001", "/default_service_role_sid"),
        (CHAT, "DefaultChannelRoleSid", "RL00000000000000000000000000000002", "/default_channel_role_sid"),
        (
            CHAT,
            "DefaultChannelCreatorRoleSid",
            "RL00000000000000000000000000000003",
            "/default_channel_creator_role_sid",
        ),
        (CHAT, "ReadStatusEnabled", "false", "/read_status_enabled"),
        (CHAT, "ReachabilityEnabled", "false", "/reachability_enabled"),
        (CHAT, "TypingIndicatorTimeout", "7", "/typing_indicator_timeout"),
        (CHAT, "ConsumptionReportInterval", "8", "/consumption_report_interval"),
        (CHAT, "Limits.ChannelMembers", "9", "/limits/channel_members"),
        (CHAT, "Limits.UserChannels", "10", "/limits/user_channels"),
        (CHAT, "Media.CompatibilityMessage", "media", "/media/compatibility_message"),
        (CHAT, "PreWebhookRetryCount", "1", "/pre_webhook_retry_count"),
        (CHAT, "PostWebhookRetryCount", "2", "/post_webhook_retry_count"),
        (CHAT, "PreWebhookUrl", "http://chat.test/pre", "/pre_webhook_url"),
        (CHAT, "PostWebhookUrl", "http://chat.test/post", "/post_webhook_url"),
        (CHAT, "WebhookMethod", "GET", "/webhook_method"),
        (CHAT, "WebhookFilters", "onUserUpdated", "/webhook_filters/0"),
        (CHAT, "Notifications.LogEnabled", "true", "/notifications/log_enabled"),
        (CHAT, "Notifications.NewMessage.BadgeCountEnabled", "true", "/notifications/new_message/badge_count_enabled"),
        (CHAT, "Notifications.NewMessage.Enabled", "true", "/notifications/new_message/enabled"),
        (CHAT, "Notifications.NewMessage.Template", "t1", "/notifications/new_message/template"),
        (CHAT, "Notifications.NewMessage.Sound", "s1", "/notifications/new_message/sound"),
        (CHAT, "Notifications.AddedToChannel.Enabled", "true", "/notifications/added_to_channel/enabled"),
        (CHAT, "Notifications.AddedToChannel.Template", "t2", "/notifications/added_to_channel/template"),
        (CHAT, "Notifications.AddedToChannel.Sound", "s2", "/notifications/added_to_channel/sound"),
        (CHAT, "Notifications.RemovedFromChannel.Enabled", "true", "/notifications/removed_from_channel/enabled"),
        (CHAT, "Notifications.RemovedFromChannel.Template", "t3", "/notifications/removed_from_channel/template"),
        (CHAT, "Notifications.RemovedFromChannel.Sound", "s3", "/notifications/removed_from_channel/sound"),
        (CHAT, "Notifications.InvitedToChannel.Enabled", "true", "/notifications/invited_to_channel/enabled"),
        (CHAT, "Notifications.InvitedToChannel.Template", "t4", "/notifications/invited_to_channel/template"),
        (CHAT, "Notifications.InvitedToChannel.Sound", "s4", "/notifications/invited_to_channel/sound"),
        (NOTIFICATIONS, "NewMessage.WithMedia.Enabled", "true", "/new_message/with_media/enabled"),
        (NOTIFICATIONS, "NewMessage.WithMedia.Template", "t5", "/new_message/with_media/template"),
        // The same fields, by their other names.
        (NOTIFICATIONS, "LogEnabled", "true", "/log_enabled"),
        (NOTIFICATIONS, "NewMessage.BadgeCountEnabled", "true", "/new_message/badge_count_enabled"),
        (NOTIFICATIONS, "NewMessage.Enabled", "true", "/new_message/enabled"),
        (NOTIFICATIONS, "NewMessage.Template", "t1", "/new_message/template"),
        (NOTIFICATIONS, "NewMessage.Sound", "s1", "/new_message/sound"),
        (NOTIFICATIONS, "AddedToConversation.Enabled", "true", "/added_to_conversation/enabled"),
        (NOTIFICATIONS, "AddedToConversation.Template", "t2", "/added_to_conversation/template"),
        (NOTIFICATIONS, "AddedToConversation.Sound", "s2", "/added_to_conversation/sound"),
        (NOTIFICATIONS, "RemovedFromConversation.Enabled", "true", "/removed_from_conversation/enabled"),
        (NOTIFICATIONS, "RemovedFromConversation.Template", "t3", "/removed_from_conversation/template"),
        (NOTIFICATIONS, "RemovedFromConversation.Sound", "s3", "/removed_from_conversation/sound"),
        (WEBHOOKS, "PreWebhookUrl", "http://chat.test/pre", "/pre_webhook_url"),
        (WEBHOOKS, "PostWebhookUrl", "http://chat.test/post", "/post_webhook_url"),
        (WEBHOOKS, "Method", "GET", "/method"),
        (WEBHOOKS, "Filters", "onUserUpdated", "/filters/0"),
        (CONFIGURATION, "ReachabilityEnabled", "false", "/reachability_enabled"),
        (
            CONFIGURATION,
            "DefaultChatServiceRoleSid",
            "RL00000000000000000000000000000001",
            "/default_chat_service_role_sid",
        ),
    ];
    let stage = Stage::new();
    for round in 0..10 {
        let service = stage.post("/v1/Services", "FriendlyName=x").json()["sid"].as_str().unwrap().to_owned();
        let path = |path: &str| path.replace("{IS}", &service);
        let together = Barrier::new(updates.len());
        thread::scope(|scope| {
            for (route, name, value, _) in &updates {
                let (stage, path, together) = (&stage, &path, &together);
                scope.spawn(move || {
                    let form = format!("{name}={}", encode(value));
                    let request = request("POST", &path(route), &[&stage.owner(), FORM], form.as_bytes());
                    let mut connection = stage.connect();
                    together.wait();
                    connection.send(request);
                    let answer = connection.receive("POST").unwrap();
                    assert_eq!(answer.status, 200, "round {round}, {name}: {}", answer.body);
                });
            }
        });
        for (route, name, value, place) in &updates {
            let expected = serde_json::from_str(value).unwrap_or(json!(value));
            assert_eq!(stage.get(&path(route)).json().pointer(place), Some(&expected), "round {round}, {name}");
        }
    }
    stage.end();
}

#[test]
fn a_service_can_be_deleted_while_users_are_created_in_it() {
    let stage = Stage::new();
    let before = stage.everything();
    let service = stage.post("/v1/Services", "FriendlyName=doomed").json()["sid"].as_str().unwrap().to_owned();
    let path = format!("/v1/Services/{service}");
    let users = format!("{path}/Users");
    let created = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (stage, users, created) = (&stage, &users, &created);
        let clients: Vec<_> = (0..4)
            .map(|client| {
                scope.spawn(move || {
                    for number in 0.. {
                        let answer = stage.post(users, &format!("Identity=user-{client}-{number}"));
                        if answer.status != 201 {
                            answer.assert_error(404, 20404, "the service is gone");
                            break;
                        }
                        created.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        wait_until("users are created", || created.load(Ordering::SeqCst) >= 20);
        assert_eq!(stage.ask("DELETE", &path, "").status, 204);
        for client in clients {
            client.join().unwrap();
        }
    });
    for path in [&path, &users, &format!("{path}/Configuration"), &format!("{users}/user-0-0")] {
        stage.get(path).assert_error(404, 20404, path);
    }
    stage.ask("DELETE", &path, "").assert_error(404, 20404, &path);
    stage.post(&users, "Identity=late").assert_error(404, 20404, &users);
    assert_eq!(stage.everything(), before);
    stage.end();
}
