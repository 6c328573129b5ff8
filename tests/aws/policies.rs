//! The policies of the roles in the template, compared with the functions' requests to the table. The emulators do not
//! enforce policies, so the test compares the policies with the partition keys of each request.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use axum::Router;
use http::{Request, header};
use http_body_util::BodyExt;
use reachability_domain::directory::account::AccountSettings;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::directory::ports::{Accounts, ApiKeys, Services, Users};
use reachability_domain::directory::service::Webhooks as Urls;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::message::{Announce, AnnounceUser, PushMessage, ScanServices};
use reachability_domain::push::registration::{KEEP_DEAD, MAX_DEVICES};
use reachability_domain::queue::Message;
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, KeySid, ServiceSid, Sid};
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::message::WebhookMessage;
use reachability_domain::webhook::ports::{WebhookAnswer, WebhookRequest, WebhookSender};
use reachability_functions::app::{App, Ports, Settings};
use reachability_infra::clock;
use reachability_infra::credentials::vault::SealingVault;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::metrics::EmfMetrics;
use reachability_infra::services::SharedServices;
use reachability_infra::sns::Topic;
use reachability_infra::sqs::{DeadLetterQueue, SqsConsumer};
use reachability_lambda::dead_letters::DeadLetters;
use reachability_lambda::stream::{self, Batch};
use reachability_lambda::webhooks::Consumer;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::external::sam;
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::{Kept, SETTINGS, new_service, rules, unstamped};
use reachability_tests::providers::Answer;
use reachability_tests::push_harness::PushHarness;
use reachability_tests::{aws, stack};
use reachability_worker::{Fanout, WebhookOutbox, WebhookPorts, Webhooks, Worker, WorkerPorts};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

/// What a policy sees of a request: an action, and the partition keys of the items.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    /// The API call that it is part of.
    operation: String,
    action: &'static str,
    keys: BTreeSet<String>,
}

/// Records the requests that a function sends.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(String, Value)>>>);

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let target = request.headers().get("x-amz-target").ok_or("there is no operation")?;
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().ok_or("there is no body")?)?;
        self.0.lock().unwrap().push((operation, body));
        Ok(())
    }
}

impl Recorder {
    fn accesses(&self) -> BTreeSet<Access> {
        self.0.lock().unwrap().iter().flat_map(|(operation, body)| accesses(operation, body)).collect()
    }
}

/// What a policy sees of a request. In a transaction, each item counts with its own action.
fn accesses(operation: &str, body: &Value) -> Vec<Access> {
    let members = |value: &Value| value.as_object().unwrap().values().cloned().collect::<Vec<_>>();
    let elements = |value: &Value| value.as_array().unwrap().clone();
    let touched: Vec<(&'static str, Value)> = match operation {
        "GetItem" => vec![("GetItem", body["Key"].clone())],
        "PutItem" => vec![("PutItem", body["Item"].clone())],
        "UpdateItem" => vec![("UpdateItem", body["Key"].clone())],
        "DeleteItem" => vec![("DeleteItem", body["Key"].clone())],
        "Query" => {
            assert!(body["KeyConditionExpression"].as_str().unwrap().starts_with("pk = :pk"), "{body}");
            vec![("Query", json!({ "pk": body["ExpressionAttributeValues"][":pk"] }))]
        }
        "BatchGetItem" => {
            let keys = members(&body["RequestItems"]).into_iter().flat_map(|table| elements(&table["Keys"]));
            keys.map(|key| ("BatchGetItem", key)).collect()
        }
        "BatchWriteItem" => {
            let writes = members(&body["RequestItems"]).into_iter().flat_map(|table| elements(&table));
            let touched = writes.map(|write| match write.get("DeleteRequest") {
                Some(delete) => delete["Key"].clone(),
                None => write["PutRequest"]["Item"].clone(),
            });
            touched.map(|key| ("BatchWriteItem", key)).collect()
        }
        "TransactWriteItems" => {
            let kinds = [
                ("Put", "Item", "PutItem"),
                ("Update", "Key", "UpdateItem"),
                ("Delete", "Key", "DeleteItem"),
                ("ConditionCheck", "Key", "ConditionCheckItem"),
            ];
            let touched = elements(&body["TransactItems"]).into_iter().map(|item| {
                let kind = kinds.iter().find(|(kind, ..)| item.get(kind).is_some());
                let (kind, key, action) = kind.unwrap_or_else(|| panic!("what is done to {item}?"));
                (*action, item[kind][key].clone())
            });
            touched.collect()
        }
        other => panic!("nobody knows where {other} has its keys"),
    };
    let mut found: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for (action, key) in touched {
        let key = key["pk"]["S"].as_str().unwrap_or_else(|| panic!("{operation} without a key: {body}"));
        found.entry(action).or_default().insert(key.to_owned());
    }
    let access = |(action, keys)| Access { operation: operation.to_owned(), action, keys };
    found.into_iter().map(access).collect()
}

/// A statement of a role about the table.
#[derive(Debug)]
struct Statement {
    actions: Vec<String>,
    /// The partition keys: whole keys, or prefixes with a star.
    patterns: Vec<String>,
}

impl Statement {
    /// Whether this statement alone allows the request.
    fn allows<'a>(&self, action: &str, keys: impl IntoIterator<Item = &'a String>) -> bool {
        let is_allowed = |key: &String| self.patterns.iter().any(|pattern| matches(pattern, key));
        self.actions.iter().any(|it| it == action) && keys.into_iter().all(is_allowed)
    }
}

fn matches(pattern: &str, key: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == key, |prefix| key.starts_with(prefix))
}

/// The statements about the table in the role of a function, from the template.
fn statements(template: &Value, function: &str) -> Vec<Statement> {
    let texts = |value: &Value| match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
        other => panic!("{other}"),
    };
    let role = template["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0].as_str().unwrap();
    let policies = template["Resources"][role]["Properties"]["Policies"].as_array().unwrap();
    let all = policies.iter().flat_map(statements_of);
    let table = json!({ "Fn::GetAtt": ["Table", "Arn"] });
    let stream = [json!({ "Fn::GetAtt": ["Table", "StreamArn"] }), json!({ "Fn::Sub": "${Table.Arn}/stream/*" })];
    let is_of_the_table = |statement: &&Value| {
        let is_of_dynamodb = texts(&statement["Action"]).iter().any(|action| action.starts_with("dynamodb:"));
        is_of_dynamodb && !stream.contains(&statement["Resource"])
    };
    let read = |statement: &Value| {
        assert_eq!((&statement["Effect"], &statement["Resource"]), (&json!("Allow"), &table));
        let conditions = statement["Condition"].as_object().unwrap();
        let (operator, condition) = conditions.iter().next().unwrap();
        assert_eq!((conditions.len(), condition.as_object().unwrap().len()), (1, 1), "{statement}");
        let patterns = texts(&condition["dynamodb:LeadingKeys"]);
        for pattern in &patterns {
            let name = match operator.as_str() {
                "ForAllValues:StringEquals" => pattern,
                "ForAllValues:StringLike" => pattern.strip_suffix('*').unwrap_or(pattern),
                other => panic!("nobody knows what {other} allows"),
            };
            assert!(!name.contains(['*', '?']), "{statement}");
        }
        let actions = texts(&statement["Action"]);
        let actions = actions.iter().map(|action| action.strip_prefix("dynamodb:").unwrap().to_owned());
        Statement { actions: actions.collect(), patterns }
    };
    all.filter(is_of_the_table).map(read).collect()
}

/// The statements of a policy, also of one that a role has only under a condition.
fn statements_of(policy: &Value) -> &[Value] {
    let policy = policy.get("Fn::If").map_or(policy, |of| &of[1]);
    policy["PolicyDocument"]["Statement"].as_array().unwrap()
}

/// What a list of the template is when its parameters of type list have these values. It knows what the policies need.
fn resolve(value: &Value, parameters: &Value) -> Value {
    let text = |value: &Value| resolve(value, parameters).as_str().unwrap().to_owned();
    let texts = |value: &Value| match resolve(value, parameters) {
        Value::Array(texts) => texts.iter().map(&text).collect::<Vec<_>>(),
        other => panic!("{other} is no list"),
    };
    if let Some(name) = value.get("Ref") {
        return parameters[name.as_str().unwrap()].clone();
    }
    if let Some(join) = value.get("Fn::Join") {
        return texts(&join[1]).join(join[0].as_str().unwrap()).into();
    }
    if let Some(split) = value.get("Fn::Split") {
        return text(&split[1]).split(split[0].as_str().unwrap()).collect();
    }
    value.clone()
}

/// Whoever has an API key can make a credential of any platform application that the deployment may use.
#[test]
fn only_platform_applications_that_are_named_can_be_used() {
    let template = sam::read_template(&stack::root().join("template.yaml"));
    assert_eq!(template["Parameters"]["PlatformApplications"]["Default"], "");
    let of_account = "arn:aws:sns:eu-west-1:123456789012";
    let named = json!([format!("{of_account}:app/GCM/one"), format!("{of_account}:app/*/chat-*")]);
    let parameters = json!({ "PlatformApplications": named });
    let mut found = vec![];
    for (name, role) in template["Resources"].as_object().unwrap() {
        if role["Type"] != "AWS::IAM::Role" {
            continue;
        }
        for policy in role["Properties"]["Policies"].as_array().unwrap() {
            for statement in statements_of(policy) {
                let is_of_sns = statement["Action"].to_string().contains("\"sns:");
                if !is_of_sns || statement["Resource"] == json!({ "Ref": "ChangesTopic" }) {
                    continue;
                }
                assert_eq!((name.as_str(), &policy["Fn::If"][0]), ("PushRole", &json!("HasPlatformApplications")));
                assert_eq!(policy["Fn::If"][2], json!({ "Ref": "AWS::NoValue" }));
                found.push((statement["Action"].clone(), resolve(&statement["Resource"], &parameters)));
            }
        }
    }
    let endpoints = json!([format!("{of_account}:endpoint/GCM/one/*"), format!("{of_account}:endpoint/*/chat-*/*")]);
    let of_endpoints = json!(["sns:GetEndpointAttributes", "sns:SetEndpointAttributes", "sns:Publish"]);
    assert_eq!(
        found,
        [(json!("sns:CreatePlatformEndpoint"), parameters["PlatformApplications"].clone()), (of_endpoints, endpoints)]
    );
    let condition = &template["Conditions"]["HasPlatformApplications"]["Fn::Not"][0]["Fn::Equals"];
    for (parameters, is_empty) in [(json!({ "PlatformApplications": [""] }), true), (parameters, false)] {
        assert_eq!(resolve(&condition[0], &parameters) == condition[1], is_empty);
    }
}

/// A table, and each function's requests to it.
struct Recording {
    config: SdkConfig,
    table: String,
    key: ApiKey,
    /// The messages that the functions of the API have queued.
    events: Arc<Kept<PresenceMessage>>,
    pushes: Arc<Kept<PushMessage>>,
    /// The webhooks that the fanout has queued.
    webhooks: Arc<Kept<WebhookMessage>>,
    functions: Mutex<BTreeMap<&'static str, Recorder>>,
}

impl Recording {
    async fn new() -> Self {
        let config = aws::config(&DynamoDbLocal::shared().url()).await;
        let (sid, secret) = (KeySid::from_bits(1), Secret::new("secret"));
        let key =
            ApiKey { sid, friendly_name: "test".to_owned(), secret, date_created: clock::now(), date_updated: None };
        let recording = Self {
            table: aws::create_table(&Client::new(&config)).await,
            config,
            key,
            events: Arc::default(),
            pushes: Arc::default(),
            webhooks: Arc::default(),
            functions: Mutex::default(),
        };
        recording.store().create_key(&recording.key).await.unwrap();
        recording
    }

    /// The same functions with another table.
    async fn elsewhere(&self) -> String {
        let table = aws::create_table(&Client::new(&self.config)).await;
        let store = DynamoStore::new(Client::new(&self.config), table.clone());
        store.create_key(&self.key).await.unwrap();
        table
    }

    /// The store of the test itself, whose requests are not recorded.
    fn store(&self) -> Arc<DynamoStore> {
        Arc::new(DynamoStore::new(Client::new(&self.config), self.table.clone()))
    }

    /// The store of a function, whose requests are recorded.
    fn store_of(&self, function: &'static str, table: &str) -> Arc<DynamoStore> {
        let recorder = self.functions.lock().unwrap().entry(function).or_default().clone();
        let config = Builder::from(&self.config).interceptor(recorder).build();
        Arc::new(DynamoStore::new(Client::from_conf(config), table.to_owned()))
    }

    /// A function of the API.
    fn function(&self, name: &'static str, router: fn(App) -> Router) -> Function<'_> {
        self.function_in(name, router, &self.table)
    }

    fn function_in(&self, name: &'static str, router: fn(App) -> Router, table: &str) -> Function<'_> {
        let store = self.store_of(name, table);
        let (events, pushes) = (self.events.clone(), self.pushes.clone());
        let services = Arc::new(SharedServices::new(store.clone(), events.clone(), clock::now));
        let vault = Arc::new(SealingVault::new(None).with_platform_applications("*"));
        let ports = Ports { services, ..Ports::of(store, events, pushes, vault, Arc::new(Uuids)) };
        let settings = Settings {
            account_sid: AccountSid::from_bits(1),
            auth_tokens: watch::channel(Secret::new("token").into()).1,
            public_url: None,
            failed_authentications_per_minute: None,
            lost_within: Duration::ZERO,
            clock: clock::now,
        };
        Function { router: router(App::new(ports, settings)), key: &self.key }
    }
}

/// A function of the API, in process.
struct Function<'a> {
    router: Router,
    key: &'a ApiKey,
}

impl Function<'_> {
    /// Sends a request, with an API key where one is allowed, so that the function has to read the key.
    async fn send(&self, method: &str, path: &str, form: &str) -> Value {
        self.send_with(method, path, form, None).await
    }

    async fn send_with(&self, method: &str, path: &str, form: &str, idempotency_key: Option<&str>) -> Value {
        use base64::Engine;
        let caller = if path.starts_with("/2010-04-01/") {
            format!("{}:token", AccountSid::from_bits(1))
        } else {
            format!("{}:{}", self.key.sid, self.key.secret.expose())
        };
        let caller = base64::prelude::BASE64_STANDARD.encode(caller);
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Basic {caller}"));
        let mut request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let response = self.router.clone().oneshot(request.body(form.to_owned()).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{method} {path}: {status}: {body:?}");
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() }
    }

    async fn get(&self, path: &str) -> Value {
        self.send("GET", path, "").await
    }

    async fn post(&self, path: &str, form: &str) -> Value {
        self.send("POST", path, form).await
    }

    async fn delete(&self, path: &str) {
        self.send("DELETE", path, "").await;
    }
}

fn sid(value: &Value) -> &str {
    value["sid"].as_str().unwrap()
}

fn before(seconds: u64) -> Timestamp {
    Timestamp::from_millis(clock::now().as_millis() - i64::try_from(seconds * 1_000).unwrap())
}

/// Makes every function send all its kinds of requests to the table.
async fn everything(recording: &Recording) {
    // The service, with its reachability on, and a credential for each channel.
    let of_pusher = recording.store_of("PushFunction", &recording.table);
    let harness = PushHarness::on(recording.store(), of_pusher, None).await;
    let configuration = recording.function("ConfigurationFunction", reachability_functions::configuration);
    let users = recording.function("UsersFunction", reachability_functions::users);
    let events = recording.function("EventsFunction", reachability_functions::events);
    let bindings = recording.function("BindingsFunction", reachability_functions::bindings);
    let store = recording.store_of("WorkerFunction", &recording.table);
    let rest = Arc::new(Kept::default());
    let ports = WorkerPorts {
        services: store.clone(),
        deleted_services: Some(store.clone()),
        states: store,
        events: rest.clone(),
        ids: Arc::new(Uuids),
        metrics: Arc::new(EmfMetrics::default()),
    };
    let worker = Worker::new(ports, rules(SETTINGS), Configuration::MAX_AGE, clock::now);
    let handle = async |messages: Vec<PresenceMessage>, now: Timestamp| {
        let failures = worker.process(messages, now).await;
        assert!(failures.is_empty(), "{failures:?}");
    };
    let at = |path: &str| format!("/v1/Services/{}/{path}", harness.service);

    // Configuration.
    configuration.get("/v1/Configuration").await;
    configuration.post("/v1/Configuration/Webhooks", "Method=GET").await;
    let doomed = configuration.post("/v1/Services", "FriendlyName=doomed").await;
    let doomed = format!("/v1/Services/{}", sid(&doomed));
    configuration.get("/v1/Services").await;
    configuration.get(&doomed).await;
    configuration.get(&format!("{doomed}/Roles")).await;
    configuration.get(&format!("{doomed}/Conversations")).await;
    configuration.post(&doomed, "FriendlyName=gone").await;
    let account = format!("/2010-04-01/Accounts/{}", AccountSid::from_bits(1));
    let key = configuration.post(&format!("{account}/Keys.json"), "FriendlyName=a").await;
    configuration.get(&format!("{account}/Keys.json")).await;
    configuration.get(&format!("{account}/Keys/{}.json", sid(&key))).await;
    configuration.post(&format!("{account}/Keys/{}.json", sid(&key)), "FriendlyName=b").await;
    configuration.delete(&format!("{account}/Keys/{}.json", sid(&key))).await;
    let arn = "PlatformApplicationArn=arn:aws:sns:us-east-1:123456789012:app/GCM/app";
    let credential = configuration.post("/v1/Credentials", &format!("Type=fcm&{arn}")).await;
    configuration.get("/v1/Credentials").await;
    let credential = format!("/v1/Credentials/{}", sid(&credential));
    configuration.post(&credential, "FriendlyName=b").await;
    // What is known of registrations does not hold for the changed credential.
    configuration.post(&credential, "Sandbox=true").await;
    configuration.get(&credential).await;
    configuration.delete(&credential).await;

    // Users.
    users.post(&at("Users"), "Identity=alice").await;
    users.get(&at("Users/alice")).await;
    users.get(&at("Users?Reachability=true")).await;
    users.post(&at("Users/alice"), "FriendlyName=Alice").await;
    users.get(&at("Presence?Identity=alice")).await;
    users.get(&at("Presence/alice")).await;
    users.post(&at("Presence/alice"), "Status=Here").await;
    users.get("/v1/Users").await;
    first_writes_of_the_default_service(recording).await;

    // Events, through the queue to the worker.
    let now = clock::now();
    let connect = |identity: &str, connection: &str, at: Timestamp| {
        event_of(identity, connection, at.as_millis(), EventKind::Connect { lease: None, device: None })
    };
    let closed = |identity: &str, connection: &str, at: Timestamp| {
        let kind = EventKind::Disconnect { reason: EndReason::ClientClosed };
        event_of(identity, connection, at.as_millis(), kind)
    };
    let batch = [connect("bob", "c-1", now), connect("alice", "c-1", now), closed("alice", "c-0", now)];
    let batch: Vec<String> = batch.iter().map(Event::to_json).collect();
    events.post(&at("Events"), &batch.join("\n")).await;
    handle(recording.events.take(), now).await;
    // Known users, and one with a later event already.
    handle(vec![unstamped(&connect("bob", "c-2", now))], now).await;
    handle(vec![unstamped(&connect("bob", "c-3", before(60)))], now).await;
    handle(vec![unstamped(&closed("bob", "c-2", now))], now).await;
    // Enough ended connections that the worker forgets some.
    for n in 0..30 {
        let at = Timestamp::from_millis(START + n * 600_000);
        let id = format!("c-{n}");
        let events = [connect("carol", &id, at), closed("carol", &id, at.plus(Duration::from_secs(1)))];
        for event in events {
            let now = event.occurred_at;
            handle(vec![unstamped(&event)], now).await;
        }
    }
    // A connection that an earlier version wrote ends.
    let number = |millis: i64| AttributeValue::N(millis.to_string());
    let lease = [("a", number(START)), ("l", number(now.plus(Duration::from_secs(60)).as_millis()))];
    let lease = AttributeValue::M(lease.map(|(name, value)| (name.to_owned(), value)).into());
    let text = |text: String| AttributeValue::S(text);
    let older = Client::new(&aws::config(&DynamoDbLocal::shared().url()).await).update_item();
    let older = older.table_name(&recording.table).key("pk", text(format!("state#{}#carol", harness.service)));
    let older = older.key("sk", text("state".to_owned())).update_expression("SET #c = :c");
    let older = older.expression_attribute_names("#c", "c#old").expression_attribute_values(":c", lease);
    older.send().await.unwrap();
    handle(vec![unstamped(&closed("carol", "old", now))], now).await;
    // While reachability is off.
    let off = service(3);
    recording.store().create_service(&new_service(off)).await.unwrap();
    for connection in ["c-1", "c-2"] {
        let event = connect("dave", connection, now);
        let user = UserKey { service: off, ..event.user };
        handle(vec![unstamped(&Event { user, ..event })], now).await;
    }

    // Devices: of a new user, with the only credential, with another one, and one more than the limit.
    let bind = |identity: &str, token: &str| format!("Identity={identity}&BindingType=apn&Address={token}");
    let apn = format!("CredentialSid={}", PushHarness::credential_sid(Channel::Apn));
    bindings.post(&at("Bindings"), &bind("erin", "00")).await;
    bindings.post(&at("Bindings"), &format!("{}&{apn}", bind("frank", "00"))).await;
    for n in 0..MAX_DEVICES {
        bindings.post(&at("Bindings"), &bind("frank", &format!("01{n:02x}"))).await;
    }
    let device = bindings.post(&at("Bindings"), &bind("erin", "02")).await;
    bindings.get(&at("Bindings")).await;
    bindings.get(&at("Bindings?Identity=erin")).await;
    bindings.get(&at(&format!("Bindings/{}", sid(&device)))).await;
    bindings.get(&format!("/v2/Services/{}/Users/erin/Bindings", harness.service)).await;
    bindings.delete(&at(&format!("Bindings/{}", sid(&device)))).await;
    // One by one, since concurrent writes of so many devices of one user would conflict, and some would need redelivery.
    for message in recording.pushes.take() {
        harness.handle(vec![message]).await;
    }
    bindings.post(&at("Bindings"), &bind("alice", "04")).await;
    users.delete(&at("Users/alice")).await;

    // A notification, whose delivery finds that a device is dead.
    bindings.post(&at("Bindings"), &bind("erin", "03")).await;
    harness.handle(recording.pushes.take()).await;
    let notification = bindings.post(&at("Notifications"), "Identity=erin&Body=Hello").await;
    let notification = at(&format!("Notifications/{}", sid(&notification)));
    harness.apple.answer("03", Answer::apns(410, "Unregistered"));
    let mut waiting = recording.pushes.take();
    while !waiting.is_empty() {
        waiting = harness.handle(waiting).await;
    }
    bindings.get(&notification).await;
    // One with a key, which is stored again when it is queued, and read when the request is repeated.
    for _ in 0..2 {
        bindings.send_with("POST", &at("Notifications"), "Identity=nobody&Body=Hello", Some("key-1")).await;
    }
    harness.handle(recording.pushes.take()).await;
    let deliveries = bindings.get(&format!("{notification}/Deliveries")).await;
    assert_eq!(deliveries["deliveries"][0]["reason"], "Unregistered", "{deliveries}");

    // One for those who are offline: one has a device, and the other none.
    let offline = "Identity=erin&Identity=nobody&Body=Hello&When=offline";
    bindings.post(&at("Bindings"), &bind("erin", "05")).await;
    harness.handle(recording.pushes.take()).await;
    let notification = bindings.post(&at("Notifications"), offline).await;
    let notification = at(&format!("Notifications/{}", sid(&notification)));
    let mut waiting = recording.pushes.take();
    while !waiting.is_empty() {
        waiting = harness.handle(waiting).await;
    }
    let recipients = bindings.get(&format!("{notification}/Recipients")).await;
    assert_eq!(recipients["recipients"][0]["status"], "sent", "{recipients}");
    assert_eq!(recipients["recipients"][1]["status"], "no_device", "{recipients}");
    let one = bindings.get(&format!("{notification}/Recipients?PageSize=1")).await;
    assert_eq!(one["recipients"][0]["status"], "sent", "{one}");

    // The daily scan: registrations that have expired, and those that have been dead for long.
    let year = Lifetime::YEAR.duration().as_secs();
    for since in [year, year + KEEP_DEAD.as_secs()] {
        harness.register_at("grace", Channel::Apn, &format!("{since:08x}"), before(since)).await;
    }
    for _ in 0..2 {
        let mut waiting = vec![PushMessage::ScanServices(ScanServices { after: None })];
        while !waiting.is_empty() {
            waiting = harness.handle(waiting).await;
        }
    }
    // Reachability is switched on again, which announces the devices.
    let mut on = recording.store().service(harness.service).await.unwrap().unwrap();
    for enabled in [false, true] {
        on.configuration.set_reachability_enabled(enabled, clock::now());
    }
    recording.store().replace_service(&on).await.unwrap();
    let (service, generation) = (harness.service, Generation(2));
    let frank = UserKey { service, identity: "frank".parse().unwrap() };
    harness.handle(vec![PushMessage::AnnounceUser(AnnounceUser { user: frank, generation })]).await;
    harness.handle(vec![PushMessage::Announce(Announce { service, generation, after_user: None })]).await;

    // The leftovers of a service are removed.
    users.post(&format!("{doomed}/Users"), "Identity=alice").await;
    bindings.post(&format!("{doomed}/Bindings"), &bind("alice", "00")).await;
    recording.events.take();
    configuration.delete(&doomed).await;
    // The message, and those for each part that it leads to.
    rest.take();
    handle(recording.events.take(), clock::now()).await;
    handle(rest.take(), clock::now()).await;

    tell_of_changes(recording, harness.service).await;
    send_webhooks(recording, harness.service).await;
}

/// The first write of the default service stores it.
async fn first_writes_of_the_default_service(recording: &Recording) {
    for write in 0..3 {
        let table = recording.elsewhere().await;
        let users = recording.function_in("UsersFunction", reachability_functions::users, &table);
        let default = users.get("/v1/Users?PageSize=1").await["meta"]["url"].as_str().unwrap().to_owned();
        assert!(default.contains("/v1/Users"), "{default}");
        let configuration =
            recording.function_in("ConfigurationFunction", reachability_functions::configuration, &table);
        let account = configuration.get("/v1/Configuration").await;
        let service = account["default_chat_service_sid"].as_str().unwrap().to_owned();
        let events = recording.function_in("EventsFunction", reachability_functions::events, &table);
        let bindings = recording.function_in("BindingsFunction", reachability_functions::bindings, &table);
        match write {
            0 => drop(users.post("/v1/Users", "Identity=alice").await),
            1 => drop(
                bindings
                    .post(&format!("/v1/Services/{service}/Bindings"), "Identity=alice&BindingType=apn&Address=00")
                    .await,
            ),
            _ => {
                let connected = EventKind::Connect { lease: None, device: None };
                let event = event_of("alice", "c-1", clock::now().as_millis(), connected);
                let user = UserKey { service: service.parse().unwrap(), ..event.user };
                drop(events.post(&format!("/v1/Services/{service}/Events"), &Event { user, ..event }.to_json()).await);
            }
        }
    } // With tables of their own.
    recording.events.take();
    recording.pushes.take();
}

/// Webhooks of everything.
fn webhooks() -> Urls {
    let filters = ["onUserAdded", "onUserUpdated"].map(str::to_owned).to_vec();
    Urls { post_webhook_url: Some("https://example.com".to_owned()), filters: Some(filters), ..Urls::default() }
}

/// The fanout tells of a connect and of a change of a profile, in batches of their own. The account wants webhooks of them.
async fn tell_of_changes(recording: &Recording, service: ServiceSid) {
    let client = aws_sdk_sns::Client::new(&aws::config(&MiniStack::shared().url()).await);
    let topic = client.create_topic().name("changes").send().await.unwrap().topic_arn.unwrap();
    let metrics = Arc::new(EmfMetrics::default());
    let account = recording.store().account().await.unwrap();
    recording.store().replace_account(&AccountSettings { webhooks: webhooks(), ..account }).await.unwrap();
    let store = recording.store_of("FanoutFunction", &recording.table);
    let outbox = WebhookOutbox {
        accounts: store.clone(),
        users: store.clone(),
        snapshots: store.clone(),
        queue: recording.webhooks.clone(),
        clock: clock::now,
    };
    let fanout = Fanout {
        services: store,
        pushes: Arc::new(Kept::default()),
        sinks: vec![Arc::new(Topic::new(client, topic))],
        webhooks: Some(outbox),
        metrics: metrics.clone(),
    };
    let tell = async |record: Value| {
        let batch: Batch = serde_json::from_value(json!({ "Records": [{ "dynamodb": record }] })).unwrap();
        assert!(stream::handle(&fanout, batch).await.batch_item_failures.is_empty());
    };
    let state = json!({
        "sid": { "S": "US00000000000000000000000000000001" }, "by": { "S": "connect" },
        "rev": { "N": "1" }, "as_of": { "N": "1000" }, "gen": { "N": "2" }, "active": { "N": "1000" },
        "c#c-1": { "M": { "a": { "N": "1000" }, "l": { "N": "121000" } } },
    });
    let keys = json!({ "pk": { "S": format!("state#{service}#alice") }, "sk": { "S": "state" } });
    tell(json!({ "Keys": keys, "NewImage": state, "SequenceNumber": "1" })).await;
    assert_eq!(metrics.counted(Counter::ChangesOnline), 1);

    let bob = UserRef::Identity("bob".parse().unwrap());
    let before = recording.store().user(service, &bob).await.unwrap().unwrap();
    let after = User { friendly_name: Some("Bob".to_owned()), webhook_enabled: true, ..before.clone() };
    recording.store().replace_user(&after).await.unwrap();
    let after = recording.store().user(service, &bob).await.unwrap().unwrap();
    assert!(after.revision > before.revision);
    let image = |user: &User| {
        let item: serde_dynamo::Item = serde_dynamo::to_item(user).unwrap();
        serde_json::to_value(item).unwrap()
    };
    let keys = json!({ "pk": { "S": format!("user#{service}#0") }, "sk": { "S": before.sid } });
    let record = json!({ "Keys": keys, "OldImage": image(&before), "NewImage": image(&after), "SequenceNumber": "2" });
    tell(record).await;
}

/// A receiver that takes nothing.
struct Refuses;

#[async_trait]
impl WebhookSender for Refuses {
    async fn send(&self, _: &WebhookRequest) -> WebhookAnswer {
        WebhookAnswer::of_status(404, None)
    }
}

/// Webhooks are tried, for the second time.
async fn send_webhooks(recording: &Recording, service: ServiceSid) {
    let config = aws::config(&MiniStack::shared().url()).await;
    let client = aws_sdk_sqs::Client::new(&config);
    let url = client.create_queue().queue_name("hooks.fifo").attributes(QueueAttributeName::FifoQueue, "true");
    let url = url.send().await.unwrap().queue_url.unwrap();
    let store = recording.store_of("WebhookFunction", &recording.table);
    let ports = WebhookPorts {
        accounts: store.clone(),
        services: store.clone(),
        sender: Arc::new(Refuses),
        ids: Arc::new(Uuids),
        metrics: Arc::new(EmfMetrics::default()),
    };
    let consumer = Consumer {
        webhooks: Webhooks::new(ports, AccountSid::from_bits(1), Configuration::MAX_AGE, clock::now),
        store,
        queue: SqsConsumer::new(client.clone(), url.clone()),
        dead_letters: DeadLetters::new(DeadLetterQueue::new(client, url), 1_000),
        clock: clock::now,
    };
    let messages = recording.webhooks.take();
    assert_eq!(messages.iter().filter(|message| message.user.service == service).count(), 3);
    let records = messages.iter().enumerate().map(|(n, message)| {
        let attributes = json!({ "ApproximateReceiveCount": "2", "MessageGroupId": n.to_string() });
        json!({ "messageId": n.to_string(), "body": message.to_json(), "attributes": attributes })
    });
    let batch = serde_json::from_value(json!({ "Records": records.collect::<Vec<_>>() })).unwrap();
    assert_eq!(consumer.handle(batch).await.batch_item_failures.len(), messages.len());
}

/// What the role of a function allows it to do to queues.
fn queue_actions<'a>(template: &'a Value, function: &str) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let role = template["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0].as_str().unwrap();
    let policies = template["Resources"][role]["Properties"]["Policies"].as_array().unwrap();
    let one_or_more = |value: &'a Value| value.as_array().map_or_else(|| vec![value], |values| values.iter().collect());
    let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // Some are there on a condition.
    let policies = policies.iter().map(|policy| policy.get("Fn::If").map_or(policy, |choice| &choice[1]));
    for statement in policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap()) {
        let actions = one_or_more(&statement["Action"]).into_iter().map(|action| action.as_str().unwrap());
        let actions: Vec<&str> = actions.filter_map(|action| action.strip_prefix("sqs:")).collect();
        if !actions.is_empty() {
            for queue in one_or_more(&statement["Resource"]) {
                allowed.entry(queue["Fn::GetAtt"][0].as_str().unwrap()).or_default().extend(&actions);
            }
        }
    }
    allowed
}

/// A consumer has Lambda receive and delete, and puts off itself what failed.
#[test]
fn consumers_may_put_off_the_messages_of_their_own_queue_only() {
    let template = sam::read_template(&stack::root().join("template.yaml"));
    let consumes = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"];
    let both = consumes.into_iter().chain(["SendMessage"]).collect();
    let (consumes, sends) = (BTreeSet::from(consumes), BTreeSet::from(["SendMessage"]));
    for (function, queue, dead, actions) in [
        ("WorkerFunction", "EventQueue", "DeadLetterQueue", &both),
        ("PushFunction", "PushQueue", "PushDeadLetterQueue", &both),
        ("WebhookFunction", "WebhookQueue", "WebhookDeadLetterQueue", &consumes),
    ] {
        let expected = BTreeMap::from([(queue, actions.clone()), (dead, sends.clone())]);
        assert_eq!(queue_actions(&template, function), expected, "{function}");
    }
    for function in ["ConfigurationFunction", "UsersFunction", "EventsFunction", "BindingsFunction", "FanoutFunction"] {
        let actions = queue_actions(&template, function);
        assert!(actions.values().all(|actions| *actions == sends), "{function}: {actions:?}");
    }
}

/// AWS does not document whether it checks each key of a transaction separately, or all keys of one action together.
/// Roles have to allow the functions' requests in both cases, and nothing else.
#[tokio::test]
async fn roles_allow_what_their_functions_do_and_nothing_else() {
    let template = sam::read_template(&stack::root().join("template.yaml"));
    let recording = Recording::new().await;
    everything(&recording).await;

    let mut wrong = Vec::new();
    let recorders = recording.functions.into_inner().unwrap();
    let resources = template["Resources"].as_object().unwrap();
    let functions = resources.iter().filter(|(_, it)| it["Type"] == "AWS::Serverless::Function").map(|(name, _)| name);
    let functions: BTreeSet<&str> = functions.map(String::as_str).collect();
    assert_eq!(functions, recorders.keys().copied().collect());
    for (function, recorder) in recorders {
        let statements = statements(&template, function);
        let accesses = recorder.accesses();
        for Access { operation, action, keys } in &accesses {
            if !statements.iter().any(|statement| statement.allows(action, keys)) {
                wrong.push(format!("{function} may not do {action} to {keys:?} together, in {operation}"));
            }
            for key in keys {
                if !statements.iter().any(|statement| statement.allows(action, [key])) {
                    wrong.push(format!("{function} may not do {action} to {key}, in {operation}"));
                }
            }
        }
        for statement in &statements {
            for (action, pattern) in
                statement.actions.iter().flat_map(|action| statement.patterns.iter().map(move |it| (action, it)))
            {
                let mut keys = accesses.iter().filter(|it| it.action == action).flat_map(|it| &it.keys);
                if !keys.any(|key| matches(pattern, key)) {
                    wrong.push(format!("{function} may do {action} to {pattern}, and never does"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
