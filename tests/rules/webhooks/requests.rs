//! Single requests: what comes of them, over HTTP and HTTPS.

use reachability_domain::directory::service::WebhookMethod;
use reachability_domain::webhook::ports::{WebhookAnswer, WebhookRequest, WebhookSender};
use reachability_domain::webhook::target::WebhookTarget;
use reachability_infra::push::http::Roots;
use reachability_tests::providers::Ca;
use reachability_tests::receiver::{Answer, Receiver};
use reachability_tests::wait::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Sends a webhook as somebody who trusts this authority. Returns why it was not delivered; nothing if it was.
async fn send(url: &str, trusted: &Ca) -> String {
    let token = watch::channel(Secret::new("a-token-of-the-account").into()).1;
    let roots = Some(Roots::from_pem(&trusted.pem()).unwrap());
    reason(&HttpWebhooks::new(token, AddressRules { private: true }, roots, now), url).await
}

/// Sends a webhook. Returns why it was not delivered; nothing if it was.
pub(super) async fn reason(sender: &HttpWebhooks, url: &str) -> String {
    let target = WebhookTarget { url: url.to_owned(), method: WebhookMethod::Post };
    let parameters = vec![("Identity", "alice".to_owned())];
    match sender.send(&WebhookRequest { target, parameters, token: "token".to_owned() }).await {
        WebhookAnswer::Delivered => String::new(),
        WebhookAnswer::Failed(failure) => {
            let cause = failure.cause.unwrap_or_default();
            assert!(!cause.contains("secret"), "{cause}");
            failure.reason.to_string()
        }
    }
}

#[tokio::test]
async fn https_is_spoken_with_those_who_are_trusted() {
    let (ca, other) = (Ca::new(), Ca::new());
    let receiver = Receiver::with_tls(&ca).await;
    let (url, port) = (receiver.url("/secret"), receiver.address.port());
    assert_eq!(send(&url, &ca).await, "");
    assert_eq!(send(&format!("https://localhost:{port}/secret"), &ca).await, "");
    assert_eq!(receiver.inbox.take()[0].get("Identity"), "alice");
    assert_eq!(send(&url, &other).await, "CertificateRefused");
    for (ca, host) in [(Ca::late(), "localhost"), (Ca::elsewhere(), "localhost")] {
        let receiver = Receiver::with_tls(&ca).await;
        let url = format!("https://{host}:{}/secret", receiver.address.port());
        assert_eq!(send(&url, &ca).await, "CertificateRefused");
        assert_eq!(receiver.inbox.count(), 0);
    }
    assert_eq!(receiver.inbox.count(), 0);
}

#[tokio::test]
async fn a_failure_has_a_reason() {
    let (ca, receiver) = (Ca::new(), Receiver::start().await);
    let gone = {
        let receiver = Receiver::start().await;
        receiver.url("/secret")
    };
    wait("nobody listens", async || (send(&gone, &ca).await == "NotConnected").then_some(())).await;
    assert_eq!(send(&receiver.url("/secret").replace("http:", "https:"), &ca).await, "TlsFailed");
    assert_eq!(send("http://name.invalid/secret", &ca).await, "NotConnected");
    assert_eq!(send("http://169.254.169.254/secret", &ca).await, "AddressRefused");
    assert_eq!(send("http://[::ffff:169.254.169.254]/secret", &ca).await, "AddressRefused");
    assert_eq!(send("http://2852039166/secret", &ca).await, "AddressRefused");
    assert_eq!(send("http://@/secret", &ca).await, "InvalidUrl");
    for status in [301, 404, 500] {
        receiver.inbox.answer(move |_| Answer::Status(status));
        assert_eq!(send(&receiver.url("/secret"), &ca).await, format!("Status{status}"));
    }
    // The connection ends within the answer, and another speaks something else.
    for said in ["HTTP/1.1 200 OK\r\n", "SSH-2.0-OpenSSH_9.6\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/secret", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            assert!(connection.read(&mut [0; 4_096]).await.unwrap() > 0);
            connection.write_all(said.as_bytes()).await.unwrap();
        });
        assert_eq!(send(&url, &ca).await, "ConnectionLost");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn the_body_of_an_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(connection.read(&mut [0; 4_096]).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
        connection.write_all(head).await.unwrap();
        let piece = [b'x'; 65_536];
        // Until the client hangs up.
        while connection.write_all(&piece).await.is_ok() {}
    });
    assert_eq!(send(&url, &Ca::new()).await, "");
    server.await.unwrap();
}
