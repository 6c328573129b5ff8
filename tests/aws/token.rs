//! The auth tokens of the functions.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use reachability_domain::directory::auth_tokens::AuthTokens;
use reachability_domain::secret::Secret;
use reachability_lambda::token::Tokens;
use reachability_tests::aws;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::simulated_clock::{now, pass, set};

#[tokio::test]
async fn a_changed_token_is_used_within_five_minutes() {
    let client = Client::new(&aws::config(&MiniStack::shared().url()).await);
    client.create_secret().name("token").secret_string("old").send().await.unwrap();
    let token = Tokens::read(client.clone(), "token".to_owned(), now).await.unwrap();
    let (start, current) = (now(), token.subscribe());
    client.put_secret_value().secret_id("token").secret_string("new").send().await.unwrap();
    for (seconds, expected) in [(0, "old"), (299, "old"), (300, "new")] {
        let later = start.plus(Duration::from_secs(seconds));
        set(later);
        token.refresh().await;
        assert_eq!(current.borrow().primary.expose(), expected, "after {seconds} s");
    }
    // While one is exchanged, there are two.
    client.put_secret_value().secret_id("token").secret_string("newer\nnew\n").send().await.unwrap();
    pass(Duration::from_secs(300));
    token.refresh().await;
    let both = AuthTokens { primary: Secret::new("newer"), secondary: Some(Secret::new("new")) };
    assert_eq!(*current.borrow(), both);
    // While it cannot be read, the old one stays in use.
    client.delete_secret().secret_id("token").force_delete_without_recovery(true).send().await.unwrap();
    pass(Duration::from_secs(300));
    token.refresh().await;
    assert_eq!(*current.borrow(), both);
    assert!(Tokens::read(client, "token".to_owned(), now).await.is_err());
}
