//! A reader of server-sent events.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::client::Client;
use crate::server::PATIENCE;

/// A server-sent event, with its fields as they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Its name; `None` for an ordinary one.
    pub event: Option<String>,
    /// Its position; `None` for a comment.
    pub id: Option<u64>,
    /// What it says.
    pub data: String,
    /// The comments before it ends.
    pub comment: Option<String>,
}

impl Sent {
    /// Its data as JSON, with its id as the log of changes has it.
    pub fn change(&self) -> Value {
        let mut change: Value = serde_json::from_str(&self.data).unwrap();
        change["id"] = Value::from(self.id.unwrap());
        change
    }
}

/// An open stream.
pub struct Stream {
    response: Response,
    read: String,
    /// How much of it was returned.
    used: usize,
}

impl Stream {
    /// Opens the stream of a service's changes, with more parameters, after an event.
    ///
    /// # Errors
    /// The status, if it is not open; 0 if there is no server.
    pub async fn open(client: &Client, service: &str, query: &str, last: Option<u64>) -> Result<Self, u16> {
        let path = format!("/v1/Services/{service}/Changes?{query}");
        // It is open for longer than an answer may take.
        let request = client.request(Method::GET, &path).timeout(Duration::from_secs(600));
        let request = request.header("accept", "text/event-stream");
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let Ok(response) = request.send().await else { return Err(0) };
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Ok(Self { response, read: String::new(), used: 0 })
    }

    /// The next event or comment; `None` if the stream has ended.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, _)) = self.read[self.used..].split_once("\n\n") {
                let sent = parse(block);
                self.used += block.len() + 2;
                return Some(sent);
            }
            self.read.drain(..std::mem::take(&mut self.used));
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("something is sent in time");
            let Ok(Some(chunk)) = chunk else { return None };
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next change; `None` if the stream has ended.
    pub async fn next_change(&mut self) -> Option<Value> {
        loop {
            let sent = self.next().await?;
            if sent.event.is_none() && sent.id.is_some() {
                return Some(sent.change());
            }
        }
    }

    /// So many changes.
    pub async fn changes(&mut self, count: usize) -> Vec<Value> {
        let mut changes = Vec::with_capacity(count);
        while changes.len() < count {
            changes.push(self.next_change().await.expect("the stream goes on"));
        }
        changes
    }
}

fn parse(block: &str) -> Sent {
    let mut sent = Sent::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap();
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "" => sent.comment = Some(value),
            "event" => sent.event = Some(value),
            "id" => sent.id = Some(value.parse().unwrap()),
            "data" => sent.data = value,
            "retry" => {}
            other => panic!("{other}"),
        }
    }
    sent
}
