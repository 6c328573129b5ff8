//! The examples, as their readers run them, but for the installation of the clients.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use reachability_tests::clients;
use reachability_tests::live::{Library, Live, Place, Program, Said};
use reachability_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with a copy of the `examples`, and the clients that they need.
fn examples() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (source, copy) = (tests.join("../examples"), directory.path().join("examples"));
    assert!(Command::new("cp").arg("-r").arg(&source).arg(&copy).status().unwrap().success());
    for (installed, name) in
        [(clients::home().join("node_modules"), "examples/node_modules"), (tests.join("../clients"), "clients")]
    {
        std::os::unix::fs::symlink(installed.canonicalize().unwrap(), directory.path().join(name)).unwrap();
    }
    let pins = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let ours = pins(&tests.join("clients/package.json"));
    for (name, version) in pins(&source.join("package.json"))["dependencies"].as_object().unwrap() {
        assert_eq!(ours["dependencies"][name], *version, "{name} is tested as it is pinned");
    }
    directory
}

/// A program of a reader. It is killed when dropped.
struct Running {
    process: Child,
    input: ChildStdin,
    said: Arc<Said>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input, said: Said::by(output) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser, which is told which windows to open.
fn browser() -> Running {
    let mut command = clients::node("live/windows.mjs");
    command.env("REACHABILITY_CHROMIUM", clients::home().join("bin/chromium"));
    Running::start(command)
}

fn address(place: &Place) -> String {
    format!("{}/v3/wsconnect", place.url.replacen("http", "ws", 1))
}

#[tokio::test]
async fn what_is_told_of_a_user() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let place = Place::new(&server).await;
    let program = Program::shared(Library::Conversations).await;
    let examples = examples();
    place.post("Users", "Identity=bob").await;
    let mut watching = vec![];
    for script in ["conversations", "chat"] {
        let token = place.token(program, &format!("watcher-{script}")).await;
        let mut command = Command::new(clients::home().join("bin/node"));
        command
            .arg(examples.path().join(format!("examples/updated/{script}.mjs")))
            .arg(token)
            .arg("bob")
            .arg(address(&place));
        watching.push((script, Running::start(command)));
    }
    let all_say = async |what: &str| {
        for (script, Running { said, .. }) in &watching {
            let is_said = |lines: &[Value]| lines.last().is_some_and(|line| line == what).then_some(());
            said.find(&format!("{script} says {what}"), is_said).await;
        }
    };
    all_say("bob: online null, notifiable null").await;
    let bob = Live::start(program, &place, "bob").await;
    all_say("bob: online true").await;
    bob.call("setPushRegistrationId", json!(["fcm", "token-of-bob"])).await.unwrap();
    all_say("bob: notifiable true").await;
    bob.call("shutdown", json!([])).await.unwrap();
    all_say("bob: online false").await;
    place.post("Users/bob", "FriendlyName=Bobby").await;
    all_say("bob: friendlyName \"Bobby\"").await;
    for (script, Running { said, .. }) in &watching {
        assert_eq!(said.read(<[Value]>::len), 5, "{script}: {}", said.text(None));
    }
}

#[tokio::test]
async fn two_windows_show_a_roster() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    let place = Place::new(&server).await;
    let program = Program::shared(Library::Conversations).await;
    let examples = examples();
    let mut browser = browser();
    let said = browser.said.clone();
    let mut tell = |command: Value| writeln!(browser.input, "{command}").unwrap();
    let url = async |identity: &str| {
        let token = place.token(program, identity).await;
        let page = examples.path().join("examples/roster/index.html");
        format!("file://{}#server={}&users=alice,bob&token={token}", page.display(), address(&place))
    };
    let shows = async |window: &str, field: &str, expected: Value| {
        let is_shown = |lines: &[Value]| {
            let last = lines.iter().rev().find(|line| line["window"] == window)?;
            assert!(last["fault"].is_null(), "{last}");
            (last[field] == expected).then_some(())
        };
        said.find(&format!("{window} shows {expected}"), is_shown).await;
    };
    let alice = json!(["alice", "yes", "unknown"]);

    tell(json!({ "open": "alice", "url": url("alice").await }));
    shows("alice", "roster", json!([alice, ["bob", "", ""]])).await;
    shows("alice", "me", json!("alice")).await;
    tell(json!({ "open": "bob", "url": url("bob").await }));
    for window in ["alice", "bob"] {
        shows(window, "roster", json!([alice, ["bob", "yes", "unknown"]])).await;
    }
    place.client.post(&place.path("Bindings"), "Identity=bob&BindingType=fcm&Address=one").await;
    for window in ["alice", "bob"] {
        shows(window, "roster", json!([alice, ["bob", "yes", "yes"]])).await;
    }
    let log = |lines: &[&str]| json!(lines.iter().rev().collect::<Vec<_>>());
    shows("alice", "log", log(&["bob: reachabilityNotifiable"])).await;
    // A window that is closed says no goodbye.
    tell(json!({ "close": "bob" }));
    shows("alice", "roster", json!([alice, ["bob", "no", "yes"]])).await;
    shows("alice", "log", log(&["bob: reachabilityNotifiable", "bob: reachabilityOnline"])).await;
}

/// Both clients' rosters side by side.
#[tokio::test]
async fn two_windows_show_who_is_present() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--grace-seconds", "1"]);
    let place = Place::new(&server).await;
    let program = Program::shared(Library::Conversations).await;
    let examples = examples();
    let mut command = Command::new(clients::home().join("bin/node"));
    command.arg(examples.path().join("examples/presence/serve.mjs")).arg("0");
    let pages = Running::start(command);
    let page = pages.said.find("the pages are served", |lines| Some(lines.first()?.as_str()?.to_owned())).await;
    let mut browser = browser();
    let said = browser.said.clone();
    let mut tell = |command: Value| writeln!(browser.input, "{command}").unwrap();
    let url = async |identity: &str| {
        let token = place.token(program, identity).await;
        format!("{page}#server={}&me={identity}&users=alice,bob&token={token}", place.url)
    };
    // What our client knows of the users, but for the time of their last activity; the vendor's knows the first three.
    let shows = async |window: &str, expected: [[&str; 4]; 2]| {
        let columns = |rows: &Value, count: usize| {
            let rows = rows.as_array().unwrap().iter();
            rows.map(|row| row.as_array().unwrap().iter().take(count).cloned().collect()).collect::<Vec<Value>>()
        };
        let is_shown = |lines: &[Value]| {
            let last = lines.iter().rev().find(|line| line["window"] == window)?;
            assert!(last["fault"].is_null(), "{last}");
            let is_ours = columns(&last["ours"], 4) == expected.map(|row| json!(row));
            (is_ours && columns(&last["theirs"], 3) == expected.map(|row| json!(row[..3]))).then_some(())
        };
        said.find(&format!("{window} shows {expected:?}"), is_shown).await;
    };
    let alice = ["alice", "yes", "unknown", ""];

    place.post("Users", "Identity=bob").await;
    tell(json!({ "open": "alice", "url": url("alice").await }));
    shows("alice", [alice, ["bob", "unknown", "unknown", ""]]).await;
    tell(json!({ "open": "bob", "url": url("bob").await }));
    for window in ["alice", "bob"] {
        shows(window, [alice, ["bob", "yes", "unknown", ""]]).await;
    }
    tell(json!({ "set": "bob", "status": "At lunch", "invisible": false }));
    for window in ["alice", "bob"] {
        shows(window, [alice, ["bob", "yes", "unknown", "At lunch"]]).await;
    }
    tell(json!({ "set": "bob", "status": "Hiding", "invisible": true }));
    shows("alice", [alice, ["bob", "no", "unknown", "At lunch"]]).await;
    tell(json!({ "set": "bob", "status": "Back", "invisible": false }));
    for window in ["alice", "bob"] {
        shows(window, [alice, ["bob", "yes", "unknown", "Back"]]).await;
    }
    tell(json!({ "close": "bob" }));
    shows("alice", [alice, ["bob", "no", "unknown", "Back"]]).await;
}
