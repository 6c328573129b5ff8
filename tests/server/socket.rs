//! `/v1/Socket`: the JSON protocol, as its clients meet it.

mod both;
mod channels;
mod ends;
mod errors;
mod faults;
mod invisible;
mod javascript;
mod limits;
mod races;
mod restore;
mod rust_client;
mod storms;
mod story;
mod users;

use std::time::Duration;

use reachability_tests::raw::encode;
use reachability_tests::socket::JsonSocket;
use serde_json::{Value, json};

use crate::sockets::Setup;

/// For how long nothing comes where nothing must.
const QUIET: Duration = Duration::from_millis(300);

/// An open socket of a user.
async fn open(setup: &Setup, identity: &str) -> JsonSocket {
    open_with(setup, identity, json!({})).await
}

/// The same with more fields of `connect`.
async fn open_with(setup: &Setup, identity: &str, fields: Value) -> JsonSocket {
    JsonSocket::open(setup.server.address(), &setup.token(identity), fields).await
}

/// Users who exist, and are offline.
async fn create(setup: &Setup, identities: &[&str]) {
    for identity in identities {
        let path = format!("/v1/Services/{}/Users", setup.service);
        setup.client.post(&path, format!("Identity={}", encode(identity))).await;
    }
}

/// Sets something of a user over REST.
async fn set(setup: &Setup, identity: &str, form: &str) {
    setup.client.post(&format!("/v1/Services/{}/Users/{identity}", setup.service), form).await;
}

/// A user, as the owner sees it, without what clients are not shown.
async fn presence(setup: &Setup, identity: &str) -> Value {
    let mut user = setup.client.get(&format!("/v1/Services/{}/Presence/{identity}", setup.service)).await;
    let fields = user.as_object_mut().expect("a user");
    fields.retain(|name, _| !["connections", "url"].contains(&name.as_str()));
    user
}
