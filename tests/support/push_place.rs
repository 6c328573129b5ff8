//! The one-process server with stand-ins for Apple and Google, and a service that sends to both.

use std::sync::Arc;

use reachability_infra::clock;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::Place;
use crate::providers::{self, Apple, Ca, Google, Request};
use crate::server::Server;

/// The server, the stand-ins, and a service of it.
pub struct PushPlace {
    /// Apple.
    pub apple: Apple,
    /// Google.
    pub google: Google,
    /// The server.
    pub server: Server,
    /// A service.
    pub place: Place,
    /// Where the server's data is, in the folder `data`.
    pub directory: TempDir,
}

impl PushPlace {
    /// Starts all of them. There is a credential for each provider.
    pub async fn new() -> Self {
        let ca = Arc::new(Ca::new());
        let apple = Apple::start_with(ca.clone(), clock::now).await;
        let google = Google::start_with(ca.clone(), clock::now).await;
        let directory = tempfile::tempdir().unwrap();
        ca.write(&directory.path().join("ca.pem"));
        let server = Server::start_with(&directory.path().join("data"), &[], |command| {
            providers::send_to(command, &directory.path().join("ca.pem"), &apple, &google);
        });
        let place = Place::new(&server).await;
        let this = Self { apple, google, server, place, directory };
        this.make_credentials().await;
        this
    }

    async fn make_credentials(&self) {
        let p8 = self.apple.key();
        let apns = Apple::credential(p8.expose());
        let account = Google::service_account(Google::key().expose());
        for form in [&apns[..], &[("Type", "fcm"), ("Secret", &account)]] {
            let (status, credential) = self.place.client.send(Method::POST, "/v1/Credentials", form).await;
            assert_eq!(status, 201, "{credential}");
        }
    }

    /// Registers a device over REST.
    pub async fn register(&self, identity: &str, channel: &str, address: &str) {
        let form = [("Identity", identity), ("BindingType", channel), ("Address", address)];
        let (status, binding) = self.place.client.send(Method::POST, &self.place.path("Bindings"), &form).await;
        assert_eq!(status, 201, "{binding}");
    }

    /// Sends a notification. Returns it.
    pub async fn notify(&self, form: &[(&str, &str)]) -> Value {
        let (status, sent) = self.place.client.send(Method::POST, &self.place.path("Notifications"), form).await;
        assert_eq!(status, 201, "{sent}");
        sent
    }

    /// The requests to Apple for this device, other than checks of its registration.
    pub fn by_apple(&self, token: &str) -> Vec<Request> {
        let is_check = |request: &Request| request.json() == json!({ "aps": { "content-available": 1 } });
        self.apple.requests_to(token).into_iter().filter(|request| !is_check(request)).collect()
    }

    /// The messages to Google for this device, other than checks of its registration.
    pub fn by_google(&self, token: &str) -> Vec<Value> {
        let messages = self.google.requests().into_iter().map(|request| request.json()["message"].clone());
        messages.filter(|message| message["token"] == token && message["data"]["reachability"] != "check").collect()
    }
}
