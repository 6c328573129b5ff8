//! For how long a registration counts: the setting of its credential over the API, and data of an earlier version, which let
//! every registration count for a year.

use std::path::Path;

use reachability_infra::clock;
use reachability_test_keys as keys;
use reachability_tests::client::Client;
use reachability_tests::providers::{Apple, Google};
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use reqwest::Method;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// Creates a credential that asks nobody. Returns it.
async fn credential(client: &Client, channel: &str, more: &[(&str, &str)]) -> Value {
    let (key, rsa) = (keys::p256(), keys::rsa());
    let account = json!({
        "type": "service_account",
        "project_id": Google::PROJECT_ID,
        "private_key_id": Google::KEY_ID,
        "private_key": rsa,
        "client_email": Google::CLIENT_EMAIL,
    });
    let account = account.to_string();
    let apple = [("PrivateKey", &*key), ("KeyId", Apple::KEY_ID), ("TeamId", Apple::TEAM_ID), ("Topic", Apple::TOPIC)];
    let given = if channel == "apn" { &apple[..] } else { &[("Secret", &*account)] };
    let form = [&[("Type", channel), ("RegistrationCheck", "none")], given, more].concat();
    let (status, made) = client.send(Method::POST, "/v1/Credentials", &form).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// Registers a device of a user. Returns the binding.
async fn register(client: &Client, service: &str, identity: &str, channel: &str, token: &str) -> Value {
    let form = [("Identity", identity), ("BindingType", channel), ("Address", token)];
    let (status, made) = client.send(Method::POST, &format!("/v1/Services/{service}/Bindings"), &form).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// Waits until a binding has this status and reason, and its user this `is_notifiable`.
async fn until(client: &Client, service: &str, binding: &Value, status: &str, reason: Value, notifiable: bool) {
    let (sid, identity) = (binding["sid"].as_str().unwrap(), binding["identity"].as_str().unwrap());
    wait(&format!("{identity}'s device is {status}"), async || {
        let now = client.get(&format!("/v1/Services/{service}/Bindings/{sid}")).await;
        let user = client.get(&format!("/v1/Services/{service}/Users/{identity}")).await;
        let is = now["status"] == status && now["status_reason"] == reason && user["is_notifiable"] == notifiable;
        is.then_some(())
    })
    .await;
}

/// Registrations of this age, in days, as earlier versions have stored them.
fn make_old(directory: &Path, days: i64) {
    let database = Connection::open(directory.join("reachability.db")).unwrap();
    let at = clock::now().as_millis() - days * 86_400_000;
    let bindings =
        "UPDATE bindings SET document = json_set(json_remove(document, '$.lifetime'), '$.registered_at', ?1)";
    assert_eq!(database.execute(bindings, [at]).unwrap(), 2);
    let sids = "SELECT identity, key FROM states, json_each(registrations, '$.d')";
    let mut select = database.prepare(sids).unwrap();
    let sids = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let sids: Vec<(String, String)> = sids.map(Result::unwrap).collect();
    assert_eq!(sids.len(), 2);
    for (identity, sid) in sids {
        let state = "UPDATE states SET registrations = json_set(json_remove(registrations, ?1), ?2, ?3)
            WHERE identity = ?4";
        let written = params![format!("$.d.{sid}.l"), format!("$.d.{sid}.a"), at, identity];
        assert_eq!(database.execute(state, written).unwrap(), 1);
    }
}

#[tokio::test]
async fn registrations_of_an_earlier_version_count_no_longer_than_google_keeps_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    credential(&client, "fcm", &[]).await;
    credential(&client, "apn", &[]).await;
    let android = register(&client, &service, "alice", "fcm", "token").await;
    let iphone = register(&client, &service, "bob", "apn", "00ff").await;
    assert!(server.stop().0.success());
    for (days, is_android_alive, is_iphone_alive) in [(269, true, true), (280, false, true), (366, false, false)] {
        make_old(directory.path(), days);
        let server = Server::start(directory.path(), &[]);
        let client = Client::of(&server);
        for (binding, is_alive) in [(&android, is_android_alive), (&iphone, is_iphone_alive)] {
            let (status, reason) = if is_alive { ("unconfirmed", Value::Null) } else { ("dead", json!("Expired")) };
            until(&client, &service, binding, status, reason, is_alive).await;
        }
        assert!(server.stop().0.success());
    }
    // It counts again once the app registers.
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let again = register(&client, &service, "alice", "fcm", "token").await;
    assert_eq!(again["sid"], android["sid"]);
    until(&client, &service, &again, "unconfirmed", Value::Null, true).await;
}

#[tokio::test]
async fn the_owner_sets_for_how_long_registrations_count() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let fcm = credential(&client, "fcm", &[]).await;
    let apn = credential(&client, "apn", &[("RegistrationDays", "90")]).await;
    assert_eq!((&fcm["registration_days"], &apn["registration_days"]), (&json!(270), &json!(90)));
    let android = register(&client, &service, "alice", "fcm", "token").await;
    let iphone = register(&client, &service, "bob", "apn", "00ff").await;
    for (credential, days) in [
        (&fcm, "271"),
        (&fcm, "0"),
        (&fcm, "-1"),
        (&fcm, "x"),
        (&fcm, ""),
        (&apn, "366"),
        (&apn, "1.5"),
        (&apn, "65537"),
    ] {
        let path = format!("/v2/Credentials/{}", credential["sid"].as_str().unwrap());
        let (status, refused) = client.send(Method::POST, &path, &[("RegistrationDays", days)]).await;
        assert_eq!((status, &refused["code"]), (400, &json!(20001)), "{days}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains("RegistrationDays"), "{refused}");
    }
    assert!(server.stop().0.success());
    make_old(directory.path(), 60);
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    // The scan of the start keeps both. A change is scanned for at once.
    for (binding, of, days) in [(&android, &fcm, "60"), (&iphone, &apn, "30")] {
        until(&client, &service, binding, "unconfirmed", Value::Null, true).await;
        let path = format!("/v1/Credentials/{}", of["sid"].as_str().unwrap());
        let (status, changed) = client.send(Method::POST, &path, &[("RegistrationDays", days)]).await;
        assert_eq!((status, changed["registration_days"].to_string()), (200, days.to_owned()), "{changed}");
        assert_eq!(changed["status"], of["status"], "its keys are the same");
        until(&client, &service, binding, "dead", json!("Expired"), false).await;
    }
    // What has died stays dead by a longer setting.
    let path = format!("/v1/Credentials/{}", apn["sid"].as_str().unwrap());
    client.send(Method::POST, &path, &[("RegistrationDays", "365")]).await;
    let new = register(&client, &service, "carol", "apn", "11ff").await;
    until(&client, &service, &new, "unconfirmed", Value::Null, true).await;
    until(&client, &service, &iphone, "dead", json!("Expired"), false).await;
}
