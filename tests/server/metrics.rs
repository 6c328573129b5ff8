//! The metrics that Prometheus reads: of a server that did something of everything.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::events::event;
use reachability_tests::external::{debian, skip};
use reachability_tests::providers::{Apple, Ca};
use reachability_tests::receiver::Receiver;
use reachability_tests::server::Server;
use reachability_tests::socket::JsonSocket;
use reachability_tests::stack;
use reachability_tests::tokens::Signer;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

const LISTEN: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

/// Where the server tells its metrics.
fn url(server: &Server) -> &str {
    let is_metrics = |word: &&str| word.starts_with("http://") && word.ends_with("/metrics");
    server.greeting.split_whitespace().find(is_metrics).expect("the address of the metrics")
}

/// What a URL answers to somebody without credentials: the status, the content type and the body.
async fn ask(method: Method, url: &str) -> (u16, String, String) {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    let answer = http.request(method, url).send().await.unwrap();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    (answer.status().as_u16(), kind.unwrap_or_default(), answer.text().await.unwrap())
}

async fn scrape(server: &Server) -> String {
    let (status, _, text) = ask(Method::GET, url(server)).await;
    assert_eq!(status, 200, "{text}");
    text
}

/// The value of a series; `None` if it is not there.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a series has at least this value. Returns what was read then.
async fn reaches(server: &Server, series: &str, least: f64) -> String {
    wait(&format!("{series} reaches {least}"), async || {
        let text = scrape(server).await;
        value(&text, series).is_some_and(|value| value >= least).then_some(text)
    })
    .await
}

/// The names of the metrics, with their types.
fn served(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// The names in the tables of the document, with their types.
fn documented(document: &str) -> BTreeMap<&str, &str> {
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.split(" | ");
        let name = cells.next()?.strip_prefix("| `")?.strip_suffix('`')?;
        Some((name, cells.next()?))
    });
    rows.filter(|(_, kind)| ["counter", "gauge", "histogram"].contains(kind)).collect()
}

/// The metrics that a file of alerts or a dashboard uses.
fn used(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| ["reachability_", "process_"].iter().any(|prefix| word.starts_with(prefix)));
    names
        .map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name))
        .collect()
}

fn monitoring(file: &str) -> String {
    std::fs::read_to_string(stack::root().join("docs/monitoring").join(file)).unwrap()
}

/// Runs Prometheus' checker in a directory with this input. `None` if it could not be had.
fn promtool(arguments: &[&str], directory: &Path, input: &str) -> Option<Result<(), String>> {
    use std::io::Write;

    let program = match debian::file("usr/bin/promtool") {
        Ok(program) => program,
        Err(reason) => {
            skip(&format!("promtool {}: {reason}", arguments.join(" ")));
            return None;
        }
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    Some(if output.status.success() { Ok(()) } else { Err(said) })
}

/// Has users connect with events and sockets, a push and a webhook sent, and a socket refused. Returns the last answer.
async fn be_busy(server: &Server, receiver: &Receiver, apple: &Apple) -> String {
    let client = Client::of(server);
    let service = client.enabled_service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    let webhooks = [("PostWebhookUrl", &*receiver.url("/hook")), ("Filters", "onUserUpdated")];
    assert_eq!(client.send(Method::POST, &at("Configuration/Webhooks"), &webhooks).await.0, 200);
    let key = apple.key();
    assert_eq!(client.send(Method::POST, "/v1/Credentials", &Apple::credential(key.expose())).await.0, 201);
    let registration = [("Identity", "bob"), ("BindingType", "apn"), ("Address", "00ff")];
    assert_eq!(client.send(Method::POST, &at("Bindings"), &registration).await.0, 201);

    let signer = Signer::new(&client, &server.account).await;
    let mut alice = JsonSocket::open(server.address(), &signer.token(&service, "alice"), json!({})).await;
    alice.watch(&["bob"]).await.ok();
    assert_eq!(JsonSocket::connect(server.address()).await.err(), Some(503), "there may be one from an address");
    client.post(&at("Events"), event(&service, "bob", "connect").to_string()).await;
    alice.until("bob", Some(true)).await;
    let two = ["carol", "dave"].map(|identity| event(&service, identity, "connect").to_string()).join("\n");
    assert_eq!(client.answer(&at("Events"), two).await.unwrap().0, 429, "one may wait");
    assert_eq!(client.get(&at("Users/bob")).await["is_online"], true);
    assert_eq!(client.send(Method::GET, &at("Users/nobody"), &[]).await.0, 404);
    assert_eq!(client.send(Method::GET, "/no/such/path", &[]).await.0, 404);
    let method = Method::from_bytes(b"MADEUP").unwrap();
    assert_eq!(client.request(method, "/healthz").send().await.unwrap().status(), 405);

    reaches(server, "reachability_pushes_total{outcome=\"accepted\"}", 1.0).await;
    reaches(server, "reachability_webhooks_total{outcome=\"delivered\"}", 1.0).await;
    reaches(server, "reachability_changes_total{field=\"online\",to=\"true\"}", 2.0).await;
    let text = reaches(server, "reachability_fan_out_seconds_count", 1.0).await;
    for secret in ["alice", "bob", "nobody", "no/such", "MADEUP", &service, &server.account, "00ff"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert_eq!(value(&text, "reachability_sockets_open"), Some(1.0));
    assert_eq!(value(&text, "reachability_watches_open"), Some(1.0));
    alice.goodbye().await;
    reaches(server, "reachability_sockets_closed_total", 1.0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_busy_server_tells_is_right_and_documented() {
    let directory = tempfile::tempdir().unwrap();
    let ca = std::sync::Arc::new(Ca::new());
    let (apple, receiver) = (Apple::start_with(ca.clone(), clock::now).await, Receiver::start().await);
    ca.write(&directory.path().join("ca.pem"));
    let limits = ["--max-sockets-per-address", "1", "--max-waiting-events-per-service", "1"];
    let arguments = [&LISTEN[..], &limits].concat();
    let server = Server::start_with(&directory.path().join("data"), &arguments, |command| {
        command.env("SSL_CERT_FILE", directory.path().join("ca.pem")).env_remove("SSL_CERT_DIR");
        command.env("REACHABILITY_APNS_URL", apple.url());
    });
    let text = be_busy(&server, &receiver, &apple).await;
    for (series, least) in [
        ("reachability_events_total{outcome=\"applied\"}", 2.0),
        ("reachability_event_lag_seconds_count", 2.0),
        ("reachability_store_commit_seconds_count{flushed=\"true\"}", 1.0),
        ("reachability_store_commit_seconds_count{flushed=\"false\"}", 1.0),
        ("reachability_store_operation_seconds_count{operation=\"write\"}", 1.0),
        ("reachability_store_operation_seconds_count{operation=\"read\"}", 1.0),
        ("reachability_queue_messages{queue=\"timers\"}", 1.0),
        ("reachability_database_bytes", 4_096.0),
        ("reachability_database_log_bytes", 4_096.0),
        ("reachability_refusals_total{limit=\"sockets_of_address\"}", 1.0),
        ("reachability_refusals_total{limit=\"events_of_service\"}", 1.0),
        ("reachability_frames_total{direction=\"received\"}", 2.0),
        ("reachability_frames_total{direction=\"sent\"}", 3.0),
        ("reachability_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}", 1.0),
        ("reachability_http_requests_total{method=\"other\",route=\"/healthz\",status=\"405\"}", 1.0),
        ("reachability_http_requests_total{method=\"GET\",route=\"/v1/Socket\",status=\"101\"}", 1.0),
        ("reachability_http_requests_total{method=\"GET\",route=\"/v1/Socket\",status=\"503\"}", 1.0),
        ("process_start_time_seconds", 1.7e9),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 4.0),
    ] {
        assert!(value(&text, series).is_some_and(|value| value >= least), "{series}: {text}");
    }
    for series in ["reachability_queue_messages{queue=\"events\"}", "reachability_dead_letters{queue=\"events\"}"] {
        assert_eq!(value(&text, series), Some(0.0), "{text}");
    }
    assert!(text.contains(concat!("reachability_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")));

    let document = std::fs::read_to_string(stack::root().join("docs/metrics.md")).unwrap();
    assert_eq!(served(&text), documented(&document), "what is served, and docs/metrics.md");
    let served: BTreeSet<&str> = served(&text).into_keys().collect();
    for file in ["alerts.yaml", "grafana.json"] {
        let monitoring = monitoring(file);
        let unknown: Vec<&str> = used(&monitoring).difference(&served).copied().collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
        assert!(used(&monitoring).len() > 10, "{file}");
    }
    if let Some(checked) = promtool(&["check", "metrics"], directory.path(), &text) {
        checked.unwrap_or_else(|said| panic!("{said}{text}"));
    }
    let (status, logs) = server.stop();
    assert!(status.success(), "{logs}");
}

#[test]
fn the_alerts_are_valid_and_fire_when_they_are_to() {
    let root = stack::root();
    let checks = [
        (&["check", "rules", "alerts.yaml"][..], root.join("docs/monitoring")),
        (&["test", "rules", "alerts.test.yaml"], root.join("tests/data")),
    ];
    for (arguments, directory) in checks {
        let Some(checked) = promtool(arguments, &directory, "") else { return };
        checked.unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn the_dashboard_shows_every_metric_that_says_something() {
    let dashboard: Value = serde_json::from_str(&monitoring("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(panel["type"] == "row" || !panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
    let text = dashboard.to_string();
    let shown = used(&text);
    let document = std::fs::read_to_string(stack::root().join("docs/metrics.md")).unwrap();
    let of_aws_or_little_use = ["reachability_aws_retries_total", "process_threads", "process_virtual_memory_bytes"];
    for name in documented(&document).into_keys().filter(|name| !of_aws_or_little_use.contains(name)) {
        assert!(shown.contains(name), "{name}");
    }
}

#[tokio::test]
async fn only_the_listener_of_the_metrics_tells_them() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, &LISTEN);
    let (status, kind, text) = ask(Method::GET, url(&server)).await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4"));
    assert!(text.starts_with("# HELP "), "{text}");
    assert_eq!(ask(Method::HEAD, url(&server)).await.0, 200);
    assert_eq!(ask(Method::POST, url(&server)).await.0, 405);
    let other = url(&server).replace("/metrics", "/v1/Services");
    assert_eq!(ask(Method::GET, &other).await.0, 404, "the API is not there");
    let of_api = format!("{}/metrics", server.url);
    assert_eq!(ask(Method::GET, &of_api).await.0, 401, "that may be public");
    assert_eq!(Client::of(&server).send(Method::GET, &of_api, &[]).await.0, 404);
    // A port in use is told by the name of its option.
    let taken = url(&server).strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let other = directory.path().join("other");
    let arguments = ["--listen", "127.0.0.1:0", "--metrics-listen", taken, "--data-dir", other.to_str().unwrap()];
    let outcome = run(&mut reachability(&arguments), b"");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("another address with --metrics-listen"), "{outcome:?}");
    assert!(!other.exists(), "it left no files behind");
    assert!(server.stop().0.success());
    let server = Server::start(&data, &[]);
    assert!(!server.greeting.contains("metrics"), "{}", server.greeting);
}

/// Many who connect and say nothing keep nobody out who asks.
#[tokio::test]
async fn silent_connections_do_not_stop_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &LISTEN);
    let address = url(&server).strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert!(scrape(&server).await.contains("reachability_build_info"));
    assert_eq!(ask(Method::GET, &format!("{}/healthz", server.url)).await.0, 200);
    drop(silent);
}

/// A server that does nothing else writes nothing, however often it is asked.
#[tokio::test]
async fn to_tell_the_metrics_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &LISTEN);
    let writes = async || {
        // Longer than an answer of the database is told again.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let text = scrape(&server).await;
        let reads = value(&text, "reachability_store_operation_seconds_count{operation=\"read\"}").unwrap();
        let writes = value(&text, "reachability_store_operation_seconds_count{operation=\"write\"}").unwrap();
        (reads, writes)
    };
    // It writes a little when it starts.
    let (before, after) = wait("the start is over", async || {
        let (before, after) = (writes().await, writes().await);
        (before.1 == after.1).then_some((before, after))
    })
    .await;
    assert!(after.0 > before.0, "the database was asked");
    assert_eq!(writes().await.1, after.1);
}
