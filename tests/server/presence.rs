//! The presence of users, over REST.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::raw::encode;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Place {
    client: Client,
    service: String,
    _server: Server,
    _directory: TempDir,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &[]);
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        Self { client, service, _server: server, _directory: directory }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/Services/{}/Presence{rest}", self.service)
    }

    async fn get(&self, rest: &str) -> Value {
        let (status, found) = self.client.send(Method::GET, &self.path(rest), &[]).await;
        assert_eq!(status, 200, "{rest}: {found}");
        found
    }

    async fn set(&self, rest: &str, form: &[(&str, &str)]) -> Value {
        let (status, set) = self.client.send(Method::POST, &self.path(rest), form).await;
        assert_eq!(status, 200, "{rest}: {set}");
        set
    }

    /// Connects or disconnects a user, and waits until that is seen.
    async fn event(&self, identity: &str, kind: &str) {
        self.event_of(identity, "c-1", kind).await;
    }

    async fn event_of(&self, identity: &str, connection: &str, kind: &str) {
        let path = format!("/v1/Services/{}/Events", self.service);
        let mut event = event(&self.service, identity, kind);
        event["connection_id"] = json!(connection);
        event["device"] = json!("Chrome on Android");
        self.client.post(&path, event.to_string()).await;
        let user = format!("/v1/Services/{}/Users/{identity}", self.service);
        let is_online = Value::from(kind == "connect");
        let seen = async || (self.client.get(&user).await["is_online"] == is_online).then_some(());
        wait("the event is handled", seen).await;
    }

    async fn create(&self, form: &[(&str, &str)]) {
        let path = format!("/v1/Services/{}/Users", self.service);
        assert_eq!(self.client.send(Method::POST, &path, form).await.0, 201);
    }

    /// The ids on all pages of this list.
    async fn ids(&self, rest: &str) -> Vec<String> {
        let (mut ids, mut url, mut number) = (Vec::new(), Value::from(self.path(rest)), 0);
        while let Some(next) = url.as_str() {
            let (status, page) = self.client.send(Method::GET, next, &[]).await;
            assert_eq!(status, 200, "{next}: {page}");
            assert_eq!((&page["meta"]["key"], &page["meta"]["page"]), (&json!("users"), &json!(number)));
            assert_eq!(page["meta"]["previous_page_url"], Value::Null);
            ids.extend(page["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()));
            url = page["meta"]["next_page_url"].clone();
            number += 1;
        }
        ids
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn presence_is_read_and_set() {
    let place = Place::new().await;
    let before = clock::now();
    place.event("john", "connect").await;
    place.create(&[("Identity", "jane"), ("FriendlyName", "Jane"), ("Attributes", r#"{"team": "red"}"#)]).await;

    let john = place.get("/john").await;
    let fields: Vec<&String> = john.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "id",
            "name",
            "online",
            "notifiable",
            "status",
            "last_active",
            "created_at",
            "custom",
            "revision",
            "connections",
            "url",
        ]
    );
    assert_eq!(
        json!([john["id"], john["name"], john["online"], john["notifiable"], john["status"], john["custom"]]),
        json!(["john", null, true, null, null, {}])
    );
    let connections = john["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 1);
    assert!(time(&connections[0]["until"]) > before);
    assert_eq!(connections[0]["device"], "Chrome on Android");
    assert!((before..=clock::now()).contains(&time(&connections[0]["since"])), "{john}");
    assert!(time(&john["last_active"]) <= clock::now());
    assert!(john["revision"].as_u64().unwrap() < 1 << 53);
    assert_eq!(place.client.get(john["url"].as_str().unwrap()).await["id"], "john");

    let jane = place.get("/jane").await;
    assert_eq!(
        json!([jane["name"], jane["online"], jane["last_active"], jane["custom"], jane["connections"]]),
        json!(["Jane", null, null, {"team": "red"}, []])
    );

    let set = place.set("/john", &[("Status", "Eating a veggie burger...")]).await;
    assert_eq!((&set["status"], &set["online"]), (&json!("Eating a veggie burger..."), &json!(true)));
    assert!(set["revision"].as_u64() > john["revision"].as_u64());
    assert_eq!(place.get("/john").await, set);
    assert_eq!(place.set("/john", &[]).await, set, "what is not given stays");
    assert_eq!(place.set("/john", &[("Status", "")]).await["status"], Value::Null);

    let (sid, unknown) = ("US".to_owned() + &"0".repeat(32), "nobody".to_owned());
    for user in [sid, unknown] {
        for method in [Method::GET, Method::POST] {
            let (status, error) = place.client.send(method, &place.path(&format!("/{user}")), &[("Status", "x")]).await;
            assert_eq!((status, &error["code"]), (404, &json!(20404)), "{error}");
        }
    }
    let too_long = "é".repeat(129);
    for (form, parameter) in [([("Status", too_long.as_str())], "Status"), ([("Invisible", "maybe")], "Invisible")] {
        let (status, error) = place.client.send(Method::POST, &place.path("/john"), &form).await;
        assert_eq!((status, &error["code"]), (400, &json!(20001)));
        assert!(error["message"].as_str().unwrap().contains(parameter), "{error}");
    }
}

/// Nothing that the owner reads tells an invisible user from one who left, unless it asks by name.
#[tokio::test]
async fn an_invisible_user_looks_offline() {
    let place = Place::new().await;
    for identity in ["gone", "hidden", "here"] {
        place.event(identity, "connect").await;
        place.set(&format!("/{identity}"), &[("Status", "Working")]).await;
    }
    place.event("gone", "disconnect").await;
    let set = place.set("/hidden", &[("Invisible", "true"), ("Status", "Not for others")]).await;
    assert_eq!(set["online"], false);

    // What differs between any two users is taken out.
    let plain = |mut user: Value| {
        for field in ["id", "last_active", "created_at", "revision", "url"] {
            assert!(!user[field].is_null() || field == "url", "{user}");
            user.as_object_mut().unwrap().remove(field);
        }
        user
    };
    let gone = place.get("/gone").await;
    assert_eq!(
        (&gone["online"], &gone["status"], &gone["connections"]),
        (&json!(false), &json!("Working"), &json!([]))
    );
    assert_eq!(plain(place.get("/hidden").await), plain(gone));
    assert_eq!(plain(set), plain(place.get("/gone").await));
    let both = place.get("?Identity=gone&Identity=hidden").await["users"].as_array().unwrap().clone();
    assert_eq!(plain(both[0].clone()), plain(both[1].clone()));
    let encode = |filter: Value| encode(&filter.to_string());
    for (query, expected) in [
        ("?Online=true".to_owned(), vec!["here"]),
        ("?Online=false".to_owned(), vec!["gone", "hidden"]),
        (format!("?Filter={}", encode(json!({"online": {"$ne": true}}))), vec!["gone", "hidden"]),
        (format!("?Filter={}", encode(json!({"last_active": {"$exists": true}}))), vec!["gone", "here", "hidden"]),
    ] {
        assert_eq!(place.ids(&query).await, expected, "{query}");
    }

    let shown = place.get("/hidden?IncludeInvisible=true").await;
    assert_eq!(
        json!([shown["online"], shown["status"], shown["invisible"], shown["connections"].as_array().unwrap().len()]),
        json!([true, "Not for others", true, 1])
    );
    assert_eq!(place.ids("?Online=true&IncludeInvisible=true").await, ["here", "hidden"]);
    assert_eq!(place.get("?IncludeInvisible=true&Identity=here").await["users"][0]["invisible"], false);

    // It stays so until it is set otherwise.
    place.event_of("gone", "c-2", "connect").await;
    assert_eq!(place.ids("?Online=true").await, ["gone", "here"]);
    let set = place.set("/hidden", &[("Invisible", "false")]).await;
    assert_eq!(json!([set["online"], set["status"]]), json!([true, "Not for others"]));
    assert_eq!(place.ids("?Online=true").await, ["gone", "here", "hidden"]);
}

#[tokio::test]
async fn users_are_found() {
    let place = Place::new().await;
    for (identity, name, attributes) in [
        ("ann", "Ann Smith", r#"{"team": "red", "age": 31}"#),
        ("bob", "Bob Jones", r#"{"team": "red", "age": 7}"#),
        ("cy", "Cy Young", r#"{"team": "blue"}"#),
        ("dan & co", "", "[1]"),
    ] {
        place.create(&[("Identity", identity), ("FriendlyName", name), ("Attributes", attributes)]).await;
    }
    place.event("bob", "connect").await;
    let param = |name: &str, value: Value| format!("{name}={}", encode(&value.to_string()));
    let filter = |filter: Value| param("Filter", filter);
    for (query, expected) in [
        (String::new(), vec!["ann", "bob", "cy", "dan & co"]),
        ("Identity=dan+%26+co&Identity=ann&Identity=nobody".to_owned(), vec!["ann", "dan & co"]),
        ("Online=true".to_owned(), vec!["bob"]),
        (filter(json!({"team": "red", "age": {"$gte": 30}})), vec!["ann"]),
        (
            filter(json!({"$or": [{"name": {"$autocomplete": "sm"}}, {"id": {"$autocomplete": "CO"}}]})),
            vec!["ann", "dan & co"],
        ),
        (filter(json!({"name": null})), vec!["dan & co"]),
        (filter(json!({})) + "&" + &param("Sort", json!({"age": -1})), vec!["ann", "bob", "cy", "dan & co"]),
        (param("Sort", json!([{"team": 1}, {"age": 1}])), vec!["cy", "bob", "ann", "dan & co"]),
        (
            filter(json!({"id": {"$in": ["cy", "bob", "x"]}})) + "&" + &param("Sort", json!({"id": -1})),
            vec!["cy", "bob"],
        ),
    ] {
        assert_eq!(place.ids(&format!("?{query}")).await, expected, "{query}");
        for size in 1..3 {
            assert_eq!(place.ids(&format!("?PageSize={size}&{query}")).await, expected, "{size} at once: {query}");
        }
    }

    let many: String = (0..101).map(|n| format!("&Identity=u{n}")).collect();
    let first = place.get("?PageSize=1").await["meta"]["next_page_url"].as_str().unwrap().to_owned();
    let token = first.split("PageToken=").nth(1).unwrap().to_owned();
    for (query, message) in [
        ("Filter=%7B".to_owned(), "Filter: expected JSON"),
        (filter(json!({"age": {"$regex": 1}})), "Filter: there is no operator $regex"),
        (filter(json!({"created_at": "now"})), "Filter: created_at is a time"),
        (param("Sort", json!({"age": 0})), "Sort: the direction of age"),
        ("PageToken=x".to_owned(), "PageToken: not a cursor"),
        (format!("PageToken={token}&{}", param("Sort", json!({"age": 1}))), "PageToken: not a cursor"),
        ("Identity=ann&Online=true".to_owned(), "only one of Identity, Online and Filter"),
        (filter(json!({})) + "&Online=true&Identity=a", "only one of Identity, Online and Filter"),
        (many[1..].to_owned(), "Identity: expected at most 100"),
        ("Identity=".to_owned(), "Missing required parameter Identity"),
        ("Online=yes".to_owned(), "Online: expected true or false"),
    ] {
        let (status, error) = place.client.send(Method::GET, &place.path(&format!("?{query}")), &[]).await;
        assert_eq!((status, &error["code"]), (400, &json!(20001)), "{query}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }
    let nowhere = place.path("").replace(&place.service, &format!("IS{}", "0".repeat(32)));
    assert_eq!(place.client.send(Method::GET, &nowhere, &[]).await.0, 404);
    assert_eq!(place.client.with_credentials("x", "y").send(Method::GET, &place.path(""), &[]).await.0, 401);
}

/// Who is online is told by nobody while reachability is off.
#[tokio::test]
async fn nobody_is_online_while_reachability_is_off() {
    let place = Place::new().await;
    place.event("john", "connect").await;
    assert_eq!(place.ids("?Online=true").await, ["john"]);
    let configuration = format!("/v1/Services/{}/Configuration", place.service);
    place.client.post(&configuration, "ReachabilityEnabled=false").await;
    assert_eq!(place.ids("?Online=true").await, Vec::<String>::new());
    let john = place.get("/john").await;
    assert_eq!((&john["online"], &john["last_active"]), (&Value::Null, &Value::Null));
}
