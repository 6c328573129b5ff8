//! Channels and their members, over REST.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use reachability_tests::client::Client;
use reachability_tests::raw::encode;
use reachability_tests::server::Server;
use reqwest::Method;
use serde_json::{Value, json};

/// The items with this key on all pages of this list.
async fn all(client: &Client, path: &str, key: &str) -> Vec<Value> {
    let (mut items, mut url) = (Vec::new(), Value::from(path));
    while let Some(next) = url.as_str() {
        let (status, page) = client.send(Method::GET, next, &[]).await;
        assert_eq!(status, 200, "{next}: {page}");
        assert_eq!(page["meta"]["key"], key);
        items.extend(page[key].as_array().unwrap().iter().cloned());
        url = page["meta"]["next_page_url"].clone();
    }
    items
}

#[tokio::test]
async fn channels_are_kept_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let channels = format!("/v1/Services/{service}/Channels");
    let general = format!("{channels}/messaging/general");
    let custom = r#"{"color": "green"}"#;
    let form =
        [("Type", "messaging"), ("Id", "general"), ("Custom", custom), ("Identity", "john"), ("Identity", "jack")];
    let (status, created) = client.send(Method::POST, &channels, &form).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(
        json!([
            created["service_sid"],
            created["type"],
            created["id"],
            created["cid"],
            created["member_count"],
            created["custom"],
            created["created_by"],
            created["last_message_at"]
        ]),
        json!([service, "messaging", "general", "messaging:general", 2, {"color": "green"}, null, null])
    );
    assert_eq!(client.get(created["url"].as_str().unwrap()).await, created);
    let (status, again) = client.send(Method::POST, &channels, &form).await;
    assert_eq!((status, &again["code"]), (409, &json!(50307)), "{again}");

    let said = [("LastMessageAt", "2026-11-20T11:00:00+01:00")];
    let (status, changed) = client.send(Method::POST, &general, &said).await;
    assert_eq!((status, &changed["last_message_at"]), (200, &json!("2026-11-20T10:00:00.000Z")), "{changed}");
    assert_eq!(changed["custom"], json!({"color": "green"}), "what is not given stays");
    let (_, changed) = client.send(Method::POST, &general, &[("LastMessageAt", ""), ("Custom", "")]).await;
    assert_eq!((&changed["last_message_at"], &changed["custom"]), (&Value::Null, &json!({})));

    let members = format!("{general}/Members");
    let (status, added) = client.send(Method::POST, &members, &[("Identity", "jack"), ("Identity", "jane & co")]).await;
    assert_eq!((status, &added["member_count"]), (200, &json!(3)), "{added}");
    server.stop();

    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    assert_eq!(client.get(&general).await["member_count"], 3);
    let listed = all(&client, &format!("{members}?PageSize=2"), "members").await;
    let identities: Vec<&str> = listed.iter().map(|member| member["identity"].as_str().unwrap()).collect();
    assert_eq!(identities, ["jack", "jane & co", "john"]);
    let jane = listed[1]["url"].as_str().unwrap();
    client.delete(jane).await;
    assert_eq!(client.send(Method::DELETE, jane, &[]).await.0, 404);
    assert_eq!(client.get(&general).await["member_count"], 2);
    client.delete(&general).await;
    for (method, path) in [
        (Method::GET, &general),
        (Method::POST, &general),
        (Method::DELETE, &general),
        (Method::GET, &members),
        (Method::POST, &members),
    ] {
        let (status, error) = client.send(method.clone(), path, &[("Identity", "x")]).await;
        assert_eq!((status, &error["code"]), (404, &json!(20404)), "{method} {path}: {error}");
    }
}

#[tokio::test]
async fn channels_are_found_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let channels = format!("/v1/Services/{service}/Channels");
    for (kind, id, color, members) in [
        ("messaging", "a", "green", &["john", "jack"][..]),
        ("messaging", "b", "red", &["john"]),
        ("team", "a", "green", &[]),
    ] {
        let custom = json!({"color": color}).to_string();
        let mut form = vec![("Type", kind), ("Id", id), ("Custom", &custom)];
        form.extend(members.iter().map(|member| ("Identity", *member)));
        assert_eq!(client.send(Method::POST, &channels, &form).await.0, 201);
    }
    let param = |name: &str, value: Value| format!("{name}={}", encode(&value.to_string()));
    for (query, expected) in [
        (String::new(), "messaging:a messaging:b team:a"),
        (param("Filter", json!({"members": {"$in": ["jack", "jill"]}})), "messaging:a"),
        (param("Filter", json!({"members": "john", "color": "red"})), "messaging:b"),
        (param("Filter", json!({"cid": "team:a"})), "team:a"),
        (param("Filter", json!({"id": "a"})) + "&" + &param("Sort", json!({"type": -1})), "team:a messaging:a"),
        (param("Sort", json!([{"member_count": 1}])), "team:a messaging:b messaging:a"),
    ] {
        for size in [50, 1] {
            let found = all(&client, &format!("{channels}?PageSize={size}&{query}"), "channels").await;
            let cids: Vec<&str> = found.iter().map(|channel| channel["cid"].as_str().unwrap()).collect();
            assert_eq!(cids.join(" "), expected, "{query}");
        }
    }
    let too_long = json!({"x": "y".repeat(5_000)}).to_string();
    for (form, message) in [
        (vec![("Id", "x")], "Missing required parameter Type"),
        (vec![("Type", "m")], "Missing required parameter Id"),
        (vec![("Type", "m"), ("Id", "a b")], "Id: expected 1 to 64"),
        (vec![("Type", "m:n"), ("Id", "a")], "Type: expected 1 to 64"),
        (vec![("Type", "m"), ("Id", "a"), ("Custom", "[]")], "Custom: expected a JSON object"),
        (vec![("Type", "m"), ("Id", "a"), ("Custom", "null")], "Custom: expected a JSON object"),
        (vec![("Type", "m"), ("Id", "a"), ("Custom", r#"{"members": []}"#)], "the name members is reserved"),
        (vec![("Type", "m"), ("Id", "a"), ("Custom", &too_long)], "more than 4096 bytes"),
        (vec![("Type", "m"), ("Id", "a"), ("LastMessageAt", "now")], "LastMessageAt: not a time"),
    ] {
        let (status, error) = client.send(Method::POST, &channels, &form).await;
        assert_eq!((status, &error["code"]), (400, &json!(20001)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }
    let broad = param("Filter", json!({"members": {"$gt": "a"}}));
    let (status, error) = client.send(Method::GET, &format!("{channels}?{broad}"), &[]).await;
    assert_eq!((status, error["message"].as_str().unwrap().ends_with("$gt does not apply to members")), (400, true));
    let (status, error) = client.send(Method::POST, &format!("{channels}/team/a/Members"), &[]).await;
    assert_eq!((status, &error["code"]), (400, &json!(20001)));
    // Chat's list has nothing to do with them.
    assert_eq!(client.get(&format!("/v2/Services/{service}/Channels")).await["channels"], json!([]));

    // Requests of a hundred members each fill a channel no further than its limit allows.
    let full = format!("{channels}/team/a/Members");
    for hundred in 0..101 {
        let members: String = (0..100).map(|n| format!("Identity=u{}&", 100 * hundred + n)).collect();
        let (status, answer) = client.answer(&full, members).await.unwrap();
        if hundred < 100 {
            assert_eq!((status, &answer["member_count"]), (200, &json!(100 * (hundred + 1))), "{answer}");
        } else {
            assert_eq!((status, &answer["code"]), (400, &json!(20001)), "{answer}");
            assert!(answer["message"].as_str().unwrap().contains("at most 10000 members"), "{answer}");
        }
    }
    client.delete(&format!("/v1/Services/{service}")).await;
    assert_eq!(client.send(Method::GET, &channels, &[]).await.0, 404);
}
