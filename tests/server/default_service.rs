//! The account's default service. It is shown before it is stored, stored by the first write, and has a new sid after a
//! deletion.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::server::Server;
use serde_json::{Value, json};

async fn default_sid(client: &Client) -> String {
    client.get("/v1/Configuration").await["default_chat_service_sid"].as_str().unwrap().to_owned()
}

/// The sids of the services that are stored.
async fn listed(client: &Client) -> Vec<String> {
    let services = client.get("/v1/Services").await["services"].clone();
    services.as_array().unwrap().iter().map(|service| service["sid"].as_str().unwrap().to_owned()).collect()
}

/// What is shown of a service, on all paths.
async fn shown(client: &Client, sid: &str) -> Vec<Value> {
    let mut shown = vec![];
    for path in [
        format!("/v1/Services/{sid}"),
        format!("/v1/Services/{sid}/Configuration"),
        format!("/v1/Services/{sid}/Configuration/Notifications"),
        format!("/v1/Services/{sid}/Configuration/Webhooks"),
        format!("/v1/Services/{sid}/Users"),
        format!("/v1/Services/{sid}/Bindings"),
        format!("/v2/Services/{sid}"),
        "/v1/Configuration".to_owned(),
        "/v1/Users".to_owned(),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(answer["code"], json!(null), "{path}: {answer}");
        shown.push(answer);
    }
    shown
}

#[tokio::test]
async fn the_default_service_is_shown_before_it_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    // The server has stored the first one, since it prints its sid when it starts.
    let first = default_sid(&client).await;
    assert_eq!(listed(&client).await, [first.as_str()]);
    client.delete(&format!("/v1/Services/{first}")).await;

    let second = default_sid(&client).await;
    assert_ne!(second, first);
    let before = shown(&client, &second).await;
    assert_eq!(shown(&client, &second).await, before, "it is shown alike every time");
    assert_eq!(listed(&client).await, [""; 0], "a GET writes nothing");
    assert_eq!(client.get(&format!("/v1/Services/{first}")).await["code"], 20404);

    // A refused request, and one that changes nothing, write nothing either.
    let configuration = format!("/v1/Services/{second}/Configuration");
    let (status, _) = client.answer(&configuration, "ReachabilityEnabled=maybe".to_owned()).await.unwrap();
    assert_eq!(status, 400);
    client.post(&configuration, "ReachabilityEnabled=false").await;
    assert_eq!(listed(&client).await, [""; 0]);

    let user = client.post("/v1/Users", "Identity=alice").await;
    assert_eq!(user["chat_service_sid"], second.as_str());
    assert_eq!(user["role_sid"], before[1]["default_chat_service_role_sid"]);
    assert_eq!(listed(&client).await, [second.as_str()]);
    assert_eq!(client.get(&format!("/v1/Services/{second}")).await, before[0], "it is stored as it was shown");
    assert_eq!(client.get(&configuration).await, before[1]);
}

#[tokio::test]
async fn every_first_write_into_the_default_service_stores_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let other = client.post("/v1/Services", "FriendlyName=other").await["sid"].as_str().unwrap().to_owned();
    let mut before = vec![];
    for (path, body) in [
        ("/v1/Services/{IS}/Configuration", "ReachabilityEnabled=true".to_owned()),
        ("/v2/Services/{IS}", "FriendlyName=mine".to_owned()),
        ("/v1/Services/{IS}/Users", "Identity=alice".to_owned()),
        ("/v1/Services/{IS}/Events", String::new()),
        ("/v1/Services/{IS}/Bindings", "Identity=alice&BindingType=fcm&Address=token".to_owned()),
        ("/v1/Services/{IS}/Notifications", "Identity=alice&Body=x".to_owned()),
        // It was shown as a service, and remains one if the owner chooses another as the default.
        ("/v1/Configuration", format!("DefaultChatServiceSid={other}")),
    ] {
        let deleted = default_sid(&client).await;
        client.delete(&format!("/v1/Services/{deleted}")).await;
        before.push(deleted);
        let sid = default_sid(&client).await;
        assert!(!before.contains(&sid), "{path}: {sid} is used again");
        let body = if body.is_empty() { event(&sid, "alice", "connect").to_string() } else { body };
        client.post(&path.replace("{IS}", &sid), body).await;
        let listed = listed(&client).await;
        assert!(listed.contains(&sid), "{path}: {listed:?}");
    }
    assert_eq!(default_sid(&client).await, other);
}
