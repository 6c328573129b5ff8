//! A client of the vendor's and one of ours, which watch the same users: at every quiet moment both agree with REST, the webhooks,
//! the stream of changes, and the log of changes.

use std::sync::{Arc, Mutex};

use reachability_client::{Client, ConnectUser, Event, Options, QueryOptions, UserChange};
use reachability_tests::changes::changes_after;
use reachability_tests::client::answer_to;
use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::receiver::{Inbox, Receiver, Webhook};
use reachability_tests::server::Server;
use reachability_tests::stream::Stream;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};

/// Who watches, and who else is told.
struct Watchers<'a> {
    place: &'a Place,
    alice: Live<'a>,
    jane: Client,
    webhooks: Inbox,
    /// What came on the stream since the service is there.
    streamed: Arc<Mutex<Vec<Value>>>,
}

impl Watchers<'_> {
    /// Waits until both see this of a user: whether it is online and notifiable, its friendly name and its status, which the
    /// vendor's client does not know. Fails unless everything that can be read says the same.
    async fn agree(&self, identity: &str, expected: Value) {
        let without_status = json!(expected.as_array().unwrap()[..3]);
        let of_jane = async || {
            let user = self.jane.user(identity).unwrap().user;
            let seen = json!([user.online, user.notifiable, user.name, user.status]);
            (seen == expected).then(|| serde_json::to_value(&*user).unwrap())
        };
        let seen = wait(&format!("jane sees {expected} of {identity}"), of_jane).await;
        let of_alice = async || {
            let user = self.alice.user(identity).await;
            (json!([user["isOnline"], user["isNotifiable"], user["friendlyName"]]) == without_status).then_some(())
        };
        wait(&format!("alice sees {expected} of {identity}"), of_alice).await;

        let Place { client, service, .. } = self.place;
        let user = client.get(&self.place.path(&format!("Users/{identity}"))).await;
        assert_eq!(json!([user["is_online"], user["is_notifiable"], user["friendly_name"]]), without_status);
        let presence = client.get(&self.place.path(&format!("Presence/{identity}"))).await;
        // A device that comes or goes beside another one is a write that nobody is told of.
        assert!(presence["revision"].as_u64() >= seen["revision"].as_u64(), "{presence} {seen}");
        for (name, value) in seen.as_object().unwrap() {
            // This one moves on while the user is online.
            let may_differ = name == "revision" || (name == "last_active" && expected[0] == true);
            assert!(may_differ || presence[name] == *value, "{name}: {presence} {seen}");
        }
        let last = |changes: &[Value], kind: &str| {
            let of_it = |change: &&Value| change["type"] == kind && change["identity"] == identity;
            changes.iter().rev().find(of_it).cloned().unwrap_or_default()
        };
        let (changes, _) = changes_after(client, service, None).await;
        let streamed = async || Some(self.streamed.lock().unwrap().clone()).filter(|all| all.len() >= changes.len());
        assert_eq!(wait("the stream tells it", streamed).await, changes, "{identity}");
        let has_told = async || (self.webhook(identity) == without_status).then_some(());
        let what = format!("a webhook says {without_status} of {identity}: {:?}", self.webhooks.all().last());
        wait(&what, has_told).await;
        let (user, profile) = (last(&changes, "user"), last(&changes, "profile"));
        let told = [&user["is_online"], &user["is_notifiable"], &profile["profile"]["friendly_name"], &user["status"]];
        assert_eq!(json!(told), expected, "{user} {profile}");
    }

    /// What the last webhook has said of a user: whether it is online and notifiable, and its friendly name.
    fn webhook(&self, identity: &str) -> Value {
        let all = self.webhooks.all();
        let Some(last) = all.iter().rev().find(|webhook| webhook.get("Identity") == identity) else {
            return json!([null, null, null]);
        };
        let flag = |name: &str| last.parameters.get(name).map(|value| value == "true");
        json!([flag("IsOnline"), flag("IsNotifiable"), last.parameters.get("FriendlyName")])
    }

    /// Sets something of a user over REST, and has webhooks tell it.
    async fn post(&self, rest: &str, form: &str) {
        let request = self.place.client.request(Method::POST, &self.place.path(rest));
        let request = request.header("X-Twilio-Webhook-Enabled", "true");
        let form_type = ("content-type", "application/x-www-form-urlencoded");
        let answer = answer_to(request.header(form_type.0, form_type.1).body(form.to_owned())).await;
        assert_eq!(answer.map(|(status, _)| status), Some(200));
    }
}

/// Has everything told by webhooks and by a stream.
async fn listen(place: &Place, receiver: &Receiver) -> Arc<Mutex<Vec<Value>>> {
    let form = [
        ("PostWebhookUrl", receiver.url("/hook")),
        ("Filters", "onUserAdded".to_owned()),
        ("Filters", "onUserUpdated".to_owned()),
    ];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, answer) = place.client.send(Method::POST, &place.path("Configuration/Webhooks"), &form).await;
    assert_eq!(status, 200, "{answer}");
    let (told, _) = changes_after(&place.client, &place.service, None).await;
    let last = told.last().and_then(|change| change["id"].as_u64());
    let streamed = Arc::new(Mutex::new(told));
    let mut stream = Stream::open(&place.client, &place.service, "", last).await.unwrap();
    let all = streamed.clone();
    // It ends with the server.
    tokio::spawn(async move {
        while let Some(change) = stream.next_change().await {
            all.lock().unwrap().push(change);
        }
    });
    streamed
}

async fn connect(program: &Program, place: &Place, identity: &str) -> Client {
    let url = format!("{}/v1/Socket", place.url.replacen("http", "ws", 1));
    let user = ConnectUser { id: Some(identity.to_owned()), ..ConnectUser::default() };
    // It is the same token as for the vendor's client.
    let token = place.token(program, identity).await;
    Client::connect(Options { user, ..Options::new(url, token) }).await.unwrap()
}

fn set(status: Option<&str>, invisible: Option<bool>) -> UserChange {
    UserChange { status: status.map(str::to_owned), invisible }
}

#[tokio::test]
async fn both_agree_at_every_quiet_moment() {
    play(Library::Conversations).await;
}

#[tokio::test]
async fn the_oldest_client_and_ours_agree_as_well() {
    play(Library::Chat).await;
}

async fn play(library: Library) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let place = &Place::new(&server).await;
    let receiver = Receiver::start().await;
    let streamed = listen(place, &receiver).await;
    let program = Program::shared(library).await;
    for identity in ["john", "jack"] {
        place.post("Users", &format!("Identity={identity}")).await;
    }
    let alice = Live::start(program, place, "alice").await;
    let jane = connect(program, place, "jane").await;
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let watch = jane.query_users(json!({"id": {"$in": ["john", "jack"]}}), Value::Null, options).await.unwrap();
    let mut events = jane.events();
    let all = Watchers { place, alice, jane, webhooks: receiver.inbox.clone(), streamed };
    for identity in ["john", "jack"] {
        all.agree(identity, json!([null, null, null, null])).await;
    }

    // On the one device john has the vendor's client, on the other ours.
    let phone = Live::start(program, place, "john").await;
    all.agree("john", json!([true, null, null, null])).await;
    phone.call_own_user("updateFriendlyName", json!(["Johnny"])).await.unwrap();
    all.agree("john", json!([true, null, "Johnny", null])).await;
    phone.call_own_user("updateAttributes", json!([{"team": "red"}])).await.unwrap();
    let in_red = async || (all.jane.user("john").unwrap().user.custom.get("team") == Some(&json!("red"))).then_some(());
    wait("jane sees john's team", in_red).await;
    all.agree("john", json!([true, null, "Johnny", null])).await;
    let laptop = connect(program, place, "john").await;
    assert_eq!(laptop.me().user.name.as_deref(), Some("Johnny"));
    laptop.set_user(set(Some("Lunch"), None)).await.unwrap();
    all.agree("john", json!([true, null, "Johnny", "Lunch"])).await;
    phone.call("setPushRegistrationId", json!(["fcm", "token-of-john"])).await.unwrap();
    all.agree("john", json!([true, true, "Johnny", "Lunch"])).await;

    // The vendor's client cannot say that its user is invisible, but ours says it for both.
    laptop.set_user(set(Some("Secret"), Some(true))).await.unwrap();
    all.agree("john", json!([false, true, "Johnny", "Lunch"])).await;
    all.post("Users/john", "FriendlyName=John").await;
    all.agree("john", json!([false, true, "John", "Lunch"])).await;
    laptop.set_user(set(None, Some(false))).await.unwrap();
    all.agree("john", json!([true, true, "John", "Secret"])).await;

    let tablet = connect(program, place, "jack").await;
    all.agree("jack", json!([true, null, null, null])).await;
    all.post("Presence/jack", "Status=On+call").await;
    all.agree("jack", json!([true, null, null, "On call"])).await;
    tablet.goodbye().await;
    all.agree("jack", json!([false, null, null, "On call"])).await;

    phone.call("shutdown", json!([])).await.unwrap();
    all.agree("john", json!([true, true, "John", "Secret"])).await;
    laptop.goodbye().await;
    all.agree("john", json!([false, true, "John", "Secret"])).await;

    all.jane.goodbye().await;
    let mut heard = vec![];
    while let Some(event) = events.next().await {
        match event {
            Event::PresenceChanged { user, .. } => heard.push(format!("presence of {}", user.id)),
            Event::UserUpdated { user, .. } => heard.push(format!("profile of {}", user.id)),
            other => heard.push(if matches!(other, Event::ConnectionChanged(_)) {
                "end".into()
            } else {
                format!("{other:?}")
            }),
        }
    }
    let mut expected = ["presence", "profile", "profile", "presence", "presence", "presence", "profile", "presence"]
        .map(|what| format!("{what} of john"))
        .to_vec();
    expected.extend(["presence of jack"; 3].map(str::to_owned));
    expected.extend(["presence of john", "end"].map(str::to_owned));
    assert_eq!(heard, expected, "each once");
    // Webhooks tell each change once, and nothing that others do not see.
    let of = |identity: &str| {
        let of_it = |webhook: &&Webhook| webhook.get("Identity") == identity;
        let what = |webhook: &Webhook| (webhook.get("IsOnline").to_owned(), webhook.get("Reason").to_owned());
        receiver.inbox.all().iter().filter(of_it).map(what).collect::<Vec<_>>()
    };
    let expected = |told: &[(&str, &str)]| {
        told.iter().map(|(online, reason)| ((*online).to_owned(), (*reason).to_owned())).collect::<Vec<_>>()
    };
    let of_john = [
        ("true", "connect"),
        ("true", "own_profile"),
        ("true", "own_profile"),
        ("true", "status"),
        ("true", "registered"),
        ("false", "client_closed"),
        ("false", "profile"),
        ("true", "connect"),
        ("false", "client_closed"),
    ];
    assert_eq!(of("john"), expected(&of_john));
    assert_eq!(of("jack"), expected(&[("true", "connect"), ("true", "status"), ("false", "client_closed")]));
    drop(watch);
}
