//! A process with clients of a library.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::Said;
use crate::clients;

/// A library with live clients, and where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// `@twilio/conversations` 3.0.1.
    Conversations,
    /// `@twilio/conversations` 2.7.0.
    Conversations27,
    /// `@twilio/conversations` 2.2.0.
    Conversations22,
    /// The bundle for browsers of `@twilio/conversations` 3.0.1, in Chromium.
    Browser,
    /// `twilio-chat` 6.0.0.
    Chat,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Conversations, Self::Conversations27, Self::Conversations22, Self::Browser, Self::Chat];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Conversations => &["@twilio/conversations"],
            Self::Conversations27 => &["conversations-2.7"],
            Self::Conversations22 => &["conversations-2.2"],
            Self::Browser => &["@twilio/conversations", "browser"],
            Self::Chat => &["twilio-chat"],
        }
    }

    /// What it calls the list of the own conversations.
    pub fn own_conversations(self) -> &'static str {
        if self == Self::Chat { "getSubscribedChannels" } else { "getSubscribedConversations" }
    }
}

/// A process with clients of one library. It is killed when dropped.
pub struct Program {
    library: Library,
    process: Child,
    input: Mutex<ChildStdin>,
    said: Arc<Said>,
    next_id: AtomicU64,
    /// The process with the clients, or the group of a browser's processes.
    target: String,
}

impl Program {
    /// The one that all tests share who have nothing against it. It ends with the tests.
    pub async fn shared(library: Library) -> &'static Self {
        static SHARED: [OnceCell<Program>; Library::ALL.len()] = [const { OnceCell::const_new() }; Library::ALL.len()];
        SHARED[library as usize].get_or_init(async || Self::start(library).await).await
    }

    /// Starts another one.
    pub async fn start(library: Library) -> Self {
        let mut command = clients::node("live/main.mjs");
        for name in clients::DETOURS {
            command.env_remove(name);
        }
        command
            .args(library.arguments())
            .env("REACHABILITY_CHROMIUM", clients::home().join("bin/chromium"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("the clients can be run: run tests/clients/setup");
        let said = Said::by(process.stdout.take().unwrap());
        let input = Mutex::new(process.stdin.take().unwrap());
        let mut program =
            Self { library, process, input, said: said.clone(), next_id: AtomicU64::new(0), target: String::new() };
        let pid = said.find("it starts", |lines| lines.first().map(|line| line["pid"].as_i64().unwrap())).await;
        program.target = if library == Library::Browser { format!("-{pid}") } else { pid.to_string() };
        program
    }

    /// The library.
    pub fn library(&self) -> Library {
        self.library
    }

    /// A number that it has not used.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until something can be found in what it has said of a client.
    pub(super) async fn find<T>(&self, client: &str, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        self.said.find_of(Some(client), &format!("{:?}: {client} {what}", self.library), find).await
    }

    /// Reads what it has said.
    pub(super) fn read<T>(&self, read: impl Fn(&[Value]) -> T) -> T {
        self.said.read(read)
    }

    /// The last that it has said of a client.
    pub(super) fn text(&self, client: &str) -> String {
        self.said.text(Some(client))
    }

    /// Sends the process with the clients a signal: `KILL`, `STOP`, or `CONT`.
    pub fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", signal, "--", &self.target]).status().unwrap();
        assert!(status.success(), "{:?} is there", self.library);
    }

    /// Calls a static method of the library's client.
    ///
    /// # Errors
    /// What it throws.
    pub async fn static_call(&self, method: &str, arguments: Value) -> Result<Value, Value> {
        self.run(json!({ "act": "static", "method": method, "args": arguments })).await
    }

    /// The types of messages that the library asks for when it connects.
    pub async fn init_registrations(&self) -> Value {
        self.run(json!({ "act": "registrations" })).await.unwrap()
    }

    /// Has it forget a client, if it is still there.
    pub(super) fn forget(&self, client: &str) {
        if let Ok(mut input) = self.input.lock() {
            let _ = writeln!(input, "{}", json!({ "act": "forget", "client": client }));
        }
    }

    /// Has it carry out a command.
    ///
    /// # Errors
    /// What the library says about it.
    pub async fn run(&self, mut command: Value) -> Result<Value, Value> {
        let id = self.next_id();
        command["id"] = id.into();
        let what = command.to_string();
        writeln!(self.input.lock().unwrap(), "{what}").unwrap();
        let reply = |lines: &[Value]| {
            let reply = lines.iter().find(|line| line["reply"] == id)?;
            Some(if reply["error"].is_null() { Ok(reply["ok"].clone()) } else { Err(reply["error"].clone()) })
        };
        self.said.find(&format!("{:?}: {what}", self.library), reply).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
