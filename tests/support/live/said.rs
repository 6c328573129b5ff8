//! What a process says.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::server::PATIENCE;

/// What a program has said.
#[derive(Debug, Default)]
pub struct Said {
    lines: Mutex<Vec<Value>>,
    more: Notify,
}

impl Said {
    /// From now on, everything that it writes to its standard output. What is not JSON is taken as a text.
    pub fn by(process: &mut Child) -> Arc<Self> {
        let said = Arc::new(Self::default());
        let (mut lines, hearing) = (BufReader::new(process.stdout.take().unwrap()).lines(), said.clone());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
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
        let found = timeout(PATIENCE, async {
            loop {
                let more = self.more.notified();
                if let Some(found) = self.read(&find) {
                    return found;
                }
                assert!(!self.has_ended(), "{what}, but the program has ended: {}", self.text());
                more.await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{what}, but in vain: {}", self.text()),
        }
    }

    fn has_ended(&self) -> bool {
        self.lines.lock().unwrap().last().is_some_and(|line| line["ended"] == true)
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().iter().map(|line| format!("\n{line}")).collect()
    }
}
