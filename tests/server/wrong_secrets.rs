//! Wrong passwords and access tokens: of one address so many a minute are answered as such.

use reachability_domain::directory::access_token::TokenError;
use reachability_tests::raw::{Answer, CLOSE, Connection, FORM, basic, request};
use reachability_tests::server::Server;
use reachability_tests::socket::JsonSocket;
use reachability_tests::twilsock::Twilsock;
use serde_json::{Value, json};

use crate::sockets::Setup;

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

/// The server's allowance is whole again after a minute. A test that takes longer would find it so, and be none.
const ALLOWED: &[&str] = &["--max-failed-authentications", "3"];

/// Sends a request with these headers on a new connection from this address.
fn send(server: &Server, source: [u8; 4], headers: &[&str]) -> Answer {
    let mut connection = Connection::open_from(source, server.address());
    connection.send(request("GET", "/v1/Services", headers, b""));
    connection.receive("GET").expect("an answer")
}

/// A token whose signature is another one.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{other}{}", &signature[1..])
}

#[test]
fn an_address_may_send_so_many_wrong_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), ALLOWED);
    let right = basic(&server.account, &server.token);
    let wrong = [
        basic(&server.account, "00000000000000000000000000000000"),
        basic("SK00000000000000000000000000000000", "00000000000000000000000000000000"),
        basic("nobody", ""),
    ];
    for wrong in &wrong {
        send(&server, HERE, &[wrong]).assert_error(401, 20003, wrong);
    }
    for wrong in &wrong {
        let answer = send(&server, HERE, &[wrong]);
        answer.assert_error(429, 20429, wrong);
        let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=20).contains(&seconds), "{seconds}");
        assert!(answer.says_close());
    }
    // Nor is the body of such a request awaited.
    let mut endless = Connection::open(server.address());
    let body = request("POST", "/v1/Services", &[&wrong[0], FORM], &[b'x'; 100]);
    endless.send(&body[..body.len() - 1]);
    endless.receive("POST").unwrap().assert_error(429, 20429, "without a body");
    // Those with the right one are not affected, nor are clients that send one when they are asked for it.
    assert_eq!(send(&server, HERE, &[&right, CLOSE]).status, 200);
    send(&server, HERE, &[]).assert_error(401, 20003, "without credentials");
    send(&server, THERE, &[&wrong[0]]).assert_error(401, 20003, "another address");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_allowance() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[ALLOWED, &["--trusted-proxies", "127.0.0.1"]].concat());
    let wrong = basic(&server.account, "00000000000000000000000000000000");
    let status = |client: &str| send(&server, HERE, &[&wrong, &format!("X-Forwarded-For: {client}")]).status;
    assert_eq!([0; 4].map(|_| status("192.0.2.1")), [401, 401, 401, 429]);
    assert_eq!(status("192.0.2.2"), 401);
    assert_eq!(status("192.0.2.2, 192.0.2.1"), 429, "a client cannot say that it is another one");
}

#[tokio::test]
async fn an_address_may_send_so_many_wrong_tokens() {
    let setup = Setup::new(ALLOWED).await;
    let address = setup.server.address();
    let alice = setup.token("alice");
    let init = async |token: &str| -> Value {
        let mut socket = JsonSocket::connect(address).await.expect("a socket");
        socket.init(token, json!({})).await
    };
    // One that has expired was good once: it does not count.
    let expired = setup.signer.token_for(&setup.service, "alice", std::time::Duration::ZERO);
    for _ in 0..5 {
        assert_eq!(init(&expired).await["twilio_code"], TokenError::Expired.code());
    }
    for wrong in [&forged(&alice), "nonsense", &forged(&alice)] {
        assert_eq!(init(wrong).await["code"], "invalid_token", "{wrong}");
    }
    let refused = init(&forged(&alice)).await;
    assert_eq!(refused["code"], "limit_reached", "{refused}");
    assert!(refused["retry_after"].is_u64(), "{refused}");
    let mut socket = Twilsock::connect(address).await.expect("a socket");
    let reply = socket.init(&forged(&alice), None).await;
    assert_eq!(reply.status(), 429, "{reply:?}");
    // Whoever has a right one is not affected, nor is another address.
    assert_eq!(init(&alice).await["type"], "connected");
    setup.open("alice").await.goodbye().await;
    let there = crate::sockets::limits::from(&setup, "127.0.0.2", None).await;
    let mut socket = JsonSocket::over(there).await.expect("a socket");
    assert_eq!(socket.init(&forged(&alice), json!({})).await["code"], "invalid_token");
}
