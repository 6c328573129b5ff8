//! What a process says.

use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::server::PATIENCE;

/// How many lines are shown if something is missing.
const LAST: usize = 200;

/// What a program has said.
#[derive(Debug, Default)]
pub struct Said {
    lines: Mutex<Vec<Value>>,
    more: Notify,
}

impl Said {
    /// From now on, everything that comes out of a process. What is not JSON is taken as a text.
    pub fn by(output: ChildStdout) -> Arc<Self> {
        let said = Arc::new(Self::default());
        let hearing = said.clone();
        // It may go on for longer than the test that began it.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                hearing.hear(serde_json::from_str(&line).unwrap_or_else(|_| line.into()));
            }
            hearing.hear(json!({ "ended": true }));
        });
        said
    }

    fn hear(&self, line: Value) {
        self.lines.lock().unwrap().push(line);
        self.more.notify_waiters();
    }

    /// Reads it.
    pub fn read<T>(&self, read: impl Fn(&[Value]) -> T) -> T {
        read(&self.lines.lock().unwrap())
    }

    /// Waits until something can be found in it.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        self.find_of(None, what, find).await
    }

    /// The same. Shows only what this client has said if it is not found.
    pub async fn find_of<T>(&self, client: Option<&str>, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        let found = timeout(PATIENCE, async {
            loop {
                let more = self.more.notified();
                if let Some(found) = self.read(&find) {
                    return found;
                }
                assert!(!self.has_ended(), "{what}, but the program has ended: {}", self.text(client));
                more.await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{what}, but in vain: {}", self.text(client)),
        }
    }

    fn has_ended(&self) -> bool {
        self.lines.lock().unwrap().last().is_some_and(|line| line["ended"] == true)
    }

    /// The last of it, of all clients or of one.
    pub fn text(&self, client: Option<&str>) -> String {
        let is_shown = |line: &&Value| client.is_none() || line["client"].as_str() == client;
        let text = |lines: &[Value]| {
            let shown: Vec<&Value> = lines.iter().filter(is_shown).collect();
            shown[shown.len().saturating_sub(LAST)..].iter().map(|line| format!("\n{line}")).collect()
        };
        self.read(text)
    }
}
