//! SQS in simulated time: standard queues as AWS describes them, behind its protocol, for its real clients. MiniStack knows
//! neither another clock nor dead letters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reachability_domain::time::{Clock, Timestamp};
use reachability_lambda::sqs::{Batch, BatchResponse};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// For how long a queue keeps a message: as long as SQS can.
const RETENTION: Duration = Duration::from_secs(14 * 86_400);

/// When a queue gives a message up.
#[derive(Debug, Clone, Copy)]
pub struct Redrive {
    /// The queue to which it moves the message then.
    pub to: &'static str,
    /// How often it delivers the message before.
    pub max_receives: u32,
}

/// A message that a dead-letter queue has.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its body.
    pub body: String,
    /// The attribute `reason`; `None` if the queue moved it itself.
    pub reason: Option<String>,
}

/// Queues on loopback. They end when dropped.
#[derive(Debug)]
pub struct SimulatedSqs {
    url: String,
    queues: Shared,
    clock: Clock,
    server: JoinHandle<()>,
}

type Shared = Arc<Mutex<Queues>>;

#[derive(Debug, Default)]
struct Queues {
    queues: BTreeMap<String, Queue>,
    messages: u64,
    refuses_put_offs: bool,
}

#[derive(Debug)]
struct Queue {
    visibility: Duration,
    redrive: Option<Redrive>,
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Message {
    id: u64,
    body: String,
    reason: Option<String>,
    sent_at: Timestamp,
    visible_at: Timestamp,
    receives: u32,
}

impl Message {
    fn receipt(&self) -> String {
        format!("{}/{}", self.id, self.receives)
    }
}

impl SimulatedSqs {
    /// Without queues. `clock` is the time in which they live.
    pub async fn start(clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let queues = Shared::default();
        let server = tokio::spawn(serve(listener, queues.clone(), clock));
        Self { url, queues, clock, server }
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Makes a queue, and returns its URL.
    pub fn make(&self, name: &str, visibility: Duration, redrive: Option<Redrive>) -> String {
        let queue = Queue { visibility, redrive, messages: vec![] };
        self.queues().queues.insert(name.to_owned(), queue);
        format!("{}/000000000000/{name}", self.url)
    }

    /// From now on, no request changes when a message is visible again.
    pub fn refuse_put_offs(&self) {
        self.queues().refuses_put_offs = true;
    }

    /// Receives messages, at most so many, as Lambda passes them to a function. They come in any order.
    pub fn receive(&self, name: &str, at_most: usize) -> Batch {
        let now = (self.clock)();
        let mut queues = self.queues();
        let queue = queues.queues.get_mut(name).unwrap();
        queue.messages.retain(|message| now < message.sent_at.plus(RETENTION));
        let visible = |message: &&mut Message| message.visible_at <= now;
        let mut given_up = vec![];
        if let Some(redrive) = queue.redrive {
            let is_last = |message: &mut Message| message.visible_at <= now && message.receives >= redrive.max_receives;
            given_up = queue.messages.extract_if(.., is_last).collect();
        }
        let mut due: Vec<&mut Message> = queue.messages.iter_mut().filter(visible).collect();
        // Scrambled, and differently each time.
        due.sort_by_key(|message| (message.id + u64::from(message.receives)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let record = |message: &mut Message| {
            message.receives += 1;
            message.visible_at = now.plus(queue.visibility);
            let attributes = json!({
                "ApproximateReceiveCount": message.receives.to_string(),
                "SentTimestamp": message.sent_at.as_millis().to_string(),
            });
            json!({
                "messageId": message.id.to_string(), "receiptHandle": message.receipt(), "body": message.body,
                "attributes": attributes,
            })
        };
        let records: Vec<Value> = due.into_iter().take(at_most).map(record).collect();
        if let Some(redrive) = queue.redrive {
            queues.queues.get_mut(redrive.to).unwrap().messages.append(&mut given_up);
        }
        serde_json::from_value(json!({ "Records": records })).unwrap()
    }

    /// Deletes the messages of a batch that a function has handled, as Lambda does.
    pub fn delete(&self, name: &str, batch: &[String], answer: &BatchResponse) {
        let failed = |id: &String| answer.batch_item_failures.iter().any(|failure| failure.item_identifier == *id);
        let is_handled = |message: &Message| {
            let id = message.id.to_string();
            batch.contains(&id) && !failed(&id)
        };
        self.queues().queues.get_mut(name).unwrap().messages.retain(|message| !is_handled(message));
    }

    /// When the oldest message of a queue was sent, of those that are not delayed since then; `None` if there is none.
    pub fn oldest(&self, name: &str) -> Option<Timestamp> {
        let now = (self.clock)();
        let queues = self.queues();
        let messages = queues.queues[name].messages.iter();
        messages.filter(|message| message.receives > 0 || message.visible_at <= now).map(|it| it.sent_at).min()
    }

    /// What a dead-letter queue has.
    pub fn dead_letters(&self, name: &str) -> Vec<DeadLetter> {
        let dead = |message: &Message| DeadLetter { body: message.body.clone(), reason: message.reason.clone() };
        self.queues().queues[name].messages.iter().map(dead).collect()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap()
    }
}

impl Drop for SimulatedSqs {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, queues: Shared, clock: Clock) {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let queues = queues.clone();
        let service = service_fn(move |request| answer(request, queues.clone(), clock));
        // It ends when the client closes the connection.
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

/// Answers a request in the JSON protocol of SQS.
async fn answer(request: Request<Incoming>, queues: Shared, clock: Clock) -> hyper::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let request: Value = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap();
    let (operation, now) = (head.headers["x-amz-target"].to_str().unwrap(), clock());
    let answer = queues.lock().unwrap().answer(operation, &request, now);
    let (status, answer) = answer.map_or_else(|error| (StatusCode::BAD_REQUEST, error), |done| (StatusCode::OK, done));
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    Ok(response.body(Full::from(answer.to_string())).unwrap())
}

impl Queues {
    fn answer(&mut self, operation: &str, request: &Value, now: Timestamp) -> Result<Value, Value> {
        let name = request["QueueUrl"].as_str().unwrap().rsplit('/').next().unwrap();
        let entries = || request["Entries"].as_array().unwrap().iter();
        match operation {
            "AmazonSQS.SendMessage" => Ok(self.send(name, request, now)),
            "AmazonSQS.SendMessageBatch" => {
                let sent: Vec<Value> = entries().map(|entry| self.send(name, entry, now)).collect();
                Ok(json!({ "Successful": sent, "Failed": [] }))
            }
            "AmazonSQS.ChangeMessageVisibilityBatch" => {
                let (done, failed): (Vec<_>, Vec<_>) = entries().partition(|entry| self.put_off(name, entry, now));
                let done: Vec<Value> = done.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
                let refused = |entry: &&Value| json!({ "Id": entry["Id"], "SenderFault": false, "Code": "Refused" });
                Ok(json!({ "Successful": done, "Failed": failed.iter().map(refused).collect::<Vec<_>>() }))
            }
            _ => Err(json!({ "__type": "InvalidAction", "message": format!("not simulated: {operation}") })),
        }
    }

    fn send(&mut self, name: &str, entry: &Value, now: Timestamp) -> Value {
        self.messages += 1;
        let delay = Duration::from_secs(entry["DelaySeconds"].as_u64().unwrap_or_default());
        let message = Message {
            id: self.messages,
            body: entry["MessageBody"].as_str().unwrap().to_owned(),
            reason: entry["MessageAttributes"]["reason"]["StringValue"].as_str().map(str::to_owned),
            sent_at: now,
            visible_at: now.plus(delay),
            receives: 0,
        };
        let answer = json!({ "Id": entry["Id"], "MessageId": message.id.to_string(), "MD5OfMessageBody": "" });
        self.queues.get_mut(name).unwrap().messages.push(message);
        answer
    }

    /// Returns whether that was done.
    fn put_off(&mut self, name: &str, entry: &Value, now: Timestamp) -> bool {
        let messages = &mut self.queues.get_mut(name).unwrap().messages;
        let in_flight = messages.iter_mut().find(|it| it.visible_at > now && entry["ReceiptHandle"] == it.receipt());
        let Some(message) = in_flight.filter(|_| !self.refuses_put_offs) else { return false };
        message.visible_at = now.plus(Duration::from_secs(entry["VisibilityTimeout"].as_u64().unwrap()));
        true
    }
}
