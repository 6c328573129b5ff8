//! Access tokens for clients.

use std::time::Duration;

use reachability_domain::directory::access_token::{NewToken, mint};
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::identity::UserKey;
use reachability_domain::secret::Secret;
use reachability_domain::sid::AccountSid;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reqwest::Method;

use crate::client::Client;

/// An API key that signs tokens.
#[derive(Debug, Clone)]
pub struct Signer {
    account: AccountSid,
    key: ApiKey,
}

impl Signer {
    /// A new key of this account, made over REST.
    pub async fn new(client: &Client, account: &str) -> Self {
        let (_, key) = client.send(Method::POST, &format!("/2010-04-01/Accounts/{account}/Keys.json"), &[]).await;
        let text = |name: &str| key[name].as_str().unwrap_or_else(|| panic!("a key: {key}"));
        let key = ApiKey {
            sid: text("sid").parse().unwrap(),
            friendly_name: String::new(),
            secret: Secret::new(text("secret")),
            date_created: clock::now(),
            date_updated: None,
        };
        Self { account: account.parse().unwrap(), key }
    }

    /// The path of the key.
    pub fn path(&self) -> String {
        format!("/2010-04-01/Accounts/{}/Keys/{}.json", self.account, self.key.sid)
    }

    /// A token for a user of a service, for an hour.
    pub fn token(&self, service: &str, identity: &str) -> String {
        self.token_for(service, identity, Duration::from_secs(3_600))
    }

    /// A token for so long.
    pub fn token_for(&self, service: &str, identity: &str, life: Duration) -> String {
        self.token_at(service, identity, life, clock::now())
    }

    /// A token for so long, issued at this time.
    pub fn token_at(&self, service: &str, identity: &str, life: Duration, now: Timestamp) -> String {
        let user = UserKey { service: service.parse().unwrap(), identity: identity.parse().unwrap() };
        let token = NewToken { account: self.account, key: &self.key, user: &user, push_credential: None, life };
        mint(&token, now).unwrap()
    }
}
