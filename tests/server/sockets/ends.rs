//! What ends the sockets of others.

use futures_util::future::join;
use reachability_tests::tokens::Signer;
use reachability_tests::twilsock::{Ended, Twilsock};
use reqwest::Method;

use super::Setup;

#[tokio::test]
async fn sockets_end_with_their_key_service_and_user() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let mut alice = setup.watcher("alice").await;
    // One socket depends on a key by its newer token.
    let doomed = Signer::new(&setup.client, &setup.server.account).await;
    let mut of_key = setup.open("bob").await;
    assert_eq!(of_key.update(&doomed.token(&setup.service, "bob")).await.status(), 200);
    let mut of_user = setup.open("carol").await;
    let other = setup.client.enabled_service().await;
    let token = setup.signer.token(&other, "alice");
    let mut of_service = Twilsock::open(setup.server.address(), &token).await;
    alice.watch("bob").await;

    setup.client.delete(&doomed.path()).await;
    let packet = of_key.next().await.expect("a reason");
    assert_eq!((packet.method(), packet.status(), packet.error_code()), ("close", 401, 20103), "{packet:?}");
    assert_eq!(of_key.end().await, Ended::Closed(1000, "revoked".into()));
    assert_eq!(alice.until("bob", Some(false)).await, 1);

    setup.client.delete(&format!("/v1/Services/{}/Users/carol", setup.service)).await;
    assert_eq!(of_user.next().await.expect("a reason").status(), 401);
    assert_eq!(of_user.end().await, Ended::Closed(1000, "revoked".into()));
    setup.client.delete(&format!("/v1/Services/{other}")).await;
    assert_eq!(of_service.next().await.expect("a reason").status(), 401);
    assert_eq!(of_service.end().await, Ended::Closed(1000, "revoked".into()));

    // The others stay, and who was deleted is gone.
    assert_eq!(alice.socket.request("GET", "/Client/v2/Users/alice", None).await.0, 200);
    assert_eq!(alice.socket.request("GET", "/Client/v2/Users/carol", None).await.0, 404);
    let mut socket = Twilsock::connect(setup.server.address()).await.unwrap_or_else(|status| panic!("{status}"));
    let reply = socket.init(&doomed.token(&setup.service, "bob"), None).await;
    assert_eq!((reply.status(), reply.error_code()), (401, 20103));
}

/// Nobody knows whether it was deleted, so its clients may come back and see.
#[tokio::test]
async fn a_deletion_that_fails_sends_nobody_away() {
    let setup = Setup::new(&[]).await;
    let key = Signer::new(&setup.client, &setup.server.account).await;
    let token_of_key = key.token(&setup.service, "bob");
    let other = setup.client.enabled_service().await;
    let token_of_service = setup.signer.token(&other, "carol");
    let address = setup.server.address();
    let mut sockets = [Twilsock::open(address, &token_of_key).await, Twilsock::open(address, &token_of_service).await];
    // Until the server gives it up.
    let held = setup.hold();
    let (key, service) = (key.path(), format!("/v1/Services/{other}"));
    let (key, service) = join(
        setup.client.send(Method::DELETE, &key, &[]), //
        setup.client.send(Method::DELETE, &service, &[]),
    )
    .await;
    drop(held);
    assert_eq!((key.0, service.0), (503, 503), "{key:?} {service:?}");
    for socket in &mut sockets {
        assert_eq!(socket.next().await, None, "no reason to stay away");
        assert_eq!(socket.end().await, Ended::Closed(1000, "come-back".into()));
    }
    Twilsock::open(address, &token_of_key).await;
    Twilsock::open(address, &token_of_service).await;
}
