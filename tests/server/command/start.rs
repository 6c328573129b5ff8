//! What it prints when it starts, and what later starts keep.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::server::Server;
use reqwest::Method;
use serde_json::{Value, json};

use super::{serve, stop};

/// Pastes a line with `curl` into a shell, and types this when it asks for a password. Returns the answer.
#[track_caller]
fn paste(line: &str, typed: &str) -> Value {
    // In its own session the shell has no terminal, so `curl` reads the password from standard input.
    let mut shell = Command::new("setsid");
    shell.args(["--wait", "sh", "-c", line]).env("no_proxy", "127.0.0.1").stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = run(&mut shell, format!("{typed}\n").as_bytes());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn curl_line(greeting: &str) -> Option<&str> {
    greeting.lines().map(str::trim).find(|line| line.starts_with("curl "))
}

#[tokio::test]
async fn the_first_start_prints_all_that_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("some where").join("alice's data");
    let server = serve(&data, &["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()], &[]);
    let greeting = server.greeting.clone();
    let path = data.canonicalize().unwrap();
    for text in [&server.url, &server.account, &server.token, path.to_str().unwrap(), "account.json"] {
        assert!(greeting.contains(text), "no {text:?} in {greeting}");
    }

    // The line works as it is, also twice. It must not contain the token, since the shell keeps it in its history.
    let line = curl_line(&greeting).unwrap();
    assert!(!line.contains(&server.token), "{line}");
    let configuration = |url: &str| {
        json!({
            "url": url,
            "links": { "notifications": format!("{url}/Notifications"), "webhooks": format!("{url}/Webhooks") },
            "reachability_enabled": true,
        })
    };
    let url = line.split('\'').find(|word| word.starts_with("http")).unwrap();
    for _ in 0..2 {
        let mut shown = paste(line, "");
        let members = shown.as_object_mut().unwrap();
        let service = members.remove("chat_service_sid").unwrap();
        assert!(url.contains(service.as_str().unwrap()), "{url}");
        for role in
            ["default_conversation_creator_role_sid", "default_conversation_role_sid", "default_chat_service_role_sid"]
        {
            assert!(members.remove(role).unwrap().as_str().unwrap().starts_with("RL"), "{role}");
        }
        assert_eq!(shown, configuration(url));
    }
    stop(server);
}

/// The owner knows a token that the owner chose, so `curl` asks for it. It may contain special characters of a shell.
#[test]
fn the_greeting_asks_for_a_token_that_the_owner_chose() {
    let directory = tempfile::tempdir().unwrap();
    let token = r#"a"token\with'$TOKEN`and&more!"#;
    let data = directory.path().to_str().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data];
    for (by_flag, variables) in
        [(&["--auth-token", token] as &[_], &[] as &[_]), (&[], &[("REACHABILITY_AUTH_TOKEN", token)])]
    {
        let server = serve(directory.path(), &[&arguments, by_flag].concat(), variables);
        assert!(!server.greeting.contains(token), "{}", server.greeting);
        assert_eq!(paste(curl_line(&server.greeting).unwrap(), token)["reachability_enabled"], true);
        stop(server);
        fs::remove_file(directory.path().join("account.json")).unwrap();
    }
}

#[test]
fn only_the_first_start_in_a_directory_says_that_the_account_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    let mut accounts = vec![];
    for (data, is_new) in [(&one, true), (&one, false), (&other, true)] {
        let server = Server::start(data, &[]);
        for words in ["a new one was made", "--data-dir", "another account"] {
            assert_eq!(server.greeting.contains(words), is_new, "{words}: {}", server.greeting);
        }
        accounts.push(server.account.clone());
        stop(server);
    }
    assert!(accounts[0] == accounts[1] && accounts[1] != accounts[2], "{accounts:?}");
}

#[tokio::test]
async fn the_second_start_keeps_everything_and_prints_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(directory.path(), &[]);
    let (account, token) = (first.account.clone(), first.token.clone());
    let service = Client::of(&first).enabled_service().await;
    stop(first);

    let second = Server::start(directory.path(), &[]);
    assert_eq!((&second.account, &second.token), (&account, &token));
    assert!(!second.greeting.contains(&token), "{}", second.greeting);
    for text in [&second.url, &account, directory.path().canonicalize().unwrap().to_str().unwrap()] {
        assert!(second.greeting.contains(text), "no {text:?} in {}", second.greeting);
    }
    let path = format!("/v1/Services/{service}/Configuration");
    let (status, kept) = Client::of(&second).send(Method::GET, &path, &[]).await;
    assert_eq!((status, &kept["reachability_enabled"]), (200, &json!(true)));
    assert!(!stop(second).contains(&token));
}

/// After an exchange of tokens: the old one is not valid again because the new one is not given once.
#[tokio::test]
async fn the_file_has_the_token_that_was_given_last() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(directory.path(), &[]);
    let (account, old) = (first.account.clone(), first.token.clone());
    stop(first);
    let new = "a-token-of-the-owner-0123456789";
    stop(Server::start(directory.path(), &["--auth-token", new]));
    let kept: Value = serde_json::from_slice(&fs::read(directory.path().join("account.json")).unwrap()).unwrap();
    assert_eq!(kept, json!({"account_sid": account, "auth_token": new}));

    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    for (token, status) in [(new, 200), (&*old, 401)] {
        let of_token = client.with_credentials(&account, token);
        assert_eq!(of_token.send(Method::GET, "/v1/Services", &[]).await.0, status);
    }
    stop(server);
}

/// With a new account, nobody who knows the old one would get in.
#[tokio::test]
async fn an_account_file_that_is_lost_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let file = data.join("account.json");
    let first = Server::start(data, &[]);
    let service = Client::of(&first).enabled_service().await;
    let (account, token) = (first.account.clone(), first.token.clone());
    stop(first);
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let start = |more: &[&str]| {
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
        run(&mut reachability(&[&arguments, more].concat()), b"")
    };
    for more in [&[][..], &["--auth-token", &token], &["--account-sid", &account]] {
        let outcome = start(more);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        for words in ["account.json", "backup", "--account-sid"] {
            assert!(outcome.stderr.contains(words), "{outcome:?}");
        }
        assert!(!file.exists());
    }
    // Both ways out.
    let server = Server::start(data, &["--account-sid", &account, "--auth-token", &token]);
    let client = Client::of(&server).with_credentials(&account, &token);
    assert_eq!(client.send(Method::GET, &format!("/v1/Services/{service}"), &[]).await.0, 200);
    stop(server);
    fs::write(&file, kept).unwrap();
    stop(Server::start(data, &[]));
}

#[test]
fn a_start_that_failed_does_not_use_up_the_greeting() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().to_str().unwrap();
    assert_eq!(run(&mut reachability(&["--listen", &address, "--data-dir", data]), b"").code, Some(1));

    let server = Server::start(directory.path(), &[]);
    assert!(server.greeting.contains(&server.token), "{}", server.greeting);
    assert!(curl_line(&server.greeting).is_some(), "{}", server.greeting);
    stop(server);
}

#[test]
fn it_starts_even_if_nobody_reads_the_greeting() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for output in ["/dev/full", "/dev/null"] {
        let mut command = reachability(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
        let mut child = command.stdout(File::create(output).unwrap()).spawn().unwrap();
        // Its log says where it listens.
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let connected = TcpStream::connect(line["listen"].as_str().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(connected.is_ok(), "{line}");
    }
}
