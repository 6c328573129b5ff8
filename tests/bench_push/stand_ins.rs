//! The stand-ins for Apple and Google, in a process of their own: this program, started again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use reachability_infra::clock;
use reachability_tests::providers::{Apple, Ca, Google};
use serde_json::{Value, json};

/// The argument that makes this program run as the stand-ins.
pub(crate) const ARGUMENT: &str = "stand-ins";

/// Prints where the stand-ins are; then, for every line of input, how many connections they have accepted.
pub(crate) async fn run() {
    let ca = Arc::new(Ca::new());
    let apple = Apple::start_with(ca.clone(), clock::now).await;
    let google = Google::start_with(ca.clone(), clock::now).await;
    apple.keep_no_requests();
    google.keep_no_requests();
    let about = json!({
        "roots": ca.pem(),
        "apns": apple.url(),
        "apns_key": apple.key().expose(),
        "fcm": google.url(),
        "fcm_token": google.token_url(),
        "fcm_key": Google::key().expose(),
    });
    println!("{about}");
    let lines = || std::io::stdin().lines().next();
    while tokio::task::block_in_place(lines).is_some() {
        println!("{}", json!({ "apns": apple.connections(), "fcm": google.connections() }));
    }
}

/// The stand-ins, in a process of their own. They end with their standard input.
pub(crate) struct StandIns {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    about: Value,
}

impl StandIns {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut stand_ins = Self { child, input, output, about: Value::Null };
        stand_ins.about = stand_ins.read();
        stand_ins
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn connections(&mut self, of: &str) -> u64 {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
        self.read()[of].as_u64().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn about(&self, what: &str) -> &str {
        self.about[what].as_str().unwrap()
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}
