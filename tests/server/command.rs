//! The command, as its owner uses it: what it prints, what it takes, how it ends, and what it keeps to itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use reachability_infra::clock;
use reachability_tests::events;
use reachability_tests::server::{Server, binary};
use reqwest::Method;
use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every setting of `serve`: its variable, its flag, a good value, and bad ones.
const SETTINGS: &[(&str, &str, &str, &[&str])] = &[
    ("REACHABILITY_LISTEN", "--listen", "127.0.0.1:0", BAD_ADDRESSES),
    ("REACHABILITY_DATA_DIR", "--data-dir", "data", &[]),
    ("REACHABILITY_ACCOUNT_SID", "--account-sid", ACCOUNT, &["AC", "x", "SK00000000000000000000000000000001"]),
    ("REACHABILITY_AUTH_TOKEN", "--auth-token", TOKEN, &["too-short", "with spaces in between", "schlüsselschlüssel"]),
    ("REACHABILITY_PUBLIC_URL", "--public-url", "http://x.test", &["x.test", "/x", "ftp://x.test", "http://x.test/?a"]),
    ("REACHABILITY_GRACE_SECONDS", "--grace-seconds", "1", &["-1", "1.5", "x", "4294967296"]),
    ("REACHABILITY_LEASE_SECONDS", "--lease-seconds", "60", &["0", "-1", "1.5", "x", "4294967296"]),
];

const BAD_ADDRESSES: &[&str] = &[
    "127.0.0.1:99999",
    "127.0.0.1",
    "8080",
    "x",
    "localhost",
    "localhost:",
    "localhost:x",
    ":8080",
    "::1:8080",
    "[::1]",
];

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "a-token-that-the-owner-chose";

/// The command without any settings.
fn reachability(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("RUST_LOG");
    for (variable, ..) in SETTINGS {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command did that ends on its own.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a command to its end, with something to read.
#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It need not read any of it.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let collect = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            stream.map(|mut stream| stream.read_to_end(&mut text));
            String::from_utf8(text).unwrap()
        })
    };
    let stdout = collect(child.stdout.take().map(|stdout| Box::new(stdout) as Box<dyn Read + Send>));
    let stderr = collect(child.stderr.take().map(|stderr| Box::new(stderr) as Box<dyn Read + Send>));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} does not end: {}{}", stdout.join().unwrap(), stderr.join().unwrap());
        }
        thread::sleep(Duration::from_millis(5));
    };
    Outcome { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Starts a server in a directory, with no other settings than these.
fn serve(data_dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
    Server::start_with(data_dir, &[], |command| {
        *command = reachability(arguments);
        command.envs(variables.iter().copied());
    })
}

/// Sends a request. Returns the status and the body, which is JSON or nothing.
async fn send(method: Method, url: &str, credentials: (&str, &str), form: &[(&str, &str)]) -> (u16, Value) {
    send_with(method, url, credentials, form, &[]).await
}

async fn send_with(
    method: Method,
    url: &str,
    (name, password): (&str, &str),
    form: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let mut request = client.request(method.clone(), url).basic_auth(name, Some(password));
    if method == Method::POST {
        request = request.form(form);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() })
}

/// Sends a request to this path as the owner.
async fn ask(server: &Server, method: Method, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    send(method, &format!("{}{path}", server.url), (&server.account, &server.token), form).await
}

/// Makes a service with reachability on. Returns its sid.
async fn make_service(server: &Server) -> String {
    let (status, service) = ask(server, Method::POST, "/v1/Services", &[("FriendlyName", "x")]).await;
    assert_eq!(status, 201);
    let sid = service["sid"].as_str().unwrap().to_owned();
    let path = format!("/v1/Services/{sid}/Configuration");
    let (_, configuration) = ask(server, Method::POST, &path, &[("ReachabilityEnabled", "true")]).await;
    assert_eq!(configuration["reachability_enabled"], true);
    sid
}

/// Hands in an event.
async fn hand_in(server: &Server, event: &Value) {
    let url = format!("{}/v1/Services/{}/Events", server.url, event["service_sid"].as_str().unwrap());
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let answer = client.post(url).basic_auth(&server.account, Some(&server.token)).json(event).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

/// Everything is in order: it ended well and nothing panicked. Returns what it logged.
#[track_caller]
fn stop(server: Server) -> String {
    let (status, logs) = server.stop();
    assert!(status.success(), "{status}: {logs}");
    assert!(!logs.contains("panicked"), "{logs}");
    logs
}

/// Pastes a line with `curl` into a shell, and types this where it asks for a password. Returns the answer.
#[track_caller]
fn paste(line: &str, typed: &str) -> Value {
    // A shell of its own session has no terminal, so that `curl` asks at standard input.
    let mut shell = Command::new("setsid");
    shell.args(["--wait", "sh", "-c", line]).env("no_proxy", "127.0.0.1").stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = run(&mut shell, format!("{typed}\n").as_bytes());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn curl_line(greeting: &str) -> Option<&str> {
    greeting.lines().map(str::trim).find(|line| line.starts_with("curl "))
}

// --- Starting -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_first_start_tells_all_that_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("some where").join("alice's data");
    let server = serve(&data, &["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()], &[]);
    let greeting = server.greeting.clone();
    let path = data.canonicalize().unwrap();
    for text in [&server.url, &server.account, &server.token, path.to_str().unwrap(), "account.json"] {
        assert!(greeting.contains(text), "no {text:?} in {greeting}");
    }

    // The line is pasted as it is. Twice does no harm. The history of a shell keeps it, and must not keep the token.
    let line = curl_line(&greeting).unwrap();
    assert!(!line.contains(&server.token), "{line}");
    let configuration = |url: &str| {
        json!({
            "url": url,
            "links": { "notifications": format!("{url}/Notifications"), "webhooks": format!("{url}/Webhooks") },
            "reachability_enabled": true,
        })
    };
    let url = line.split('\'').find(|word| word.starts_with("http")).unwrap();
    for _ in 0..2 {
        let mut shown = paste(line, "");
        let members = shown.as_object_mut().unwrap();
        let service = members.remove("chat_service_sid").unwrap();
        assert!(url.contains(service.as_str().unwrap()), "{url}");
        for role in
            ["default_conversation_creator_role_sid", "default_conversation_role_sid", "default_chat_service_role_sid"]
        {
            assert!(members.remove(role).unwrap().as_str().unwrap().starts_with("RL"), "{role}");
        }
        assert_eq!(shown, configuration(url));
    }
    stop(server);
}

/// Whoever set the token knows it: it is asked for. It may have all characters that mean something to a shell.
#[test]
fn a_token_of_the_owners_own_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let token = r#"a"token\with'$TOKEN`and&more!"#;
    let data = directory.path().to_str().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data];
    for (by_flag, variables) in
        [(&["--auth-token", token] as &[_], &[] as &[_]), (&[], &[("REACHABILITY_AUTH_TOKEN", token)])]
    {
        let server = serve(directory.path(), &[&arguments, by_flag].concat(), variables);
        assert!(!server.greeting.contains(token), "{}", server.greeting);
        assert_eq!(paste(curl_line(&server.greeting).unwrap(), token)["reachability_enabled"], true);
        stop(server);
        fs::remove_file(directory.path().join("account.json")).unwrap();
    }
}

#[test]
fn only_the_first_start_in_a_directory_says_that_the_account_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    let mut accounts = vec![];
    for (data, is_new) in [(&one, true), (&one, false), (&other, true)] {
        let server = Server::start(data, &[]);
        for words in ["a new one was made", "--data-dir", "another account"] {
            assert_eq!(server.greeting.contains(words), is_new, "{words}: {}", server.greeting);
        }
        accounts.push(server.account.clone());
        stop(server);
    }
    assert!(accounts[0] == accounts[1] && accounts[1] != accounts[2], "{accounts:?}");
}

#[tokio::test]
async fn the_second_start_keeps_everything_and_tells_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(directory.path(), &[]);
    let (account, token) = (first.account.clone(), first.token.clone());
    let service = make_service(&first).await;
    stop(first);

    let second = Server::start(directory.path(), &[]);
    assert_eq!((&second.account, &second.token), (&account, &token));
    assert!(!second.greeting.contains(&token), "{}", second.greeting);
    for text in [&second.url, &account, directory.path().canonicalize().unwrap().to_str().unwrap()] {
        assert!(second.greeting.contains(text), "no {text:?} in {}", second.greeting);
    }
    let (status, kept) = ask(&second, Method::GET, &format!("/v1/Services/{service}/Configuration"), &[]).await;
    assert_eq!((status, &kept["reachability_enabled"]), (200, &json!(true)));
    assert!(!stop(second).contains(&token));
}

#[test]
fn a_start_that_failed_does_not_use_up_the_greeting() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().to_str().unwrap();
    assert_eq!(run(&mut reachability(&["--listen", &address, "--data-dir", data]), b"").code, Some(1));

    let server = Server::start(directory.path(), &[]);
    assert!(server.greeting.contains(&server.token), "{}", server.greeting);
    assert!(curl_line(&server.greeting).is_some(), "{}", server.greeting);
    stop(server);
}

#[test]
fn nobody_has_to_read_the_greeting() {
    let directory = tempfile::tempdir().unwrap();
    for output in ["/dev/full", "/dev/null"] {
        let mut command = reachability(&["--listen", "127.0.0.1:0", "--data-dir", directory.path().to_str().unwrap()]);
        let mut child = command.stdout(File::create(output).unwrap()).spawn().unwrap();
        // Its log says where it listens.
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let connected = TcpStream::connect(line["listen"].as_str().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(connected.is_ok(), "{line}");
    }
}

/// More clients than there are files for: the rest of the process keeps those that it needs, and whoever comes next is
/// served when somebody leaves.
#[tokio::test]
async fn more_clients_than_files_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[], |command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\""]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    let service = make_service(&server).await;
    let address = server.url.trim_start_matches("http://");
    let crowd: Vec<TcpStream> = (0..90).map(|_| TcpStream::connect(address).unwrap()).collect();
    thread::sleep(Duration::from_millis(300));
    drop(crowd);
    let (status, _) = ask(&server, Method::GET, &format!("/v1/Services/{service}"), &[]).await;
    assert_eq!(status, 200);
    let logs = stop(server);
    assert!(!logs.contains("could not be accepted") && !logs.contains("ERROR"), "{logs}");
}

// --- Settings -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn settings_are_flags_or_variables_and_flags_win() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (by_flag, by_variable) = (path("flag"), path("variable"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let other_account = "AC00000000000000000000000000000000";
    let other_token = "a-token-that-is-not-used";

    let flags = [
        ("--listen", "127.0.0.1:0"),
        ("--data-dir", &by_flag),
        ("--account-sid", ACCOUNT),
        ("--auth-token", TOKEN),
        ("--public-url", "https://flag.test"),
    ];
    let flags: Vec<&str> = flags.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    let variables = |listen, account, token, url| {
        [
            ("REACHABILITY_LISTEN", listen),
            ("REACHABILITY_DATA_DIR", by_variable.as_str()),
            ("REACHABILITY_ACCOUNT_SID", account),
            ("REACHABILITY_AUTH_TOKEN", token),
            ("REACHABILITY_PUBLIC_URL", url),
        ]
    };
    let used = variables("127.0.0.1:0", ACCOUNT, TOKEN, "https://variable.test");
    let overridden = variables(&taken, other_account, other_token, "https://overridden.test");
    for (data, arguments, variables, url) in [
        (&by_flag, flags.clone(), &[] as &[_], "https://flag.test"),
        (&by_flag, flags.clone(), &overridden, "https://flag.test"),
        (&by_flag, [&["serve"], flags.as_slice()].concat(), &overridden, "https://flag.test"),
        (&by_variable, vec![], &used, "https://variable.test"),
        (&by_variable, vec!["serve"], &used, "https://variable.test"),
    ] {
        let what = format!("{arguments:?} {variables:?}");
        let server = serve(Path::new(data), &arguments, variables);
        assert!(server.greeting.contains(ACCOUNT), "{what}: {}", server.greeting);
        assert!(server.greeting.contains(data.as_str()), "{what}: {}", server.greeting);
        let services = format!("{}/v1/Services", server.url);
        let (status, list) = send(Method::GET, &services, (ACCOUNT, TOKEN), &[]).await;
        assert_eq!(status, 200, "{what}");
        assert!(list["meta"]["url"].as_str().unwrap().starts_with(url), "{what}: {list}");
        // What is kept is what is in force.
        assert_eq!((server.account.as_str(), server.token.as_str()), (ACCOUNT, TOKEN), "{what}");
        for (account, token) in [(ACCOUNT, other_token), (other_account, TOKEN)] {
            assert_eq!(send(Method::GET, &services, (account, token), &[]).await.0, 401, "{what}: {account}");
        }
        // Its owner knows it already.
        assert!(!server.greeting.contains(TOKEN), "{what}: {}", server.greeting);
        assert!(!stop(server).contains(TOKEN), "{what}");
        if data == &by_flag {
            assert!(!Path::new(&by_variable).exists(), "{what}");
        }
    }
}

#[test]
fn bad_settings_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |command: &mut Command, flag: &str| {
        let outcome = run(command.current_dir(directory.path()), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{command:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(flag), "{command:?}: {}", outcome.stderr);
    };
    for (variable, flag, _, bad) in SETTINGS {
        for value in *bad {
            let argument = format!("{flag}={value}");
            refused(&mut reachability(&[&argument]), flag);
            refused(&mut reachability(&["serve", &argument]), flag);
            refused(reachability(&[]).env(variable, value), flag);
            refused(reachability(&["serve"]).env(variable, value), flag);
        }
        refused(&mut reachability(&[flag]), flag);
        refused(&mut reachability(&[&format!("{flag}x"), "1"]), flag);
    }
    for arguments in [&["replay"] as &[&str], &["replay", "a", "b"], &["replay", "a", "--at", "noon"], &["nonsense"]] {
        refused(&mut reachability(arguments), "");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_bad_address_is_told_what_is_expected() {
    let directory = tempfile::tempdir().unwrap();
    for address in BAD_ADDRESSES {
        let outcome = run(reachability(&["--listen", address]).current_dir(directory.path()), b"");
        assert_eq!(outcome.code, Some(2), "{address}: {}", outcome.stderr);
        for words in ["--listen", "and a port", "localhost:8080"] {
            assert!(outcome.stderr.contains(words), "{address}: no {words} in {}", outcome.stderr);
        }
    }
}

#[test]
fn it_listens_on_host_names_too() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for (arguments, variables) in [
        (&["--listen", "localhost:0", "--data-dir", data] as &[_], &[] as &[_]),
        (&["--data-dir", data], &[("REACHABILITY_LISTEN", "localhost:0")]),
    ] {
        let server = serve(directory.path(), arguments, variables);
        // It says which address it took, and the name leads there.
        let address: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
        for address in [address.to_string(), format!("localhost:{}", address.port())] {
            let mut client = TcpStream::connect(&address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(client, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{address}: {answer}");
        }
        stop(server);
    }
}

#[test]
fn a_name_that_cannot_be_resolved_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // No name has an empty label, so that no name server is asked.
    for address in ["no..where.invalid:8090", "*:8090"] {
        let outcome = run(&mut reachability(&["--listen", address, "--data-dir", data.to_str().unwrap()]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        for words in ["cannot resolve", address, "--listen"] {
            assert!(outcome.stderr.contains(words), "no {words}: {}", outcome.stderr);
        }
        assert!(!data.exists(), "{address}: a directory was made");
    }
}

#[test]
fn a_negative_number_is_refused_by_name() {
    for flag in ["--grace-seconds", "--lease-seconds"] {
        for arguments in [&[flag, "-1"] as &[&str], &["serve", flag, "-1"], &["replay", "x", flag, "-1"]] {
            let outcome = run(&mut reachability(arguments), b"");
            assert_eq!(outcome.code, Some(2), "{arguments:?}");
            assert!(outcome.stderr.contains(flag), "{arguments:?}: {}", outcome.stderr);
        }
    }
}

#[test]
fn a_token_that_is_refused_is_not_shown() {
    for token in ["too-short", "with spaces in between", "schlüsselschlüssel"] {
        for (arguments, variable) in [(vec!["--auth-token", token], ""), (vec![], token), (vec!["replay", "x"], token)]
        {
            let mut command = reachability(&arguments);
            if !variable.is_empty() {
                command.env("REACHABILITY_AUTH_TOKEN", variable);
            }
            let outcome = run(&mut command, b"");
            assert!(!outcome.stderr.contains(token), "{}", outcome.stderr);
        }
    }
}

#[test]
fn variables_for_serving_do_not_bother_other_commands() {
    let directory = tempfile::tempdir().unwrap();
    let variables = SETTINGS.iter().map(|(variable, _, value, _)| (variable, value));
    let log = format!("{}\n", event("connect", "alice", "c-1", "10:00:00"));
    for (arguments, expected) in [
        (&["replay", "-"] as &[&str], "alice"),
        (&["--version"], "reachability "),
        (&["--help"], "REACHABILITY_LISTEN"),
        (&["replay", "--help"], "--at"),
    ] {
        let outcome =
            run(reachability(arguments).envs(variables.clone()).current_dir(directory.path()), log.as_bytes());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(outcome.stdout.contains(expected), "{arguments:?}: {}", outcome.stdout);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn help_tells_of_everything_but_secrets() {
    for (arguments, words) in [
        (&["--help"] as &[&str], &["serve", "replay", "Usage:", "--version", "RUST_LOG"] as &[&str]),
        (&["-h"], &["serve", "replay"]),
        (&["help"], &["serve", "replay"]),
        (&["serve", "--help"], &["127.0.0.1:8080", "./data", "10", "120"]),
        (&["help", "serve"], &[]),
        (&["replay", "--help"], &["FILE", "gzip", "--at", "--grace-seconds", "--lease-seconds", "RFC 3339"]),
    ] {
        let outcome = run(reachability(arguments).env("REACHABILITY_AUTH_TOKEN", TOKEN), b"");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let serve = SETTINGS.iter().flat_map(|(variable, flag, ..)| [*variable, *flag]);
        let of_serve = !arguments.contains(&"replay");
        for word in words.iter().copied().chain(serve.filter(|_| of_serve)) {
            assert!(outcome.stdout.contains(word), "{arguments:?} has no {word}: {}", outcome.stdout);
        }
        assert!(!outcome.stdout.contains(TOKEN), "{arguments:?}: {}", outcome.stdout);
    }
    let outcome = run(&mut reachability(&["--version"]), b"");
    assert_eq!((outcome.code, outcome.stdout.split_whitespace().count()), (Some(0), 2), "{outcome:?}");
}

// --- The data directory ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn only_the_owner_can_read_what_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("parent").join("data");
    let server = Server::start_with(&data, &[], |command| {
        let serve = reachability(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
        let mut shell = Command::new("sh");
        // Nothing but the command itself keeps others out.
        shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
        *command = shell;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    make_service(&server).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    stop(server);
}

#[tokio::test]
async fn two_servers_do_not_share_a_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let first = Server::start(directory.path(), &[]);
    let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    for word in [data, "already", "--data-dir"] {
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
    make_service(&first).await;
    // One that was killed holds nothing back.
    first.kill();
    stop(Server::start(directory.path(), &[]));
}

#[test]
fn a_taken_port_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().to_str().unwrap();
    let outcome = run(&mut reachability(&["--listen", &address, "--data-dir", data]), b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    for word in [address.as_str(), "--listen", "in use"] {
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
}

#[test]
fn a_taken_port_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let data = directory.path().join("parent").join("data");
    for host in ["127.0.0.1", "localhost"] {
        let address = format!("{host}:{port}");
        // Of all addresses of the name.
        let _others: Vec<TcpListener> =
            address.to_socket_addrs().unwrap().filter_map(|address| TcpListener::bind(address).ok()).collect();
        let outcome = run(&mut reachability(&["--listen", &address, "--data-dir", data.to_str().unwrap()]), b"");
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&address) && outcome.stderr.contains("in use"), "{}", outcome.stderr);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{host}: something was made");
    }
}

/// A disk that is full: no file may grow.
#[test]
fn a_first_start_that_fails_leaves_no_directory_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (new, known) = (directory.path().join("new"), directory.path().join("known"));
    fs::create_dir(&known).unwrap();
    fs::write(known.join("precious"), "precious").unwrap();
    for data in [&new, &known] {
        let full = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
        let serve = reachability(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
        let mut shell = Command::new("sh");
        shell.args(["-c", full]).arg(serve.get_program()).args(serve.get_args());
        let outcome = run(shell.stdout(Stdio::piped()).stderr(Stdio::piped()), b"");
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("reachability.db"), "{outcome:?}");
    }
    assert!(!new.exists(), "the directory is left: {:?}", fs::read_dir(&new).map(Iterator::count));
    // What was there before stays.
    assert_eq!(fs::read_to_string(known.join("precious")).unwrap(), "precious");
    for data in [&new, &known] {
        let server = Server::start(data, &[]);
        assert!(server.greeting.contains(&server.token), "{}", server.greeting);
        stop(server);
    }
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    for data in [file.clone(), file.join("data"), PathBuf::from("/dev/null/data")] {
        let data = data.to_str().unwrap();
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        for word in [data, "--data-dir"] {
            assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn files_that_are_not_its_own_are_named_and_left_alone() {
    let garbage: Vec<u8> = (0..16_384_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let no_token = format!("{{\"account_sid\":\"{ACCOUNT}\"}}");
    let no_sid = format!("{{\"account_sid\":\"AC\",\"auth_token\":\"{TOKEN}\"}}");
    for (name, content) in [
        ("reachability.db", garbage.as_slice()),
        ("reachability.db", b"not a database, but longer than its header is: one hundred bytes. ".repeat(9).as_slice()),
        ("account.json", b""),
        ("account.json", b"{"),
        ("account.json", b"[]"),
        ("account.json", &garbage),
        ("account.json", no_token.as_bytes()),
        ("account.json", no_sid.as_bytes()),
        ("credentials.key", b""),
        ("credentials.key", b"short"),
        ("credentials.key", &garbage),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        let data = directory.path().to_str().unwrap();
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(file.to_str().unwrap()), "{name}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{name}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains(TOKEN), "{name}: {}", outcome.stderr);
        assert_eq!(fs::read(&file).unwrap(), content, "{name}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_file_is_not_taken_for_the_data_directory() {
    for name in ["account.json", "credentials.key", "reachability.db"] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(name)).unwrap();
        let data = directory.path().to_str().unwrap();
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!(outcome.code, Some(1), "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains(&format!("{name} as the data directory")), "{}", outcome.stderr);
    }
}

// --- Ending ---------------------------------------------------------------------------------------------------------

#[test]
fn signals_end_it_once_the_requests_under_way_are_answered() {
    for (signal, words) in [("-TERM", "SIGTERM"), ("-INT", "Ctrl-C")] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &[]);
        let address = server.url.strip_prefix("http://").unwrap();
        let idle = TcpStream::connect(address).unwrap();
        let mut busy = TcpStream::connect(address).unwrap();
        busy.set_read_timeout(Some(PATIENCE)).unwrap();
        let credentials = STANDARD.encode(format!("{}:{}", server.account, server.token));
        write!(
            busy,
            "POST /v1/Services HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\nExpect: 100-continue\r\n\r\n"
        )
        .unwrap();
        // It has the request, and waits for the body.
        let mut received = [0; 25];
        busy.read_exact(&mut received).unwrap();
        assert_eq!(received, *b"HTTP/1.1 100 Continue\r\n\r\n");

        assert!(Command::new("kill").args([signal, &server.pid().to_string()]).status().unwrap().success());
        let started = Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(started.elapsed() < PATIENCE, "{signal}: it goes on");
            thread::sleep(Duration::from_millis(5));
        }
        busy.write_all(b"FriendlyName=last").unwrap();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{signal}: {answer}");
        assert!(answer.contains("\"friendly_name\":\"last\""), "{signal}: {answer}");

        let started = Instant::now();
        let logs = stop(server);
        // Nobody is waited for who has asked for nothing.
        assert!(started.elapsed() < Duration::from_secs(5), "{signal}: {:?}", started.elapsed());
        drop(idle);
        for words in [words, "\"stopped\""] {
            assert!(logs.contains(words), "{signal}: no {words} in {logs}");
        }
    }
}

// --- Logs -----------------------------------------------------------------------------------------------------------

/// A session with something of everything. Returns the logs, and what must not be in them.
async fn session(level: &str) -> (String, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--grace-seconds", "0"], |command| {
        command.env("RUST_LOG", level);
    });
    let mut secrets = vec![server.token.clone(), STANDARD.encode(format!("{}:{}", server.account, server.token))];
    let service = make_service(&server).await;
    let users = format!("{}/v1/Services/{service}/Users", server.url);

    let keys = format!("/2010-04-01/Accounts/{}/Keys.json", server.account);
    let (_, key) = ask(&server, Method::POST, &keys, &[("FriendlyName", "key")]).await;
    let (key_sid, key_secret) = (key["sid"].as_str().unwrap(), key["secret"].as_str().unwrap());
    secrets.push(key_secret.to_owned());
    secrets.push(STANDARD.encode(format!("{key_sid}:{key_secret}")));

    let callers = [
        ("token", server.account.as_str(), server.token.as_str()),
        ("key", key_sid, key_secret),
        ("wrong", server.account.as_str(), "wrong-0123456789-password"),
    ];
    for (caller, name, password) in callers {
        secrets.push(password.to_owned());
        secrets.push(STANDARD.encode(format!("{name}:{password}")));
        // Names of people, in bodies, in paths, in queries, and in places where they do not belong.
        let identity = format!("identity-by-{caller}");
        let me = (name, password);
        let user = format!("{users}/{identity}");
        send(Method::POST, &users, me, &[("Identity", &identity), ("FriendlyName", "friendly-alice")]).await;
        send(Method::POST, &users, me, &[("Identity", &identity)]).await;
        send(Method::GET, &user, me, &[]).await;
        send(Method::POST, &user, me, &[("Attributes", "{\"secret\":\"attribute-alice\"}")]).await;
        send(Method::POST, &user, me, &[("Attributes", "broken-attribute-alice")]).await;
        send(Method::PUT, &user, me, &[]).await;
        send(Method::GET, &format!("{user}/Nothing?Identity=query-alice"), me, &[]).await;
        send(Method::GET, &format!("{users}?PageToken=query-alice"), me, &[]).await;
        send(Method::DELETE, &user, me, &[]).await;
        send(Method::GET, &user, me, &[]).await;
    }
    for kind in ["connect", "renew", "disconnect"] {
        let mut event = event(kind, "event-alice", "connection-alice", "10:00:00");
        event["service_sid"] = json!(service);
        event["occurred_at"] = json!(clock::now().to_string());
        event["lease_seconds"] = json!(1);
        hand_in(&server, &event).await;
    }
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    for body in
        ["{\"type\":\"refused-alice\"}", "{\"type\":\"connect\",\"lease_seconds\":\"refused-alice\"}", "refused-alice"]
    {
        let events = format!("{}/v1/Services/{service}/Events", server.url);
        let answer = client.post(events).basic_auth(&server.account, Some(&server.token)).body(body).send().await;
        assert_eq!(answer.unwrap().status(), 400);
    }
    let no_credentials = client.get(&users).send().await.unwrap();
    assert_eq!(no_credentials.status(), 401);
    // What is no HTTP at all.
    for request in ["GET /broken-alice\r\n\r\n", "GET /v1/Users/broken-alice HTTP/1.1\r\nContent-Length: x\r\n\r\n"] {
        let mut broken = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
        broken.set_read_timeout(Some(PATIENCE)).unwrap();
        broken.write_all(request.as_bytes()).unwrap();
        broken.read_to_end(&mut Vec::new()).unwrap();
    }
    secrets.extend(["identity-by-", "-alice", "uthorization", "Basic "].map(str::to_owned));
    (stop(server), secrets)
}

#[tokio::test]
async fn logs_tell_no_secrets_and_name_nobody() {
    for level in ["trace", "info"] {
        let (logs, secrets) = session(level).await;
        let answered = logs.lines().filter(|line| line.contains("\"answered\"")).count();
        assert!(answered > 30, "{level}: {answered} answers are logged");
        for secret in secrets {
            let found = logs.lines().find(|line| line.contains(&secret));
            assert_eq!(found, None, "{level}: {secret} is in the logs");
        }
    }
}

#[tokio::test]
async fn logs_are_json_where_nobody_watches() {
    let (logs, _) = session("debug").await;
    for line in logs.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        for member in ["timestamp", "level", "message"] {
            assert!(entry[member].is_string(), "no {member}: {line}");
        }
    }
}

// --- URLs in answers ------------------------------------------------------------------------------------------------

/// Every URL in an answer.
fn urls(answer: &Value) -> Vec<&str> {
    match answer {
        Value::String(text) if text.contains("://") => vec![text],
        Value::Array(items) => items.iter().flat_map(urls).collect(),
        Value::Object(members) => members.values().flat_map(urls).collect(),
        _ => vec![],
    }
}

#[tokio::test]
async fn urls_begin_with_what_the_client_knows_the_server_by() {
    let behind_proxy = [("host", "inner.test"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer.test")];
    for (public_url, headers, expected) in [
        ("", &[] as &[_], ""),
        ("", &[("host", "chat.test")], "http://chat.test/v"),
        ("", &[("host", "chat.test:8080")], "http://chat.test:8080/v"),
        ("", &[("host", "chat.test"), ("x-forwarded-proto", "https")], "https://chat.test/v"),
        ("", &[("host", "chat.test"), ("x-forwarded-proto", "gopher")], "http://chat.test/v"),
        ("", &behind_proxy, "https://outer.test/v"),
        ("", &[("x-forwarded-host", "first.test, second.test")], "http://first.test/v"),
        ("", &[("host", "chat.test"), ("x-forwarded-proto", "https, http")], "https://chat.test/v"),
        ("https://public.test", &behind_proxy, "https://public.test/v"),
        ("https://public.test/", &[], "https://public.test/v"),
        ("http://public.test:8080/base", &[], "http://public.test:8080/base/v"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start_with(directory.path(), &[], |command| {
            if !public_url.is_empty() {
                command.env("REACHABILITY_PUBLIC_URL", public_url);
            }
        });
        let own = format!("{}/v", server.url);
        let expected = if expected.is_empty() { &own } else { expected };
        let service = make_service(&server).await;
        make_service(&server).await;
        for (path, count) in [
            ("/v1/Services?PageSize=1", 11),
            ("/v2/Services?PageSize=1", 8),
            (&format!("/v1/Services/{service}"), 8),
            (&format!("/v1/Services/{service}/Configuration"), 3),
            (&format!("/v1/Services/{service}/Configuration/Webhooks"), 1),
            ("/v1/Configuration", 3),
            ("/v1/Users", 2),
        ] {
            let url = format!("{}{path}", server.url);
            let me = (server.account.as_str(), server.token.as_str());
            let (status, answer) = send_with(Method::GET, &url, me, &[], headers).await;
            assert_eq!(status, 200, "{path}");
            let urls = urls(&answer);
            assert!(urls.len() >= count, "{path}: {urls:?}");
            for url in urls {
                assert!(url.starts_with(expected), "{path}: {url} does not begin with {expected}");
            }
        }
        stop(server);
    }
}

// --- Time -----------------------------------------------------------------------------------------------------------

/// Whether the user is online, with the times before and after the question.
async fn is_online(server: &Server, service: &str) -> (Duration, Value, Duration) {
    let before = now();
    let (_, user) = ask(server, Method::GET, &format!("/v1/Services/{service}/Users/alice"), &[]).await;
    (before, user["is_online"].clone(), now())
}

fn now() -> Duration {
    Duration::from_millis(clock::now().as_millis().try_into().unwrap())
}

/// An event of alice that happens now. Returns when that is.
async fn happens_now(server: &Server, service: &str, kind: &str, more: &Value) -> Duration {
    let at = clock::now();
    let mut event = event(kind, "alice", "c-1", "10:00:00");
    event["service_sid"] = json!(service);
    event["occurred_at"] = json!(at.to_string());
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    hand_in(server, &event).await;
    Duration::from_millis(at.as_millis().try_into().unwrap())
}

#[tokio::test]
async fn a_lost_connection_counts_until_the_grace_period_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &["--grace-seconds", "1"], |command| {
        command.env("REACHABILITY_GRACE_SECONDS", "3600");
    });
    let service = make_service(&server).await;
    let connected = happens_now(&server, &service, "connect", &json!({})).await;
    while is_online(&server, &service).await.1 != true {
        assert!(now() < connected + PATIENCE, "nobody comes online");
    }
    let lost = happens_now(&server, &service, "disconnect", &json!({ "reason": "connection_lost" })).await;
    loop {
        let (_, online, after) = is_online(&server, &service).await;
        if online == false {
            assert!(after >= lost + Duration::from_secs(1), "offline too early");
            break;
        }
        assert_eq!(online, true);
        assert!(after < lost + PATIENCE, "online for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop(server);
}

#[tokio::test]
async fn an_unrenewed_connection_counts_until_its_lease_runs_out() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[], |command| {
        command.env("REACHABILITY_LEASE_SECONDS", "2");
    });
    let service = make_service(&server).await;
    // The event's own lease goes before the setting, for both.
    for (more, seconds) in [(json!({}), 2), (json!({ "lease_seconds": 1 }), 1)] {
        ask(&server, Method::DELETE, &format!("/v1/Services/{service}/Users/alice"), &[]).await;
        let mut more = more;
        more["connection_id"] = json!(format!("c-{seconds}"));
        let connected = happens_now(&server, &service, "connect", &more).await;
        let runs_out = connected + Duration::from_secs(seconds);
        loop {
            let (before, online, after) = is_online(&server, &service).await;
            if online == true {
                assert!(before < runs_out, "still online");
            } else if online == false {
                assert!(after >= runs_out, "offline too early");
                break;
            }
            // Until the event is handled, nobody has ever been online.
            assert!(after < connected + PATIENCE, "nobody was ever online");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop(server);
}

// --- Replaying ------------------------------------------------------------------------------------------------------

const ONE: &str = "IS00000000000000000000000000000001";
const TWO: &str = "IS00000000000000000000000000000002";

/// An event of the first service, on the day that recorded logs are of in here.
fn event(kind: &str, identity: &str, connection: &str, time: &str) -> Value {
    let mut event = events::event(ONE, identity, kind);
    event["connection_id"] = json!(connection);
    event["occurred_at"] = json!(format!("2026-11-20T{time}.000Z"));
    event
}

/// A log, and the result of replaying it.
fn recorded() -> (Vec<Value>, String) {
    let mut lost = event("disconnect", "carol", "c-1", "10:02:00");
    lost["reason"] = json!("connection_lost");
    let mut elsewhere = event("connect", "alice", "c-9", "10:01:00");
    elsewhere["service_sid"] = json!(TWO);
    let events = vec![
        elsewhere,
        event("connect", "ümit", "c-1", "10:00:00"),
        event("connect", "bob", "c-1", "10:00:00"),
        event("connect", "carol", "c-1", "10:00:00"),
        event("connect", "alice", "c-1", "10:00:00"),
        event("connect", "alice", "c-2", "10:00:30"),
        event("disconnect", "alice", "c-1", "10:01:00"),
        event("renew", "bob", "c-1", "10:01:30"),
        event("disconnect", "Dave", "c-1", "10:00:00"),
        lost,
    ];
    let result = format!(
        r#"{{"service_sid":"{ONE}","identity":"Dave","is_online":null,"is_notifiable":null,"last_active":"2026-11-20T10:00:00.000Z"}}
{{"service_sid":"{ONE}","identity":"alice","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:01:00.000Z"}}
{{"service_sid":"{ONE}","identity":"bob","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:01:30.000Z"}}
{{"service_sid":"{ONE}","identity":"carol","is_online":false,"is_notifiable":null,"last_active":"2026-11-20T10:02:00.000Z"}}
{{"service_sid":"{ONE}","identity":"ümit","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:00:00.000Z"}}
{{"service_sid":"{TWO}","identity":"alice","is_online":true,"is_notifiable":null,"last_active":"2026-11-20T10:01:00.000Z"}}
"#
    );
    (events, result)
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_log_is_replayed_however_it_comes() {
    let (events, result) = recorded();
    let log = lines(&events);
    let backwards: Vec<Value> = events.iter().rev().chain(&events).cloned().collect();
    let (first, rest) = events.split_at(3);
    for (what, bytes) in [
        ("as it is", log.clone().into_bytes()),
        ("without the last line's end", log.trim_end().as_bytes().to_vec()),
        ("with other line ends and empty lines", log.replace('\n', "\r\n\r\n").into_bytes()),
        ("backwards and again", lines(&backwards).into_bytes()),
        ("gzip", gzip(&log)),
        ("gzip in two parts", [gzip(lines(first)), gzip(lines(rest))].concat()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        fs::write(&file, &bytes).unwrap();
        for arguments in [["replay", file.to_str().unwrap()], ["replay", "-"]] {
            let outcome = run(reachability(&arguments).current_dir(directory.path()), &bytes);
            assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.stderr);
            assert_eq!(outcome.stdout, result, "{what}");
            assert_eq!(outcome.stderr, "", "{what}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{what}: nothing was made");
    }
}

#[test]
fn a_replay_has_its_own_time_and_its_own_rules() {
    let (events, _) = recorded();
    let log = lines(&events);
    // What is true of alice, bob and carol.
    for (arguments, grace, expected) in [
        (&[] as &[&str], "", [json!(true), json!(true), json!(false)]),
        (&["--at", "2026-11-20T10:01:00Z"], "", [json!(true), json!(true), json!(true)]),
        (&["--at", "2026-11-20T11:01:00+01:00"], "", [json!(true), json!(true), json!(true)]),
        // The grace period is ten seconds, unless it is set.
        (&["--at", "2026-11-20T10:02:09.999Z"], "", [json!(true), json!(true), json!(true)]),
        (&["--at", "2026-11-20T10:02:10Z"], "", [json!(true), json!(true), json!(false)]),
        (&["--at", "2026-11-20T10:02:10Z"], "60", [json!(true), json!(true), json!(true)]),
        (&["--at", "2026-11-20T10:02:10Z", "--grace-seconds", "5"], "60", [json!(true), json!(true), json!(false)]),
        (&["--at", "2026-11-20T10:02:00Z", "--grace-seconds", "0"], "", [json!(true), json!(true), json!(false)]),
        // Without a lease a connection lives until it ends.
        (&["--at", "2027-11-20T10:00:00Z"], "", [json!(true), json!(true), json!(false)]),
        (&["--lease-seconds", "60"], "", [json!(false), json!(true), json!(false)]),
        (&["--lease-seconds", "60", "--at", "2026-11-20T10:02:30Z"], "", [json!(false), json!(false), json!(false)]),
        (&["--lease-seconds=1", "--at=2026-11-20T10:00:30.999Z"], "", [json!(true), json!(false), json!(false)]),
    ] {
        let mut command = reachability(&[&["replay", "-"], arguments].concat());
        // That is for serving.
        command.env("REACHABILITY_LEASE_SECONDS", "1");
        if !grace.is_empty() {
            command.env("REACHABILITY_GRACE_SECONDS", grace);
        }
        let outcome = run(&mut command, log.as_bytes());
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
        let users: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let online = ["alice", "bob", "carol"].map(|identity| {
            users.iter().find(|user| user["service_sid"] == ONE && user["identity"] == identity).unwrap()["is_online"]
                .clone()
        });
        assert_eq!(online, expected, "{arguments:?} {grace}");
    }
}

#[test]
fn malformed_lines_are_told_of_and_left_out() {
    let (events, result) = recorded();
    let mut log = b"nonsense\n\n".to_vec();
    log.extend(lines(&events[..3]).as_bytes());
    log.extend(b"\"\xFF\"\n{\"type\":\"connect\"}\r\n");
    log.extend(lines(&events[3..]).as_bytes());
    log.extend(format!("{}\n", event("check", "eve", "c-1", "10:00:00")).as_bytes());
    log.extend(&event("connect", "eve", "c-1", "10:00:00").to_string().as_bytes()[..50]);
    for log in [log.clone(), gzip(&log)] {
        let outcome = run(&mut reachability(&["replay", "-"]), &log);
        assert_eq!(outcome.code, Some(1));
        assert_eq!(outcome.stdout, result);
        let told: Vec<&str> = outcome.stderr.lines().collect();
        for (line, begins, reason) in [
            (0, "line 1: ", "malformed JSON"),
            (1, "line 6: ", "malformed JSON"),
            (2, "line 7: ", "missing field: service_sid"),
            (3, "line 15: ", "unknown type"),
            (4, "line 16: ", "malformed JSON"),
        ] {
            assert!(told[line].starts_with(begins) && told[line].contains(reason), "{told:?}");
        }
        assert!(told[5].contains("5 of 15 lines"), "{told:?}");
        assert_eq!(told.len(), 6, "{told:?}");
    }
}

#[test]
fn an_empty_log_has_an_empty_result() {
    for log in [&b""[..], b"\n\r\n", &gzip("")] {
        let outcome = run(&mut reachability(&["replay", "-"]), log);
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(0), "", ""));
    }
}

#[test]
fn a_log_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let cut = directory.path().join("cut.gz");
    let whole = gzip(lines(&recorded().0));
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let missing = directory.path().join("missing");
    for path in [missing.as_path(), directory.path(), &cut] {
        let path = path.to_str().unwrap();
        let outcome = run(&mut reachability(&["replay", path]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{path}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(path), "{path}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{path}: {}", outcome.stderr);
    }
}

#[test]
fn a_reader_may_have_read_enough() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    // More than a pipe holds.
    let events: Vec<Value> =
        (0..5_000).map(|number| event("connect", &format!("user-{number}"), "c-1", "10:00:00")).collect();
    fs::write(&file, lines(&events)).unwrap();
    let mut child = reachability(&["replay", file.to_str().unwrap()]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"user-0\""), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let mut command = reachability(&["replay", "-"]);
    command.stdout(File::create("/dev/full").unwrap());
    let outcome = run(&mut command, lines(&recorded().0).as_bytes());
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot write the result"), "{}", outcome.stderr);
}
