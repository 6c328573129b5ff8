//! The secrets of API keys: no file of the data directory has them in the clear.

use std::fs;
use std::path::Path;

use reachability_domain::directory::ports::ApiKeys;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_infra::sqlite::SqliteStore;
use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::queues::database;
use reachability_tests::server::Server;
use reqwest::Method;

use super::stop;

/// The files of a directory in which one of these texts stands.
fn holding(data: &Path, texts: &[String]) -> Vec<String> {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let holds = |path: &Path| {
        let content = fs::read(path).unwrap();
        texts.iter().any(|text| memchr::memmem::find(&content, text.as_bytes()).is_some())
    };
    files.filter(|path| holds(path)).map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn no_file_has_the_secret_of_an_api_key() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    let service = client.enabled_service().await;
    let path = format!("/2010-04-01/Accounts/{}/Keys", server.account);
    let mut made = vec![];
    for name in ["one", "two", "three"] {
        let (status, key) = client.send(Method::POST, &format!("{path}.json"), &[("FriendlyName", name)]).await;
        assert_eq!(status, 201, "{key}");
        made.push(["sid", "secret"].map(|member| key[member].as_str().unwrap().to_owned()));
    }
    // The command makes a key as well.
    let arguments = ["token", "--service", &service, "--identity", "alice", "--data-dir", data.to_str().unwrap()];
    assert_eq!(run(&mut reachability(&arguments), b"").code, Some(0));
    let page = PageRequest { position: Cursor::Start, limit: 10 };
    let stored = SqliteStore::new(database(data)).keys(page).await.unwrap().items;
    let secrets: Vec<String> = stored.iter().map(|key| key.secret.expose().to_owned()).collect();
    assert!(secrets.len() == 4 && made.iter().all(|[_, secret]| secrets.contains(secret)), "{stored:?}");
    let nowhere: [String; 0] = [];
    assert_eq!(holding(data, &secrets), nowhere, "after they were made");
    assert!(!holding(data, &["reachability token".to_owned()]).is_empty(), "the keys are in these files");

    let [sid, secret] = &made[0];
    let renamed = client.send(Method::POST, &format!("{path}/{sid}.json"), &[("FriendlyName", "new")]).await;
    assert_eq!(renamed.0, 200, "{}", renamed.1);
    assert_eq!(client.with_credentials(sid, secret).send(Method::GET, "/v1/Services", &[]).await.0, 200);
    client.delete(&format!("{path}/{}.json", made[1][0])).await;
    assert_eq!(holding(data, &secrets), nowhere, "after one was deleted");
    server.kill();
    let server = Server::start(data, &[]);
    let client = Client::of(&server);
    assert_eq!(client.with_credentials(sid, secret).send(Method::GET, "/v1/Services", &[]).await.0, 200);
    client.delete(&format!("{path}/{sid}.json")).await;
    let logs = stop(server);
    assert_eq!(holding(data, &secrets), nowhere, "after the end");
    assert!(!secrets.iter().any(|secret| logs.contains(secret)), "{logs}");
}
