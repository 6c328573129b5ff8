//! The README's commands for newcomers. The test extracts them, pastes each twice, and compares the answers with those
//! in the README.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use reachability_domain::presence::change::Notice;
use reachability_domain::presence::change_reason::ChangeReason;
use reachability_domain::push::reason::Reason;
use reachability_infra::clock;
use reachability_test_keys as keys;
use reachability_tests::clients;
use reachability_tests::providers::{Apple, Ca};
use reachability_tests::server::{PATIENCE, Server, binary};
use serde_json::Value;

/// The sections whose commands are pasted, in their order.
const PASTED: [&str; 8] =
    ["Start", "With a Twilio library", "Events", "Push", "Access tokens", "Changes", "Webhooks", "The command"];

/// The sections whose blocks are not pasted, and why.
const NOT_PASTED: [(&str, &str); 12] = [
    ("With a Twilio client", "lines of an application; tests/server/live runs the examples that have them"),
    ("On AWS", "takes an account at AWS; tests/aws/serverless.rs pastes it with what stands in for it"),
    ("Audit", "a line of the log; tests/server/audit.rs compares its members"),
    ("Stream", "its request stays open; tests/server/stream.rs"),
    ("Messages", "samples, which another test reads"),
    (
        "Checking the signature",
        "a few lines of an application; tests/server/webhooks.rs checks signatures by the same library",
    ),
    ("Locally, with SAM", "takes Docker and a deployment; tests/aws/serverless.rs"),
    ("Replaying events", "takes a queue of AWS; tests/aws/serverless.rs"),
    ("Removing it", "takes a stack; tests/aws/serverless.rs pastes it"),
    ("What it costs", "a calculation"),
    ("How it is built", "the directories of the sources"),
    ("Tests", "`tests/run` runs this test, and `cargo bench` takes long"),
];

/// Text in a pasted section that looks like a command, but is not one.
const NO_COMMANDS: [&str; 1] = ["POST /v1/Services/{IS…}/Events"];

/// The address in the README. The test uses a free port, since this one may be taken.
const ADDRESS: &str = "127.0.0.1:8080";

/// A block of code, fenced or indented.
#[derive(Debug)]
struct Block {
    line: usize,
    section: String,
    /// The language after the fence, or `indented`.
    language: String,
    text: String,
}

/// Something to paste, and the answers that are shown below it.
#[derive(Debug)]
struct Step {
    line: usize,
    section: String,
    text: String,
    shown: String,
}

/// All blocks of the README.
fn blocks(readme: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let mut section = String::new();
    let mut fence: Option<Block> = None;
    let mut previous = "";
    for (index, line) in readme.lines().enumerate() {
        let block = |language: &str, section: &str, text: String| Block {
            line: index + 1,
            section: section.to_owned(),
            language: language.to_owned(),
            text,
        };
        let indented = line.strip_prefix("    ");
        // A block in a list is indented like the list.
        if let Some(language) = line.strip_prefix("  ").unwrap_or(line).strip_prefix("```") {
            match fence.take() {
                Some(block) => blocks.push(block),
                None => fence = Some(block(language, &section, String::new())),
            }
        } else if let Some(block) = &mut fence {
            block.text += &format!("{line}\n");
        } else if let (Some(text), Some(block)) =
            (indented, blocks.last_mut().filter(|block| previous.starts_with("    ") && block.language == "indented"))
        {
            block.text += &format!("{text}\n");
        } else if let Some(text) = indented.filter(|_| previous.is_empty()) {
            blocks.push(block("indented", &section, format!("{text}\n")));
        } else {
            if line.starts_with('#') {
                section = line.trim_start_matches('#').trim().to_owned();
            }
        }
        previous = line;
    }
    assert!(fence.is_none(), "the last fence is open");
    blocks
}

/// The steps to paste. Every block is a step, the answer to one, or known not to be pasted.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    for Block { line, section, language, text } in blocks(readme) {
        if NOT_PASTED.iter().any(|(name, _)| *name == section) {
            continue;
        }
        assert!(
            PASTED.contains(&section.as_str()),
            "line {line}: a block in the section {section:?}, which is not known"
        );
        match language.as_str() {
            "indented" if NO_COMMANDS.contains(&text.trim_end()) => {}
            "indented" | "sh" => steps.push(Step { line, section, text, shown: String::new() }),
            "json" | "text" => {
                let step = steps.last_mut().filter(|step| step.section == section && step.shown.is_empty());
                step.unwrap_or_else(|| panic!("line {line}: an answer to nothing")).shown = text;
            }
            _ => panic!("line {line}: a block of {language:?}, which is not known"),
        }
    }
    for section in PASTED {
        assert!(steps.iter().any(|step| step.section == section), "nothing is pasted of {section:?}");
    }
    steps
}

/// Whether a text is like the one in the README. Sids and digits may differ, and a final `…` stands for any text.
fn is_like(shown: &str, found: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let shape = |text: &str| {
        let mut shape = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let hex = rest.find(|c| !is_hex(c)).unwrap_or(rest.len());
            let length = if hex == 32 { hex } else { first.len_utf8() };
            shape.push(if hex == 32 {
                '#'
            } else if first.is_ascii_digit() {
                '0'
            } else {
                first
            });
            rest = &rest[length..];
        }
        shape
    };
    match shown.strip_suffix('…') {
        Some(beginning) => shape(found).starts_with(&shape(beginning)),
        None => shape(found) == shape(shown),
    }
}

/// Whether a number is a time in milliseconds: a position in the log of changes, or a revision.
fn is_time(number: &Value) -> bool {
    number.as_u64().is_some_and(|number| number.to_string().len() == 13)
}

/// Whether a value has at least the members in the README.
fn has(found: &Value, shown: &Value) -> bool {
    match (found, shown) {
        (Value::Object(found), Value::Object(shown)) => {
            shown.iter().all(|(name, shown)| found.get(name).is_some_and(|found| has(found, shown)))
        }
        (Value::Array(found), Value::Array(shown)) => {
            found.len() == shown.len() && found.iter().zip(shown).all(|(found, shown)| has(found, shown))
        }
        (Value::String(found), Value::String(shown)) => is_like(shown, found),
        _ => found == shown || is_time(found) && is_time(shown),
    }
}

/// Whether a line of an answer is as in the README.
fn is_as_shown(found: &str, shown: &str) -> bool {
    if !shown.starts_with('{') {
        return is_like(shown, found);
    }
    let shown = shown.replace(", …", "").replace(",…", "");
    let shown: Value = serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error} in {shown}"));
    serde_json::from_str(found).is_ok_and(|found: Value| has(&found, &shown))
}

/// The newcomer's directory, with the files from Apple and Google. These commands come first in the path:
/// * `cargo`: its `run` runs the binary that is built already,
/// * `python3` and `npm`: they link what is installed already, instead of a new environment and a download,
/// * `curl`: it records its arguments and calls the real one.
struct Place {
    directory: tempfile::TempDir,
    path: String,
    apple: Apple,
}

impl Place {
    async fn new() -> Self {
        let ca = Arc::new(Ca::new());
        let apple = Apple::start_with(ca.clone(), clock::now).await;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("AuthKey_ABC123DEFG.p8"), apple.key().expose()).unwrap();
        fs::write(at("service-account.json"), keys::service_account(&keys::rsa())).unwrap();
        ca.write(&at("ca.pem"));

        let commands = at("commands");
        fs::create_dir(&commands).unwrap();
        let command = |name: &str, script: String| {
            let path = commands.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let installed = clients::home();
        let installed = installed.display();
        command(
            "cargo",
            format!(
                "[ \"$1\" = run ] || exit 101; shift; [ \"$1\" = -- ] && shift; exec '{}' \"$@\"",
                binary().display()
            ),
        );
        command("python3", format!("[ \"$*\" = '-m venv .venv' ] && ln -sfn '{installed}/python' .venv"));
        command(
            "npm",
            format!("[ \"$*\" = 'install --no-save twilio' ] && ln -sfn '{installed}/node_modules' node_modules"),
        );
        command("curl", "printf '%s\\n' \"$@\" >> curl.log; PATH=${PATH#*:}; exec curl \"$@\"".to_owned());
        let path = format!("{}:{}", commands.display(), std::env::var("PATH").unwrap());
        Self { directory, path, apple }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A bash in this directory.
    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        for name in clients::DETOURS {
            command.env_remove(name);
        }
        command
            .args(["-c", script])
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The first terminal: the server, on a free port, with the stand-in for Apple.
    fn start(&self, command_line: &str) -> Server {
        Server::start_with(&self.at("data"), &[], |command| {
            *command = self.bash(&format!("exec {command_line}"));
            command
                .env("REACHABILITY_LISTEN", "127.0.0.1:0")
                .env("SSL_CERT_FILE", self.at("ca.pem"))
                .env_remove("SSL_CERT_DIR")
                .env("REACHABILITY_APNS_URL", self.apple.url())
                .env("REACHABILITY_FCM_URL", "https://127.0.0.1:9")
                .env("REACHABILITY_FCM_TOKEN_URL", "https://127.0.0.1:9");
        })
    }
}

/// The second terminal.
struct Terminal {
    bash: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Terminal {
    /// The mark of a command that failed.
    const FAILED: &str = "FAILED:";
    /// The mark of the prompt.
    const PROMPT: &str = "PROMPT";

    fn open(place: &Place) -> Self {
        // Pasted text arrives on standard input, as in a terminal, where commands could read it too.
        let mut command = place.bash("exec 2>&1; exec bash --noprofile --norc");
        // `pip` runs, finds the packages installed, and needs no index.
        command.env("PIP_NO_INDEX", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        let mut bash = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(bash.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|length| length > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        let input = bash.stdin.take().unwrap();
        let mut terminal = Self { bash, input, output };
        // An unset variable is an error, and every command that fails is reported.
        terminal.paste(&format!("set -uE; trap 'echo \"{} $BASH_COMMAND\" >&2' ERR", Self::FAILED));
        terminal
    }

    /// Pastes text. Returns the lines of output until the next prompt.
    fn paste(&mut self, text: &str) -> Vec<String> {
        write!(self.input, "{}\necho {}\n", text.trim_end(), Self::PROMPT).unwrap();
        let started = Instant::now();
        let mut lines = vec![];
        loop {
            match self.output.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
                Ok(line) => match line.trim_end().strip_suffix(Self::PROMPT) {
                    Some("") => break,
                    Some(end) => panic!("no line end after {end}: {text}"),
                    None => lines.push(line.trim_end().to_owned()),
                },
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {text}{lines:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the shell has ended: {text}{lines:#?}"),
            }
        }
        let fails = lines.iter().any(|line| line.contains(Self::FAILED));
        assert!(!fails, "a command failed: {text}{lines:#?}");
        lines
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}

/// Whether a step only reads, so that it may be repeated until the answer is right.
fn only_reads(text: &str) -> bool {
    text.lines().all(|line| line.starts_with("api ") && !line.contains(" -d") && !line.contains(" --data"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_readme_works_twice() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let steps = steps(&readme);
    let (first, steps) = steps.split_first().unwrap();
    assert_eq!(first.text.trim_end(), "cargo run");

    let place = Place::new().await;
    let mut terminal = Terminal::open(&place);
    for round in 1..=2 {
        let server = place.start(&first.text);
        let address = server.url.strip_prefix("http://").unwrap();
        let home = place.directory.path().canonicalize().unwrap();
        let greeting = first.shown.replace(ADDRESS, address).replace("7603d509…", &server.token);
        let greeting = greeting.replace("/home/you/reachability", home.to_str().unwrap());
        // Later starts print only the first lines, since the account is known.
        let shown = greeting.lines().take(if round == 1 { usize::MAX } else { 5 });
        let shown: Vec<&str> = shown.collect();
        let found: Vec<&str> = server.greeting.trim_end().lines().collect();
        assert!(
            found.len() == shown.len() && found.iter().zip(&shown).all(|(found, shown)| is_like(shown, found)),
            "line {}, round {round}: {found:#?} is not like {shown:#?}",
            first.line
        );

        for step in steps {
            let text = step.text.replace(ADDRESS, address);
            let shown = step.shown.replace(ADDRESS, address);
            let shown: Vec<&str> = shown.lines().collect();
            let started = Instant::now();
            loop {
                let found = terminal.paste(&text);
                assert!(!found.iter().any(|line| line.contains(&server.token)), "{text} shows the token");
                let is_so = found.len() == shown.len()
                    && found.iter().zip(&shown).all(|(found, shown)| is_as_shown(found, shown));
                if is_so || shown.is_empty() {
                    break;
                }
                assert!(
                    only_reads(&text) && started.elapsed() < PATIENCE,
                    "line {}, round {round}: {text}{found:#?} is not like {shown:#?}",
                    step.line
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let calls = fs::read_to_string(place.at("curl.log")).unwrap();
        assert!(calls.contains("/Users/alice") && !calls.contains(&server.token), "`ps` shows the token");
        let (status, logs) = server.stop();
        assert!(status.success(), "{status}: {logs}");
    }
}

/// The samples are as the domain writes them.
#[test]
fn the_messages_of_the_readme_are_notices() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let samples = blocks(&readme).into_iter().filter(|block| block.section == "Messages" && block.language == "json");
    let samples: Vec<String> =
        samples.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let kinds = samples.iter().map(|sample| {
        let notice: Notice = serde_json::from_str(sample).unwrap_or_else(|error| panic!("{error}: {sample}"));
        assert_eq!(&notice.to_json(), sample);
        notice.kind()
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["user", "profile", "service"]);
}

/// Nobody is told a reason that the README does not explain.
#[test]
fn the_readme_explains_every_reason_of_a_change() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let table = readme.lines().skip_while(|line| !line.starts_with("| reason | of |")).skip(2);
    let words: Vec<&str> = table
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap_or_else(|| panic!("no word: {line}")))
        .collect();
    let reasons = [
        ChangeReason::Connect,
        ChangeReason::ClientClosed,
        ChangeReason::ConnectionLost,
        ChangeReason::ServerClosed,
        ChangeReason::LeaseEnded,
        ChangeReason::Registered,
        ChangeReason::Unregistered,
        ChangeReason::Expired,
        ChangeReason::Confirmed,
        ChangeReason::Provider(Reason::new("Unregistered")),
        ChangeReason::Switched,
        ChangeReason::Profile,
        ChangeReason::OwnProfile,
        ChangeReason::Status,
        ChangeReason::Deleted,
    ];
    assert_eq!(words, reasons.map(|reason| reason.to_string()));
}
