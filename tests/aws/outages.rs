//! An outage of the table, in simulated time: the real functions and store before DynamoDB Local, with a proxy between them
//! that cuts the connections, and queues that behave as those of SQS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use futures_util::future::join_all;
use reachability_domain::directory::configuration::{Configuration, Generation};
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::user::User;
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::Credential;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::PushOutcome;
use reachability_domain::push::payload::Push;
use reachability_domain::push::ports::Bindings;
use reachability_domain::push::provider::{PushProvider, Unreachable};
use reachability_domain::queue::Queue;
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_domain::time::Timestamp;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::sqs::{DeadLetterQueue, SqsConsumer, SqsQueue};
use reachability_lambda::consumer::Consumer;
use reachability_lambda::dead_letters::DeadLetters;
use reachability_tests::contract::bindings::binding;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::fault_proxy::{FaultProxy, Faults};
use reachability_tests::feed_judge::{self, Folded};
use reachability_tests::feeds::{Feed, StreamConsumer, Subscriber};
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{SETTINGS, new_service, rules, unstamped};
use reachability_tests::model::Model;
use reachability_tests::simulated_clock::{now, set};
use reachability_tests::simulated_sqs::{Redrive, SimulatedSqs};
use reachability_tests::{aws, ids};
use reachability_worker::{Envelope, Failure, Fanout, Pusher, PusherPorts, Worker, WorkerPorts};

use crate::MACHINE;

const MINUTE: i64 = 60_000;

/// When the outage begins and ends, and when the simulation ends.
const OUTAGE: std::ops::Range<i64> = START + 2 * MINUTE..START + 62 * MINUTE;
const END: i64 = START + 80 * MINUTE;

/// In the first half of the outage nothing gets through, in the second half a tenth: what is written may be unanswered.
const DOWN: Faults = Faults { cut_before: 0.6, cut_after: 0.3, cut_within: 0.1, ..NO_FAULTS };
const BROWN: Faults = Faults { cut_before: 0.5, cut_after: 0.3, cut_within: 0.1, ..NO_FAULTS };
const NO_FAULTS: Faults =
    Faults { cut_before: 0.0, cut_after: 0.0, cut_within: 0.0, stall: 0.0, delay: 0.0, delay_by: Duration::ZERO };

const USERS: i64 = 12;

/// How many batches a function handles at the same time.
const AT_ONCE: usize = 4;

fn user(number: i64) -> UserKey {
    UserKey { service: service(1), identity: format!("user-{number}").parse().unwrap() }
}

/// What the gateways send, in the order of its time: users come and go in all ways until shortly before the end.
fn events() -> Vec<Event> {
    let mut events = vec![];
    for number in 0..USERS {
        let mut at = START + MINUTE + number * 7_300;
        for turn in 0.. {
            if END - 2 * MINUTE < at {
                break;
            }
            let mut say = |after: i64, kind: EventKind| {
                events.push(event_of(&format!("user-{number}"), &format!("c-{turn}"), at + after * 1_000, kind));
            };
            let end = |reason| EventKind::Disconnect { reason };
            say(0, EventKind::Connect { lease: None, device: None });
            match (number + turn) % 4 {
                0 => say(150, end(EndReason::ClientClosed)),
                1 => say(200, end(EndReason::ConnectionLost)),
                // Its lease ends.
                2 => say(100, EventKind::Renew { lease: None }),
                _ => {
                    (1..=3).for_each(|n| say(n * 100, EventKind::Renew { lease: None }));
                    say(390, end(EndReason::ClientClosed));
                }
            }
            at += 400_000;
        }
    }
    events.retain(|event| event.occurred_at.as_millis() < END);
    events.sort_by_key(|event| event.occurred_at);
    events
}

/// A provider that nobody asks, since there is no credential.
struct NoProvider;

#[async_trait]
impl PushProvider for NoProvider {
    async fn push(&self, _: &Credential, _: &Binding, _: &Push) -> PushOutcome {
        unreachable!("there is no credential")
    }

    fn outage(&self, _: &Credential) -> Option<Outage> {
        None
    }

    async fn binding_at(&self, _: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        Ok(None)
    }
}

/// How often a queue delivers a message at most, and whether the functions say when the next time is. If not, that is the
/// visibility timeout.
#[derive(Debug, Clone, Copy)]
struct Rule {
    max_receives: u32,
    puts_off: bool,
}

/// A deployment in simulated time.
struct Deployment {
    sqs: SimulatedSqs,
    proxy: FaultProxy,
    /// Past the proxy.
    store: Arc<DynamoStore>,
    events: SqsQueue<PresenceMessage>,
    worker: Worker,
    pusher: Pusher,
    consumers: [(&'static str, Consumer); 2],
    fanout: Fanout,
    feed: StreamConsumer,
    subscriber: Arc<Subscriber>,
    metrics: Arc<EmfMetrics>,
    _database: DynamoDbLocal,
}

const EVENTS: usize = 0;
const PUSHES: usize = 1;
const DEAD: [&str; 2] = ["events-dead", "pushes-dead"];

/// How many messages each function gets at a time.
const BATCHES: [usize; 2] = [10, 100];

impl Deployment {
    async fn new(rule: Rule) -> Self {
        set(Timestamp::from_millis(START));
        let database = DynamoDbLocal::start();
        let client = Client::new(&aws::config(&database.url()).await);
        let table = aws::create_table(&client).await;
        let feed = StreamConsumer::new(&database.url(), &client, &table).await;
        let proxy = FaultProxy::start(&database.url(), 7).await;
        // Real time does not pass for the clients, so they need not repeat a request.
        let config = Builder::from(&aws::config(&proxy.url()).await).retry_config(RetryConfig::disabled()).build();
        let behind_proxy = Arc::new(DynamoStore::new(Client::from_conf(config), table.clone()));
        let store = Arc::new(DynamoStore::new(client, table));

        let sqs = SimulatedSqs::start(now).await;
        let client = aws_sdk_sqs::Client::new(&aws::config(&sqs.url()).await);
        let consumer = |name: &'static str, dead: &'static str, visibility: u64| {
            let dead_url = sqs.make(dead, Duration::ZERO, None);
            let redrive = Redrive { to: dead, max_receives: rule.max_receives };
            let url = sqs.make(name, Duration::from_secs(visibility), Some(redrive));
            let dead_letters = DeadLetters::new(DeadLetterQueue::new(client.clone(), dead_url), rule.max_receives);
            (url.clone(), (name, Consumer { queue: SqsConsumer::new(client.clone(), url), dead_letters }))
        };
        let (events_url, of_events) = consumer("events", DEAD[EVENTS], 120);
        let (pushes_url, of_pushes) = consumer("pushes", DEAD[PUSHES], 180);
        if !rule.puts_off {
            sqs.refuse_put_offs();
        }
        let metrics = Arc::new(EmfMetrics::default());
        let ports = WorkerPorts {
            services: behind_proxy.clone(),
            deleted_services: None,
            states: behind_proxy.clone(),
            events: Arc::new(SqsQueue::new(client.clone(), events_url.clone(), now)),
            ids: Arc::new(Uuids),
            metrics: metrics.clone(),
        };
        let worker = Worker::new(ports, rules(SETTINGS), Configuration::MAX_AGE, now);
        let pushes = Arc::new(SqsQueue::<PushMessage>::new(client.clone(), pushes_url, now));
        let ports =
            PusherPorts::of(behind_proxy, pushes.clone(), Arc::new(NoProvider), Arc::new(Uuids), metrics.clone());
        let subscriber = Arc::new(Subscriber::default());
        let fanout = Fanout {
            services: store.clone(),
            pushes,
            sinks: vec![subscriber.clone()],
            webhooks: None,
            metrics: metrics.clone(),
        };
        Self {
            events: SqsQueue::new(client, events_url, now),
            worker,
            pusher: Pusher::new(ports, now),
            consumers: [of_events, of_pushes],
            sqs,
            proxy,
            store,
            fanout,
            feed,
            subscriber,
            metrics,
            _database: database,
        }
    }

    /// A service whose users have registered devices, and whose reachability is switched on afterwards: the registrations
    /// are to be announced by the push queue.
    async fn begin(&self) {
        let mut service = new_service(service(1));
        self.store.create_service(&service).await.unwrap();
        for number in 0..USERS {
            let owner = User::new(ids::sid(), user(number), None, now());
            let binding = binding(&owner, Channel::Apn, &format!("{number:04x}"), now());
            let device = binding.device();
            let command = BindingCommand::Register { binding, generation: Generation(0) };
            self.store.apply(owner.service_sid, device, &command, Some(&owner), now()).await.unwrap();
        }
        service = self.store.service(service.sid).await.unwrap().unwrap();
        service.configuration.set_reachability_enabled(true, now());
        self.store.replace_service(&service).await.unwrap();
    }

    /// Has a function handle what its queue delivers now.
    async fn consume(&self, which: usize) {
        let (name, consumer) = &self.consumers[which];
        loop {
            let batches: Vec<_> = (0..AT_ONCE).map(|_| self.sqs.receive(name, BATCHES[which])).collect();
            let batches: Vec<_> = batches.into_iter().filter(|batch| !batch.records.is_empty()).collect();
            if batches.is_empty() {
                return;
            }
            join_all(batches.into_iter().map(async |batch| {
                let ids: Vec<String> = batch.records.iter().map(|record| record.message_id.clone()).collect();
                let answer = consumer.handle(batch, async |envelopes| self.handle(which, envelopes).await).await;
                self.sqs.delete(name, &ids, &answer);
            }))
            .await;
        }
    }

    async fn handle(&self, which: usize, envelopes: &[Envelope]) -> Vec<(usize, Failure)> {
        if which == EVENTS { self.worker.handle(envelopes).await } else { self.pusher.handle(envelopes).await }
    }

    async fn publish(&self) {
        while self.feed.deliver(&self.fanout, 100, false, now()).await {}
    }

    /// From the start to the end, second by second.
    async fn run(&self, model: &mut Model) {
        self.begin().await;
        self.publish().await;
        model.switch(service(1), true);
        let mut events = events().into_iter().peekable();
        for at in (START..END).step_by(1_000) {
            set(Timestamp::from_millis(at));
            self.proxy.set(match at {
                at if !OUTAGE.contains(&at) => NO_FAULTS,
                at if at < OUTAGE.start + 30 * MINUTE => DOWN,
                _ => BROWN,
            });
            while let Some(event) = events.next_if(|event| event.occurred_at.as_millis() <= at) {
                model.arrive(&event);
                self.events.send(&[unstamped(&event)]).await.unwrap();
            }
            self.consume(EVENTS).await;
            // The announcement, which is queued from the start, waits for the outage.
            if OUTAGE.start <= at {
                self.consume(PUSHES).await;
            }
            if at % MINUTE == 0 {
                self.publish().await;
            }
            if at == OUTAGE.end + 5 * MINUTE {
                for (name, _) in &self.consumers {
                    let oldest = self.sqs.oldest(name).map(Timestamp::as_millis);
                    assert!(oldest.is_none_or(|sent| OUTAGE.end < sent), "{name} has a message from the outage");
                }
            }
        }
        self.publish().await;
    }

    /// What a reader sees.
    async fn read(&self, user: &UserKey) -> Reachability {
        let service = self.store.service(user.service).await.unwrap().unwrap();
        let state = self.store.states(std::slice::from_ref(user)).await.unwrap().remove(0);
        Appearance::of(&service.configuration, &state, now(), Viewer::Other).reachability
    }
}

/// Nothing becomes a dead letter, nothing is lost, and all of it is handled five minutes after the outage.
#[tokio::test]
async fn an_hour_without_the_table_loses_nothing() {
    let _share = MACHINE.read().await;
    let deployment = Deployment::new(Rule { max_receives: 1_000, puts_off: true }).await;
    let mut model = Model::new(SETTINGS);
    deployment.run(&mut model).await;

    for dead in DEAD {
        assert!(deployment.sqs.dead_letters(dead).is_empty(), "{:?}", deployment.sqs.dead_letters(dead));
    }
    let notices = deployment.subscriber.notices();
    feed_judge::follow_from_each_other(&notices).unwrap();
    let folded = Folded::of(&notices);
    let mut online = 0;
    for user in (0..USERS).map(user) {
        let seen = deployment.read(&user).await;
        let truth = Reachability { online: model.truth(&user, now().as_millis()).online, notifiable: Some(true) };
        assert_eq!(seen, truth, "{user:?}");
        assert_eq!(folded.visible(&user).reachability, truth, "{user:?} as it was told");
        online += i64::from(truth.online == Some(true));
    }
    assert!(0 < online && online < USERS, "{online} are online");
    let counts = deployment.proxy.counts();
    assert!(counts.cut_before > 100 && counts.cut_after > 100 && counts.cut_within > 20, "{counts:?}");
    assert!(deployment.metrics.counted(Counter::MessagesRetried) > 1_000, "retries are counted");
}

/// If ten deliveries were all, two minutes apart, the same outage would end in dead letters. So the test above can fail.
#[tokio::test]
async fn ten_deliveries_would_not_outlast_the_outage() {
    let _share = MACHINE.read().await;
    let deployment = Deployment::new(Rule { max_receives: 10, puts_off: false }).await;
    deployment.run(&mut Model::new(SETTINGS)).await;
    for dead in DEAD {
        let letters = deployment.sqs.dead_letters(dead);
        assert!(!letters.is_empty(), "{dead}");
        let of_the_store = |reason: &str| reason.starts_with("a store operation failed: the store is not available");
        assert!(letters.iter().all(|letter| letter.reason.as_deref().is_some_and(of_the_store)), "{letters:?}");
    }
}
