//! The feeds of the stores, as their consumers read them, and a subscriber who remembers everything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex as SyncMutex;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use reachability_domain::identity::Identity;
use reachability_domain::presence::change::Notice;
use reachability_domain::presence::feed::FeedEntry;
use reachability_domain::presence::ports::ChangeLog;
use reachability_domain::presence::sink::{Sink, SinkError};
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_infra::sqlite::SqliteFeed;
use reachability_lambda::stream;
use reachability_worker::Fanout;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// A store's feed, with one consumer.
#[async_trait]
pub trait Feed: Sync {
    /// Delivers what was not acknowledged yet, at most so much, and acknowledges what was delivered, unless the consumer is
    /// killed before that. Returns whether there was anything.
    async fn deliver(&self, fanout: &Fanout, at_most: usize, is_killed: bool, now: Timestamp) -> bool;

    /// The log of the changes of a service, or of one of its users; `None` if there is none.
    async fn log(&self, _: ServiceSid, _: Option<&Identity>) -> Option<Vec<Notice>> {
        None
    }
}

/// The feed of a store in SQLite, consumed as the server does: several deliveries are acknowledged together.
pub struct SqliteConsumer {
    feed: SqliteFeed,
    keeps_log: bool,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// The position that was last acknowledged.
    acknowledged: i64,
    /// The position that was last delivered since the consumer's start.
    position: Option<i64>,
    /// What was delivered after the acknowledged position.
    delivered: BTreeMap<i64, FeedEntry>,
}

/// How many rows are acknowledged together.
const ACKNOWLEDGED_TOGETHER: usize = 4;

impl SqliteConsumer {
    /// Of this feed, which keeps a log or does not.
    pub fn new(feed: SqliteFeed, keeps_log: bool) -> Self {
        Self { feed, keeps_log, place: Mutex::default() }
    }
}

#[async_trait]
impl Feed for SqliteConsumer {
    async fn deliver(&self, fanout: &Fanout, at_most: usize, is_killed: bool, now: Timestamp) -> bool {
        let place = &mut *self.place.lock().await;
        let mut rows = self.feed.undelivered(place.position, at_most).await.unwrap();
        let after = place.position.unwrap_or(place.acknowledged);
        assert!(rows.is_sorted_by(|one, next| one.id < next.id), "{rows:?}");
        assert!(rows.iter().all(|row| after < row.id), "after {after}: {rows:?}");
        for row in &rows {
            let first = place.delivered.entry(row.id).or_insert_with(|| row.entry.clone());
            assert_eq!(*first, row.entry, "what is delivered again is the same");
        }
        let is_there = !rows.is_empty();
        let entries: Vec<FeedEntry> = rows.iter().map(|row| row.entry.clone()).collect();
        let failed = fanout.handle(&entries).await;
        rows.truncate(failed.unwrap_or(rows.len()));
        if is_killed {
            place.position = None;
            return is_there;
        }
        place.position = rows.last().map(|last| last.id).or(place.position);
        if let Some(position) = place.position
            && (place.delivered.len() >= ACKNOWLEDGED_TOGETHER || !is_there)
        {
            let delivered = place.delivered.range(..=position).count();
            self.feed.acknowledge(position, delivered, now).await.unwrap();
            place.delivered.retain(|id, _| position < *id);
            place.acknowledged = position;
            // The acknowledged position is where the next consumer starts.
            place.position = None;
        }
        is_there
    }

    async fn log(&self, service: ServiceSid, identity: Option<&Identity>) -> Option<Vec<Notice>> {
        let (mut log, mut after) = (vec![], None);
        loop {
            let part = self.feed.changes(service, identity, after, 5).await.unwrap().unwrap();
            if !self.keeps_log {
                assert_eq!(part.changes, []);
                return None;
            }
            let ids: Vec<u64> = part.changes.iter().map(|change| change.id).collect();
            assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
            assert!(ids.iter().all(|id| after.is_none_or(|after| after < *id)), "after {after:?}: {ids:?}");
            log.extend(part.changes.into_iter().map(|change| change.notice));
            after = Some(part.cursor);
            if !part.more {
                return Some(log);
            }
        }
    }
}

/// The stream of a table in DynamoDB Local, consumed as Lambda does. Its API answers in the form in which Lambda hands
/// records to a function.
pub struct StreamConsumer {
    endpoint: String,
    http: reqwest::Client,
    position: Mutex<Position>,
}

#[derive(Debug)]
struct Position {
    /// Where to read on.
    iterator: String,
    /// What was read, and not acknowledged yet.
    unacknowledged: VecDeque<Value>,
}

impl StreamConsumer {
    /// Of this table, from its beginning.
    pub async fn new(endpoint: &str, client: &Client, table: &str) -> Self {
        let described = client.describe_table().table_name(table).send().await.unwrap().table.unwrap();
        let stream = described.latest_stream_arn.expect("the table has a stream");
        // Connections do not outlive the runtime in which they are made.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let position = Mutex::new(Position { iterator: String::new(), unacknowledged: VecDeque::new() });
        let this = Self { endpoint: endpoint.to_owned(), http, position };
        let description = this.ask("DescribeStream", json!({ "StreamArn": stream })).await;
        let shards = description["StreamDescription"]["Shards"].as_array().unwrap();
        let [shard] = shards.as_slice() else { panic!("not one shard: {shards:?}") };
        let from = json!({
            "StreamArn": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON",
        });
        let found = this.ask("GetShardIterator", from).await;
        this.position.lock().await.iterator = found["ShardIterator"].as_str().unwrap().to_owned();
        this
    }

    async fn ask(&self, operation: &str, request: Value) -> Value {
        let credential = "Credential=test/20200101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=test";
        let sent = self
            .http
            .post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDBStreams_20120810.{operation}"))
            .header("authorization", format!("AWS4-HMAC-SHA256 {credential}"))
            .body(request.to_string());
        let answer = sent.send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{operation}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[async_trait]
impl Feed for StreamConsumer {
    async fn deliver(&self, fanout: &Fanout, at_most: usize, is_killed: bool, _: Timestamp) -> bool {
        let mut position = self.position.lock().await;
        if position.unacknowledged.len() < at_most {
            let mut read = self.ask("GetRecords", json!({ "ShardIterator": position.iterator, "Limit": 1_000 })).await;
            position.iterator = read["NextShardIterator"].as_str().expect("the shard is open").to_owned();
            let Value::Array(records) = read["Records"].take() else { panic!("no records: {read}") };
            position.unacknowledged.extend(records);
        }
        let records: Vec<&Value> = position.unacknowledged.iter().take(at_most).collect();
        let numbers: Vec<Value> = records.iter().map(|record| record["dynamodb"]["SequenceNumber"].clone()).collect();
        if numbers.is_empty() {
            return false;
        }
        let batch = serde_json::from_value(json!({ "Records": records })).unwrap();
        let answer = serde_json::to_value(stream::handle(fanout, batch).await).unwrap();
        let failed = answer["batchItemFailures"].as_array().unwrap().first();
        let failed = failed.map(|failed| numbers.iter().position(|it| *it == failed["itemIdentifier"]).unwrap());
        if !is_killed {
            position.unacknowledged.drain(..failed.unwrap_or(numbers.len()));
        }
        true
    }
}

/// Gets everything that is told, and what follows. Either can fail.
#[derive(Debug, Default)]
pub struct Subscriber(SyncMutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    notices: Vec<Notice>,
    follow_ups: Vec<PushMessage>,
    webhooks: Vec<WebhookMessage>,
    takes: Option<usize>,
    queue_is_down: bool,
}

impl Subscriber {
    /// Of the next notices it takes only so many.
    pub fn take_only(&self, notices: usize) {
        self.0.lock().unwrap().takes = Some(notices);
    }

    /// It does not take the next follow-ups or webhooks.
    pub fn refuse_follow_ups(&self) {
        self.0.lock().unwrap().queue_is_down = true;
    }

    /// From now on it takes everything.
    pub fn recover(&self) {
        let mut heard = self.0.lock().unwrap();
        (heard.takes, heard.queue_is_down) = (None, false);
    }

    /// All notices so far, with repetitions, in the order of their arrival.
    pub fn notices(&self) -> Vec<Notice> {
        self.0.lock().unwrap().notices.clone()
    }

    /// All webhooks so far, with repetitions, in the order of their arrival.
    pub fn webhooks(&self) -> Vec<WebhookMessage> {
        self.0.lock().unwrap().webhooks.clone()
    }

    /// Removes and returns the follow-ups.
    pub fn take_follow_ups(&self) -> Vec<PushMessage> {
        std::mem::take(&mut self.0.lock().unwrap().follow_ups)
    }
}

#[async_trait]
impl Sink for Subscriber {
    async fn tell(&self, notices: &[Notice]) -> Result<(), SinkError> {
        let mut heard = self.0.lock().unwrap();
        let taken = heard.takes.take().unwrap_or(usize::MAX).min(notices.len());
        heard.notices.extend_from_slice(&notices[..taken]);
        if taken == notices.len() {
            return Ok(());
        }
        Err(SinkError { indices: (taken..notices.len()).collect(), source: "refused".into() })
    }
}

#[async_trait]
impl Queue<PushMessage> for Subscriber {
    async fn send(&self, messages: &[PushMessage]) -> Result<(), QueueError> {
        let mut heard = self.0.lock().unwrap();
        if std::mem::take(&mut heard.queue_is_down) {
            return Err(QueueError::Unavailable("down".into()));
        }
        heard.follow_ups.extend_from_slice(messages);
        Ok(())
    }
}

#[async_trait]
impl Queue<WebhookMessage> for Subscriber {
    async fn send(&self, messages: &[WebhookMessage]) -> Result<(), QueueError> {
        let mut heard = self.0.lock().unwrap();
        if std::mem::take(&mut heard.queue_is_down) {
            return Err(QueueError::Unavailable("down".into()));
        }
        heard.webhooks.extend_from_slice(messages);
        Ok(())
    }
}
