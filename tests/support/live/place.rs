//! A service and who may give its users tokens.

use std::sync::atomic::{AtomicI64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use super::Program;
use crate::client::Client;
use crate::events::event;
use crate::relay::Relay;
use crate::server::Server;

/// How long tokens are valid at least, in seconds.
const TTL: i64 = 3_600;

/// An API key of an account.
#[derive(Debug, Clone)]
pub struct Key {
    /// The account's sid.
    pub account: String,
    /// Its sid.
    pub sid: String,
    /// Its secret.
    pub secret: String,
}

impl Key {
    /// Makes one over REST.
    async fn new(client: &Client, account: &str) -> Self {
        let (status, key) = client.send(Method::POST, &Self::path(account, ""), &[]).await;
        assert_eq!(status, 201, "{key}");
        let text = |field: &str| key[field].as_str().unwrap().to_owned();
        Self { account: account.to_owned(), sid: text("sid"), secret: text("secret") }
    }

    fn path(account: &str, key: &str) -> String {
        format!("/2010-04-01/Accounts/{account}/Keys{key}.json")
    }
}

/// A service with reachability, and an API key that signs tokens for its users.
#[derive(Debug, Clone)]
pub struct Place {
    /// The owner.
    pub client: Client,
    /// Where live clients connect to, `http://…`.
    pub url: String,
    /// The service's sid.
    pub service: String,
    /// The key, which was made over REST.
    pub key: Key,
}

impl Place {
    /// Makes the service and the key.
    pub async fn new(server: &Server) -> Self {
        let client = Client::of(server);
        let service = client.enabled_service().await;
        let key = Key::new(&client, &server.account).await;
        Self { client, url: server.url.clone(), service, key }
    }

    /// The same service, where live clients connect to this URL.
    pub fn at(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    /// The same service of this server, where everybody connects to a relay.
    pub fn behind(&self, relay: &Relay, server: &Server) -> Self {
        Self { client: Client::new(&relay.url(), &server.account, &server.token), ..self.at(relay.url()) }
    }

    /// The same service with another key.
    pub async fn with_another_key(&self) -> Self {
        Self { key: Key::new(&self.client, &self.key.account).await, ..self.clone() }
    }

    /// Deletes the key.
    pub async fn delete_key(&self) {
        self.client.delete(&Key::path(&self.key.account, &format!("/{}", self.key.sid))).await;
    }

    /// A token for this user, by the vendor's own helper.
    pub async fn token(&self, program: &Program, identity: &str) -> String {
        static TOKENS: AtomicI64 = AtomicI64::new(0);
        // All those that the helper makes in a second are the same, and a library does nothing about the same token.
        self.token_for(program, identity, TTL + TOKENS.fetch_add(1, Ordering::Relaxed)).await
    }

    /// The same for so many seconds.
    pub async fn token_for(&self, program: &Program, identity: &str, ttl: i64) -> String {
        let Key { account, sid, secret } = &self.key;
        let command = json!({
            "act": "mint", "account": account, "key": sid, "secret": secret,
            "service": self.service, "identity": identity, "ttl": ttl,
        });
        program.run(command).await.unwrap().as_str().unwrap().to_owned()
    }

    /// The path of a user, or of what else the service has.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/Services/{}/{rest}", self.service)
    }

    /// What a fetch shows of a user: `is_online` and `is_notifiable`.
    pub async fn shown(&self, identity: &str) -> Value {
        let user = self.client.get(&self.path(&format!("Users/{identity}"))).await;
        json!([user["is_online"], user["is_notifiable"]])
    }

    /// Changes a user, or what else is at a path of the service.
    pub async fn post(&self, rest: &str, form: &str) {
        self.client.post(&self.path(rest), form).await;
    }

    /// Sends an event of a connection that the owner's own gateway has.
    pub async fn event(&self, identity: &str, kind: &str) {
        let event = event(&self.service, identity, kind);
        self.client.post(&self.path("Events"), json!([event]).to_string()).await;
    }

    /// Switches reachability.
    pub async fn switch(&self, on: bool) {
        self.post("Configuration", &format!("ReachabilityEnabled={on}")).await;
    }
}
