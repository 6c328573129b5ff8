//! A client of the vendor's and one of ours, which watch the same users: at every quiet moment both agree with REST and with the
//! log of changes.

use reachability_client::{Client, ConnectUser, Event, Options, QueryOptions, UserChange};
use reachability_tests::changes::changes_after;
use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::{Value, json};

/// Who watches.
struct Watchers<'a> {
    place: &'a Place,
    alice: Live<'a>,
    jane: Client,
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
        let (user, profile) = (last(&changes, "user"), last(&changes, "profile"));
        let told = [&user["is_online"], &user["is_notifiable"], &profile["profile"]["friendly_name"], &user["status"]];
        assert_eq!(json!(told), expected, "{user} {profile}");
    }
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
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let place = &Place::new(&server).await;
    let program = Program::shared(Library::Conversations).await;
    for identity in ["john", "jack"] {
        place.post("Users", &format!("Identity={identity}")).await;
    }
    let alice = Live::start(program, place, "alice").await;
    let jane = connect(program, place, "jane").await;
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let watch = jane.query_users(json!({"id": {"$in": ["john", "jack"]}}), Value::Null, options).await.unwrap();
    let mut events = jane.events();
    let all = Watchers { place, alice, jane };
    for identity in ["john", "jack"] {
        all.agree(identity, json!([null, null, null, null])).await;
    }

    // On the one device john has the vendor's client, on the other ours.
    let phone = Live::start(program, place, "john").await;
    all.agree("john", json!([true, null, null, null])).await;
    phone.call_own_user("updateFriendlyName", json!(["Johnny"])).await.unwrap();
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
    place.post("Users/john", "FriendlyName=John").await;
    all.agree("john", json!([false, true, "John", "Lunch"])).await;
    laptop.set_user(set(None, Some(false))).await.unwrap();
    all.agree("john", json!([true, true, "John", "Secret"])).await;

    let tablet = connect(program, place, "jack").await;
    all.agree("jack", json!([true, null, null, null])).await;
    place.post("Presence/jack", "Status=On+call").await;
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
    let mut expected = ["presence", "profile", "presence", "presence", "presence", "profile", "presence"]
        .map(|what| format!("{what} of john"))
        .to_vec();
    expected.extend(["presence of jack"; 3].map(str::to_owned));
    expected.extend(["presence of john", "end"].map(str::to_owned));
    assert_eq!(heard, expected, "each once");
    drop(watch);
}
