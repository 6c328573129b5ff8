//! The deployment that ships: checked, built and run by the SAM CLI, and deployed into MiniStack.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use futures_util::{StreamExt, stream};
use reachability_domain::presence::event::{Event, EventKind};
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::external::docker::Docker;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::fault_proxy::FaultProxy;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::external::process::Process;
use reachability_tests::external::{self, ports, sam};
use reachability_tests::harness::SETTINGS;
use reachability_tests::providers::{Answer, Apple};
use reachability_tests::receiver::{Inbox, Receiver, Webhook};
use reachability_tests::replays::{self, Expectation, Line};
use reachability_tests::stack::{self, Stack, succeed};
use reachability_tests::wait::wait;
use reachability_tests::{aws, clients, model, readme, recording};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::MACHINE;

#[test]
fn the_template_is_valid() {
    let mut validate = sam::command();
    validate.args(["validate", "--lint"]).current_dir(stack::root());
    let output = succeed(&mut validate);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("is a valid SAM Template") && !said.to_lowercase().contains("warning"), "{said}");
    // Without this, AWS would stop the timers of long-lived connections and retries, which no emulator does.
    let template = std::fs::read_to_string(stack::root().join("template.yaml")).unwrap();
    assert_eq!(template.matches("RecursiveLoop: Allow").count(), 2);
}

/// The user presses only Enter.
#[tokio::test]
async fn a_guided_deployment_works_with_its_defaults() {
    let _turn = MACHINE.write().await;
    let ministack = MiniStack::start(|_| {});
    let endpoint = ministack.url();
    let project = stack::project();
    let enter = project.path().join("enter");
    std::fs::write(&enter, "\n".repeat(100)).unwrap();
    // The second deployment uses the settings that the first one has saved.
    for arguments in [&["deploy", "--guided"][..], &["deploy"]] {
        let mut deploy = sam::deploying_to(&endpoint);
        deploy.args(arguments).current_dir(project.path()).stdin(File::open(&enter).unwrap());
        succeed(&mut deploy);
    }
    let outputs = stack::outputs(&endpoint, stack::NAME);
    let url = stack::url(&endpoint, outputs["ApiUrl"].as_str().unwrap());
    let answer = reqwest::get(format!("{url}/healthz")).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "ok\n"));
}

/// Neither the data nor the key that seals the credentials is deleted with the stack.
#[tokio::test]
async fn data_that_cannot_be_recreated_outlives_the_stack() {
    let _turn = MACHINE.write().await;
    let ministack = MiniStack::start(|_| {});
    let endpoint = ministack.url();
    let config = aws::config(&endpoint).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let read = async |id: &str| secrets.get_secret_value().secret_id(id).send().await.ok()?.secret_string;
    let is_protected = async |table: &str| {
        let described = dynamodb.describe_table().table_name(table).send().await.unwrap();
        described.table.unwrap().deletion_protection_enabled.unwrap()
    };
    stack::deploy(&endpoint, stack::NAME, &[]);
    let outputs = stack::outputs(&endpoint, stack::NAME);
    let [table, key, token] = ["TableName", "CredentialsKeyArn", "TokenCommand"]
        .map(|output| outputs[output].as_str().unwrap_or_else(|| panic!("no {output}")));
    let token = token.split_whitespace().last().unwrap();
    let value = read(key).await.expect("a key");
    assert!(read(token).await.is_some());

    let mut delete = sam::deploying_to(&endpoint);
    succeed(delete.args(["delete", "--no-prompts", "--stack-name", stack::NAME]));
    assert_eq!(read(token).await, None, "the stack is gone");
    assert_eq!(read(key).await, Some(value));
    assert!(is_protected(table).await);
    assert!(dynamodb.delete_table().table_name(table).send().await.is_err());

    stack::deploy(&endpoint, "unprotected", &["TableDeletionProtection=false"]);
    let outputs = stack::outputs(&endpoint, "unprotected");
    assert!(!is_protected(outputs["TableName"].as_str().unwrap()).await);
}

/// The emulators do not move dead letters. So the test checks only that the AWS CLI accepts the commands, and that they
/// name the right queues.
#[tokio::test]
async fn dead_letters_are_sent_back_to_their_queues() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let sqs = aws_sdk_sqs::Client::new(&stack.config().await);
    let attributes = async |url: &str| {
        let get = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        get.send().await.unwrap().attributes.unwrap()
    };
    let [pushes, webhooks] = ["-pushes", "-webhooks.fifo"].map(|name| stack.queue_url.replace("-events", name));
    for (output, queue) in
        [("RedriveCommand", &stack.queue_url), ("PushRedriveCommand", &pushes), ("WebhookRedriveCommand", &webhooks)]
    {
        let command = stack.outputs[output].as_str().unwrap_or_else(|| panic!("no {output}"));
        let queue = attributes(queue).await;
        let policy: Value = serde_json::from_str(&queue[&QueueAttributeName::RedrivePolicy]).unwrap();
        let (source, destination) = (&policy["deadLetterTargetArn"], &queue[&QueueAttributeName::QueueArn]);
        let expected = format!(
            "aws sqs start-message-move-task --region us-east-1 --source-arn {} --destination-arn {destination}",
            source.as_str().unwrap()
        );
        assert_eq!(command, expected);
        // The AWS CLI checks the command, but does not send it.
        let mut shell = sam::shell(&stack.ministack.url());
        succeed(shell.args(["-c", &format!("{command} --generate-cli-skeleton output")]));
    }
}

/// The differences to AWS when the README's commands are run: the API's DNS name does not exist, the emulators do not
/// move dead letters, containers need Docker, and nobody answers questions.
const NOT_AS_ON_AWS: &str = r#"
curl() {
    local api id
    api=$(output ApiUrl)
    id=${api#https://}
    command curl --silent --show-error --fail "${@/#$api/$AWS_ENDPOINT_URL/_aws/execute-api/${id%%.*}/api}"
}
aws() {
    case $2 in
        start-message-move-task) command aws "$@" --generate-cli-skeleton output ;;
        # Otherwise the AWS CLI knows better where SQS is.
        *) command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@" ;;
    esac
}
sam() {
    case $1 in
        local) ;;
        *) command sam "$@" <<<$'y\ny\ny' ;;
    esac
}
alice_is_online() {
    local n
    for ((n = 0; n < 300; n++)); do
        [[ $(curl $(output ApiUrl)/v1/Services/$SERVICE/Users/alice -u "$ACCOUNT:$1") != *'"is_online":true'* ]] || return 0
        sleep 0.1
    done
    return 1
}
"#;

/// One after the other, from the outputs of a deployment to the deletion of its table.
#[tokio::test]
async fn the_commands_of_the_readme_work_as_they_are() {
    let _turn = MACHINE.write().await;
    let ministack = MiniStack::start(|_| {});
    let endpoint = ministack.url();
    let project = stack::project();
    stack::deploy(&endpoint, stack::NAME, &[]);
    let config = aws::config(&endpoint).await;
    let create = aws_sdk_sns::Client::new(&config).create_platform_application().name("app").platform("GCM");
    let application = create.attributes("PlatformCredential", "{}").send().await.unwrap();

    let connect = r#"{"type":"connect","service_sid":"%s","identity":"alice","connection_id":"c-1","occurred_at":"%s","lease_seconds":3600}"#;
    let log = format!("printf '{connect}\\n' $SERVICE $(date -u +%FT%TZ) >log.jsonl\n");
    // The new stack has another name: the emulator would give it the old one's table.
    let next_stack =
        "STACK=next\nsam deploy --stack-name $STACK --parameter-overrides AccountSid=$ACCOUNT >/dev/null\n";
    let same_key = "[[ $(secret $(output CredentialsKeyArn)) == \"$(secret $CREDENTIALS_KEY)\" ]]\n";
    let secret =
        "secret() { aws secretsmanager get-secret-value --secret-id $1 --query SecretString --output text; }\n";
    let mut script = format!("{NOT_AS_ON_AWS}{secret}");
    let mut seen = 0;
    for block in readme::commands("On AWS") {
        let (before, after) = match &block {
            block if block.contains("sqs send-message-batch") => {
                (log.as_str(), "alice_is_online \"$TOKEN\"\n".to_owned())
            }
            block if block.contains("sam delete") => ("", next_stack.to_owned()),
            block if block.contains("dynamodb batch-write-item") => {
                ("", format!("alice_is_online \"$(eval \"$(output TokenCommand)\")\"\n{same_key}"))
            }
            _ => ("", String::new()),
        };
        seen += usize::from(!after.is_empty());
        script += &format!("{before}{block}{after}");
    }
    assert_eq!(seen, 3);
    let mut shell = sam::shell(&endpoint);
    shell.env("APPLICATION", application.platform_application_arn.unwrap()).current_dir(project.path());
    succeed(shell.args(["-euxc", &script]));

    let local: Value = serde_json::from_slice(&std::fs::read(project.path().join("local.json")).unwrap()).unwrap();
    let names: Vec<&str> = local["Parameters"].as_object().unwrap().values().map(|it| it.as_str().unwrap()).collect();
    assert!(names.iter().all(|name| name.contains("reachability-")), "{names:?}");
    let tables = aws_sdk_dynamodb::Client::new(&config).list_tables().send().await.unwrap().table_names.unwrap();
    let table = &stack::outputs(&endpoint, "next")["TableName"];
    assert_eq!(tables, [table.as_str().unwrap()], "the old one is gone");
}

#[tokio::test]
async fn python_works_over_the_deployed_api() {
    let _turn = MACHINE.write().await;
    let mut script = clients::python("conversations.py");
    script.env("REACHABILITY_GATEWAY", "1");
    clients::passes(&clients::run(script, Stack::shared().api()), clients::PYTHON_CHECKS, "");
}

#[tokio::test]
async fn node_works_over_the_deployed_api() {
    let _turn = MACHINE.write().await;
    let output = clients::run(clients::node("conversations.mjs"), Stack::shared().api());
    clients::passes(&output, clients::NODE_CHECKS, "");
}

/// Sends messages to the event queue, like an owner with permissions for the queue.
async fn enqueue(stack: &Stack, bodies: &[String]) {
    let client = aws_sdk_sqs::Client::new(&stack.config().await);
    for bodies in bodies.chunks(10) {
        let entry = |(n, body): (usize, &String)| {
            SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body).build().unwrap()
        };
        let entries = bodies.iter().enumerate().map(entry).collect();
        let sent = client.send_message_batch().queue_url(&stack.queue_url).set_entries(Some(entries)).send().await;
        assert!(sent.unwrap().failed.is_empty());
    }
}

/// Receives messages with their attributes until the queue has been empty for a while, or until there are this many.
pub(crate) async fn drain(stack: &Stack, queue_url: &str, enough: usize) -> Vec<(String, BTreeMap<String, String>)> {
    let client = aws_sdk_sqs::Client::new(&stack.config().await);
    let mut messages = vec![];
    let mut empty = 0;
    while empty < 3 && messages.len() < enough {
        let receive = client.receive_message().queue_url(queue_url).max_number_of_messages(10).wait_time_seconds(1);
        let receive = receive.message_attribute_names("All");
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let received = receive.send().await.unwrap().messages.unwrap_or_default();
        empty = if received.is_empty() { empty + 1 } else { 0 };
        for message in received {
            let attributes = message.message_attributes.unwrap_or_default().into_iter();
            let attributes = attributes.map(|(name, value)| (name, value.string_value.unwrap_or_default())).collect();
            messages.push((message.body.unwrap(), attributes));
            let handle = message.receipt_handle.unwrap();
            client.delete_message().queue_url(queue_url).receipt_handle(handle).send().await.unwrap();
        }
    }
    messages
}

/// A queue that is subscribed to the changes.
pub(crate) async fn subscribe(stack: &Stack) -> String {
    let config = stack.config().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let queue = sqs.create_queue().queue_name("subscriber").send().await.unwrap().queue_url.unwrap();
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{}", queue.rsplit('/').next().unwrap());
    let subscribe = aws_sdk_sns::Client::new(&config).subscribe().topic_arn(&stack.topic_arn).protocol("sqs");
    subscribe.endpoint(arn).attributes("RawMessageDelivery", "true").send().await.unwrap();
    queue
}

/// Why a user can be offline.
const OFFLINE_REASONS: [&str; 4] = ["client_closed", "connection_lost", "server_closed", "lease_ended"];

#[tokio::test]
async fn recorded_events_from_the_queue_lead_to_the_truth() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let changes = subscribe(stack).await;
    let switched_on = clients::run(clients::python("switch_on.py"), stack.api());
    assert!(switched_on.status.success(), "{switched_on:?}");
    let service = String::from_utf8(switched_on.stdout).unwrap().trim().to_owned();

    let log = recording::moved(&recording::lines()[..1_500], &service);
    let truths = recording::truths(&log, model::Settings { lease: None, ..SETTINGS }, clock::now().as_millis());
    let expected: BTreeMap<String, Option<bool>> =
        truths.into_iter().map(|(identity, truth)| (identity, truth.online)).collect();
    assert!(expected.len() > 30 && expected.values().any(|online| *online == Some(true)));

    let mut bodies = recording::shuffled(&log);
    let unknown = bodies[0].replace(&service, &format!("IS{}", "0".repeat(32)));
    bodies.insert(700, "poison".to_owned());
    bodies.insert(300, unknown.clone());
    enqueue(stack, &bodies).await;

    let client = Client::new(&stack.url, &stack.account, &stack.token);
    let deadline = Instant::now() + Duration::from_secs(180);
    let mut found = client.everybody(&service).await;
    while found != expected && Instant::now() < deadline {
        sleep(Duration::from_millis(500)).await;
        found = client.everybody(&service).await;
    }
    assert_eq!(found, expected);

    // Messages that cannot be handled were set aside, with the reason, and delayed nothing.
    let mut dead = drain(stack, &stack.dead_letter_url, 2).await;
    dead.sort();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert_eq!(dead[0].0, "poison");
    assert!(dead[0].1["reason"].starts_with("it is malformed: malformed JSON"), "{dead:?}");
    assert_eq!(dead[1].0, unknown);
    assert_eq!(dead[1].1["reason"], format!("there is no service IS{}", "0".repeat(32)));

    // Subscribers were told the same: the change of each user with the highest revision has the result.
    let mut told: BTreeMap<String, (u64, Option<bool>)> = BTreeMap::new();
    let mut switches = vec![];
    for (body, attributes) in drain(stack, &changes, usize::MAX).await {
        let change: Value = serde_json::from_str(&body).unwrap();
        if change["service_sid"] != service.as_str() {
            continue;
        }
        assert_eq!(attributes["service_sid"], service);
        assert_eq!(attributes["type"], change["type"].as_str().unwrap());
        if change["type"] == "service" {
            switches.push(change);
            continue;
        }
        assert_ne!(change["before"]["is_online"], change["is_online"], "{change}");
        assert_eq!((&change["type"], &change["exists"]), (&json!("user"), &json!(true)), "{change}");
        assert!(change["user_sid"].as_str().unwrap().starts_with("US"), "{change}");
        // A connect or a renewal creates each user, even after its disconnect.
        let created = if change["before"]["exists"] == false { json!("connect") } else { Value::Null };
        assert_eq!(change["reasons"]["exists"], created, "{change}");
        let reason = change["reasons"]["is_online"].as_str().unwrap();
        match change["is_online"].as_bool().unwrap() {
            true => assert_eq!(reason, "connect", "{change}"),
            false => assert!(OFFLINE_REASONS.contains(&reason), "{change}"),
        }
        let last = told.entry(change["identity"].as_str().unwrap().to_owned()).or_default();
        *last = (*last).max((change["revision"].as_u64().unwrap(), change["is_online"].as_bool()));
    }
    let at = switches[0]["at"].clone();
    assert!(at.as_str().unwrap().parse::<Timestamp>().is_ok(), "{at}");
    let (before, reason) = (json!({ "reachability_enabled": false, "generation": 0 }), "switched");
    let switch = json!({
        "type": "service", "service_sid": service, "reachability_enabled": true, "generation": 1,
        "before": before, "reason": reason, "at": at,
    });
    assert_eq!(switches, [switch]);
    let told: BTreeMap<String, Option<bool>> =
        told.into_iter().map(|(identity, (_, online))| (identity, online)).collect();
    assert_eq!(told, expected);
}

/// From the API to the provider and back: registered, confirmed, found dead, and published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_registration_is_published() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let changes = subscribe(stack).await;
    let client = Client::new(&stack.url, &stack.account, &stack.token);
    let service = client.enabled_service().await;
    let at = |path: &str| format!("/v1/Services/{service}/{path}");
    let until = async |path: String, is: &dyn Fn(&Value) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = client.get(&path).await;
            if is(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{path}: {found}\n{}", stack.ministack.log());
            sleep(Duration::from_millis(200)).await;
        }
    };
    let key = stack.apple.key();
    let form = |pairs: &[(&str, &str)]| {
        let mut url = reqwest::Url::parse("http://form").unwrap();
        url.query_pairs_mut().extend_pairs(pairs);
        url.query().unwrap().to_owned()
    };
    let credential = form(&Apple::credential(key.expose()));
    let credential = client.post("/v1/Credentials", credential).await["sid"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&at("Users?Reachability=true")).await["users"], json!([]));

    // One device is good at first, the other never was.
    let bind = |identity, token| {
        form(&[("Identity", identity), ("BindingType", "apn"), ("Address", token), ("CredentialSid", &credential)])
    };
    stack.apple.answer("0bad", Answer::apns(400, "BadDeviceToken"));
    client.post(&at("Bindings"), bind("alice", "00ff")).await;
    assert_eq!(client.get(&at("Users/alice")).await["is_notifiable"], true);
    client.post(&at("Bindings"), bind("bob", "0bad")).await;
    until(at("Users/bob"), &|user| user["is_notifiable"] == false).await;
    until(at("Bindings?Identity=alice"), &|list| list["bindings"][0]["status"] == "confirmed").await;
    assert_eq!(client.get(&format!("/v1/Credentials/{credential}")).await["status"], "accepted");

    // A notification finds that it is good no longer.
    stack.apple.answer("00ff", Answer::apns(410, "Unregistered"));
    let notification = form(&[("Identity", "alice"), ("Identity", "bob"), ("Body", "Hello")]);
    let notification = client.post(&at("Notifications"), notification).await["sid"].as_str().unwrap().to_owned();
    until(at("Users/alice"), &|user| user["is_notifiable"] == false).await;
    let deliveries = at(&format!("Notifications/{notification}/Deliveries"));
    let deliveries = until(deliveries, &|list| list["deliveries"][0]["status"] == "failed").await;
    assert_eq!(deliveries["deliveries"].as_array().unwrap().len(), 1, "bob has no device any more: {deliveries}");
    assert_eq!(deliveries["deliveries"][0]["reason"], "Unregistered");
    let dead = client.get(&at("Bindings?Identity=alice&Identity=bob&BindingType=apn")).await;
    let reasons: BTreeSet<&str> =
        dead["bindings"].as_array().unwrap().iter().map(|it| it["status_reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, BTreeSet::from(["BadDeviceToken", "Unregistered"]));

    // After another registration it is good.
    stack.apple.answer("00ff", Answer::usual());
    client.post(&at("Bindings"), bind("alice", "00ff")).await;
    assert_eq!(client.get(&at("Users/alice")).await["is_notifiable"], true);

    let mut told: Vec<(u64, Value)> = Vec::new();
    for (body, _) in drain(stack, &changes, 6).await {
        let change: Value = serde_json::from_str(&body).unwrap();
        if change["service_sid"] == service.as_str() && change["identity"] == "alice" {
            let [before, after] = [&change["before"], &change].map(|it| it["is_notifiable"].clone());
            told.push((change["revision"].as_u64().unwrap(), json!([before, after, change["reasons"]])));
        }
    }
    told.sort_by_key(|(revision, ..)| *revision);
    let told: Vec<Value> = told.into_iter().take(2).map(|(_, change)| change).collect();
    let created = json!({ "exists": "registered", "is_notifiable": "registered" });
    let dead = json!({ "is_notifiable": "provider:Unregistered" });
    assert_eq!(told, [json!([null, true, created]), json!([true, false, dead])]);
    // After switching off and on, the known state of the devices is published again.
    for enabled in ["false", "true"] {
        client.post(&at("Configuration"), form(&[("ReachabilityEnabled", enabled)])).await;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut again: Vec<Value> = Vec::new();
    while again.is_empty() {
        assert!(Instant::now() < deadline, "it is not told");
        let told = drain(stack, &changes, 1).await.into_iter().map(|(body, _)| serde_json::from_str(&body).unwrap());
        again = told.filter(|it: &Value| it["service_sid"] == service.as_str() && it["identity"] == "alice").collect();
    }
    assert_eq!((&again[0]["generation"], &again[0]["is_notifiable"]), (&json!(2), &json!(true)));
    assert_eq!(again[0]["before"]["is_notifiable"], json!(null));
    assert_eq!(again[0]["reasons"], json!({ "is_notifiable": "switched" }));
    // Other tests that share the account must not see this credential.
    client.delete(&format!("/v1/Credentials/{credential}")).await;
    let log = stack.ministack.log();
    for secret in
        key.expose().lines().filter(|line| line.len() > 30 && !line.starts_with('-')).chain([stack.token.as_str()])
    {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

/// The stream's filter lets a change of a profile through. Its creation and its deletion are seen in the user's state.
#[tokio::test]
async fn a_change_of_a_profile_is_published() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let changes = subscribe(stack).await;
    let client = Client::new(&stack.url, &stack.account, &stack.token);
    let service = client.enabled_service().await;
    let users = format!("/v1/Services/{service}/Users");
    let user = client.post(&users, "Identity=alice").await;
    client.post(&format!("{users}/alice"), "FriendlyName=Alice").await;
    client.delete(&format!("{users}/alice")).await;

    let deadline = Instant::now() + Duration::from_secs(60);
    let mut told: BTreeMap<u64, Value> = BTreeMap::new();
    while told.len() < 3 {
        assert!(Instant::now() < deadline, "it is not told: {told:?}\n{}", stack.ministack.log());
        for (body, attributes) in drain(stack, &changes, 1).await {
            let change: Value = serde_json::from_str(&body).unwrap();
            if change["service_sid"] == service.as_str() && change["identity"] == "alice" {
                assert_eq!(attributes["type"], change["type"].as_str().unwrap());
                told.insert(change["revision"].as_u64().unwrap(), change);
            }
        }
    }
    let [created, profile, deleted] = &told.into_values().collect::<Vec<_>>()[..] else { panic!("too much is told") };
    assert_eq!((&created["type"], &created["reasons"]), (&json!("user"), &json!({ "exists": "profile" })));
    assert_eq!((&deleted["type"], &deleted["reasons"]), (&json!("user"), &json!({ "exists": "deleted" })));
    let names = [&profile["before"], &profile["profile"]].map(|it| it["friendly_name"].clone());
    assert_eq!((&profile["type"], names), (&json!("profile"), [Value::Null, json!("Alice")]));
    for change in [created, profile, deleted] {
        assert_eq!(change["user_sid"], user["sid"], "{change}");
    }
}

/// What happens to a user while the receiver is down is told, in order, as soon as it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_wait_for_their_receiver() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let client = Client::new(&stack.url, &stack.account, &stack.token);
    let service = client.enabled_service().await;
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let url = format!("http://{address}/hook?key=secret-in-the-url");
    let form = [("PostWebhookUrl", url.as_str()), ("Filters", "onUserAdded"), ("Filters", "onUserUpdated")];
    let webhooks = format!("/v1/Services/{service}/Configuration/Webhooks");
    assert_eq!(client.send(Method::POST, &webhooks, &form).await.0, 200);

    let tell = async |identity: &str, kind: &str| {
        client.post(&format!("/v1/Services/{service}/Events"), event(&service, identity, kind).to_string()).await
    };
    tell("alice", "connect").await;
    let is_tried = |line: &str| line.contains(&service) && line.contains("a webhook will be sent again");
    wait("an attempt", async || stack.ministack.log().lines().any(is_tried).then_some(())).await;
    tell("alice", "disconnect").await;
    tell("bob", "connect").await;
    let user = format!("/v1/Services/{service}/Users/alice");
    wait("she is offline", async || (client.get(&user).await["is_online"] == false).then_some(())).await;

    let receiver = Receiver::start_at(address, Inbox::default()).await;
    wait("webhooks", async || (receiver.inbox.count() >= 5).then_some(())).await;
    let told = receiver.inbox.take();
    let of = |identity: &str| -> Vec<[String; 3]> {
        let of_user = told.iter().filter(|it| it.get("Identity") == identity);
        of_user.map(|it| ["EventType", "IsOnline", "Reason"].map(|name| it.get(name).to_owned())).collect()
    };
    let added = ["onUserAdded", "true", "connect"].map(str::to_owned);
    let online = ["onUserUpdated", "true", "connect"].map(str::to_owned);
    let offline = ["onUserUpdated", "false", "client_closed"].map(str::to_owned);
    assert_eq!(of("alice"), [added.clone(), online.clone(), offline]);
    assert_eq!(of("bob"), [added, online]);
    assert_eq!(told.iter().map(Webhook::token).collect::<BTreeSet<_>>().len(), 5);
    let captured = told.iter().map(|webhook| {
        assert_eq!((webhook.get("AccountSid"), webhook.url.as_str()), (stack.account.as_str(), url.as_str()));
        let signature = &webhook.headers["x-twilio-signature"];
        json!({ "url": webhook.url, "form": webhook.parameters, "signature": signature, "valid": true })
    });
    clients::validate(clients::python("webhooks.py"), &stack.token, &captured.collect::<Vec<_>>());

    let log = stack.ministack.log();
    assert!(!log.contains("secret-in-the-url") && !log.contains(&stack.token), "a secret is in the log");
    let dead = stack.outputs["WebhookDeadLetterQueueUrl"].as_str().unwrap();
    assert_eq!(drain(stack, dead, 1).await, []);
}

/// The maximum time from sending an event to reading its effect.
const LEAD: Duration = Duration::from_secs(4);

/// The time until reachability can be switched on again: it stays off for a minimum time.
const SWITCHING: Duration = Duration::from_secs(7);

#[tokio::test]
async fn recorded_logs_lead_to_the_truth() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let mut runs = vec![];
    for (name, log) in replays::all() {
        for (n, line) in log.iter().enumerate() {
            if let Line::Expect(expectation) = line {
                runs.push((name.clone(), log[..n].to_vec(), expectation.clone()));
            }
        }
    }
    assert!(runs.len() > 20);
    stream::iter(runs)
        .map(|(name, log, expectation)| replay(stack, name, log, expectation))
        .buffer_unordered(4)
        .collect::<()>()
        .await;
}

/// Runs a log on the deployed stack, moved to the present, so that an expectation is true a moment after the last event
/// was sent.
async fn replay(stack: &Stack, name: String, log: Vec<Line>, expectation: Expectation) {
    let client = Client::new(&stack.url, &stack.account, &stack.token);
    let service = client.enabled_service().await;
    let configuration = format!("/v1/Services/{service}/Configuration");
    let switchings = log.iter().filter(|line| matches!(line, Line::Switch(true))).count();
    let start = clock::now();
    let end = start.plus(LEAD + SWITCHING * u32::try_from(switchings).unwrap());
    let later = end.as_millis() - expectation.at.as_millis();

    let mut waiting = vec![];
    for line in log {
        match line {
            Line::Event(event) => {
                let occurred_at = Timestamp::from_millis(event.occurred_at.as_millis() + later);
                let user = reachability_domain::identity::UserKey { service: service.parse().unwrap(), ..event.user };
                waiting.push(Event { user, occurred_at, ..event });
            }
            Line::Switch(on) => {
                send_and_wait(stack, &client, &service, std::mem::take(&mut waiting)).await;
                client.post(&configuration, format!("ReachabilityEnabled={on}")).await;
            }
            Line::Expect(_) => {}
        }
    }
    enqueue(stack, &waiting.iter().map(Event::to_json).collect::<Vec<_>>()).await;
    sleep(end.since(clock::now())).await;
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let mut found = BTreeMap::new();
        for identity in expectation.users.keys() {
            let user = client.get(&format!("/v1/Services/{service}/Users/{identity}")).await;
            found.insert(identity.clone(), user["is_online"].as_bool());
        }
        if found == expectation.users {
            return;
        }
        assert!(Instant::now() < deadline, "{name} at {:?}: {found:?}, not {:?}", expectation.at, expectation.users);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Sends events and waits until they are handled, which a marker shows that is sent after them.
async fn send_and_wait(stack: &Stack, client: &Client, service: &str, mut events: Vec<Event>) {
    let Some(last) = events.last().cloned() else { return };
    let identity = format!("marker-{}", last.occurred_at.as_millis());
    let mut user = last.user;
    user.identity = identity.parse().unwrap();
    events.push(Event { user, kind: EventKind::Connect { lease: None, device: None }, ..last });
    let is_made = async || client.get(&format!("/v1/Services/{service}/Users/{identity}")).await["sid"].is_string();
    enqueue(stack, &events.iter().map(Event::to_json).collect::<Vec<_>>()).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_made().await {
        assert!(Instant::now() < deadline, "{identity} is not made");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The functions in containers, as `sam local` runs them. Their table is in DynamoDB Local; everything else is in the
/// deployed stack.
#[tokio::test(flavor = "multi_thread")]
async fn the_functions_run_in_containers() {
    let _turn = MACHINE.write().await;
    let stack = Stack::shared();
    let docker = match Docker::start() {
        Ok(docker) => docker,
        Err(reason) => return external::skip(&format!("the_functions_run_in_containers: no Docker here: {reason}")),
    };
    let listen = format!("{}:0", docker.gateway());
    let dynamodb = FaultProxy::start_on(&listen, &DynamoDbLocal::shared().url(), 0).await;
    let others = FaultProxy::start_on(&listen, &stack.ministack.url(), 0).await;
    let table = aws::create_table(&aws_sdk_dynamodb::Client::new(&aws::config(&dynamodb.url()).await)).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stack.config().await);
    secrets.create_secret().name("local").secret_string("local").send().await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let built = std::fs::read_to_string(stack::built().join("template.yaml")).unwrap();
    let mark = "REACHABILITY_STACK:";
    let endpoints = format!(
        "AWS_ENDPOINT_URL: {}\n        AWS_ENDPOINT_URL_DYNAMODB: {}\n        {mark}",
        others.url(),
        dynamodb.url()
    );
    assert_eq!(built.matches(mark).count(), 1);
    // In the directory of the built template, since its paths are relative.
    let template = stack::built().join("local.yaml");
    std::fs::write(&template, built.replace(mark, &endpoints)).unwrap();
    let variables = directory.path().join("variables.json");
    let account = format!("AC{}1", "0".repeat(31));
    let values = json!({ "Parameters": {
        "REACHABILITY_TABLE": table,
        "REACHABILITY_QUEUE_URL": stack.queue_url,
        "REACHABILITY_PUSH_QUEUE_URL": stack.queue_url.replace("-events", "-pushes"),
        "REACHABILITY_WEBHOOK_QUEUE_URL": stack.queue_url.replace("-events", "-webhooks.fifo"),
        "REACHABILITY_DEAD_LETTER_QUEUE_URL": stack.dead_letter_url,
        "REACHABILITY_CREDENTIALS_KEY_SECRET": "local",
        "REACHABILITY_TOPIC_ARN": stack.topic_arn,
        "REACHABILITY_AUTH_TOKEN_SECRET": "local",
        "REACHABILITY_ACCOUNT_SID": account,
    } });
    std::fs::write(&variables, values.to_string()).unwrap();
    let local = |command: &[&str]| {
        let mut local = sam::with_docker(&docker);
        local.arg("local").args(command).args(["--skip-pull-image", "--template-file"]).arg(&template);
        local.arg("--env-vars").arg(&variables).args(["--parameter-overrides", &stack::architecture()]);
        local
    };

    // Each function gets its sample event, in the order in which the samples build on each other.
    make_service(&dynamodb.url(), &table).await;
    let invoke = |function: &str, event: &str| {
        let mut invoke = local(&["invoke", function]);
        invoke.arg("--event").arg(stack::root().join("events").join(event));
        let answer: Value = serde_json::from_slice(&succeed(&mut invoke).stdout).unwrap();
        let body = answer["body"].as_str().map(|body| serde_json::from_str::<Value>(body).unwrap());
        (answer, body.unwrap_or_default())
    };
    let (answer, configuration) = invoke("ConfigurationFunction", "configuration.json");
    assert_eq!((&answer["statusCode"], &configuration["reachability_enabled"]), (&json!(200), &json!(true)));
    let (answer, taken) = invoke("EventsFunction", "events.json");
    assert_eq!((&answer["statusCode"], &taken["accepted"]), (&json!(202), &json!(3)));
    let (answer, _) = invoke("WorkerFunction", "worker.json");
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let (answer, binding) = invoke("BindingsFunction", "bindings.json");
    assert_eq!((&answer["statusCode"], &binding["status"]), (&json!(201), &json!("unconfirmed")));
    let (answer, user) = invoke("UsersFunction", "users.json");
    assert_eq!((&answer["statusCode"], &user["identity"]), (&json!(200), &json!("alice")));
    assert_eq!((&user["is_online"], &user["is_notifiable"]), (&json!(false), &json!(true)));
    let (answer, _) = invoke("PushFunction", "push.json");
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let (answer, _) = invoke("WebhookFunction", "webhook.json");
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let (answer, _) = invoke("FanoutFunction", "fanout.json");
    assert_eq!(answer, json!({ "batchItemFailures": [] }));

    // The functions also run behind a gateway, for the vendor's library.
    let port = ports::free();
    let serve = local(&["start-api", "--port", &port.to_string(), "--warm-containers", "EAGER"]);
    let server = Process::start(&serve);
    let url = format!("http://127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(120);
    let serves = async || reqwest::get(format!("{url}/healthz")).await.is_ok_and(|answer| answer.status() == 200);
    while !serves().await {
        assert!(Instant::now() < deadline, "it does not serve: {}", server.log());
        sleep(Duration::from_millis(200)).await;
    }
    let mut script = clients::python("conversations.py");
    // Names with a slash are left out: unlike AWS, this gateway decodes the path.
    let checks = ["services", "configuration", "notifications", "webhooks", "account_configuration", "users", "paging"];
    script.env("REACHABILITY_GATEWAY", "1").args(checks);
    let api = clients::Api { url: &url, account: &account, token: "local" };
    let output = tokio::task::block_in_place(|| clients::run(script, api));
    clients::passes(&output, checks.len(), &server.log());
}

/// Creates the service that the sample events name.
async fn make_service(endpoint: &str, table: &str) {
    use reachability_domain::directory::ports::Services;
    use reachability_domain::sid::Sid;
    let client = aws_sdk_dynamodb::Client::new(&aws::config(endpoint).await);
    let store = reachability_infra::dynamodb::DynamoStore::new(client, table.to_owned());
    store.create_service(&reachability_tests::harness::new_service(Sid::from_bits(1))).await.unwrap();
}
