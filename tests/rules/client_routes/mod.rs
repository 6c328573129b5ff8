//! The routes of apps' clients, in memory and on SQLite, without a socket: what a user of a service can read and write, and
//! what not.

mod maps;
mod registrations;
mod start;
mod tokens;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use reachability_domain::channel::ports::Channels;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::UserKey;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::search::UserSearch;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_functions::app::App;
use reachability_functions::client::{self, Client};
use reachability_infra::clock;
use reachability_tests::app::app;
use reachability_tests::harness::{Harness, Kept, SETTINGS};
use reachability_tests::store::PushStore;
use serde_json::Value;
use tower::ServiceExt;

/// Makes a test of each check, in memory and on SQLite.
macro_rules! on_both_stores {
    ($($check:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $check() {
                let store = std::sync::Arc::new(reachability_infra::memory::MemoryStore::default());
                super::$check(crate::client_routes::Door::new(store).await).await;
            })*
        }

        mod in_sqlite {
            $(#[tokio::test]
            async fn $check() {
                let directory = tempfile::tempdir().unwrap();
                let database = reachability_tests::queues::database(directory.path());
                let store = std::sync::Arc::new(reachability_infra::sqlite::SqliteStore::new(database));
                super::$check(crate::client_routes::Door::new(store).await).await;
            })*
        }
    };
}
use on_both_stores;

/// The routes over a store. The services 1 and 2 have reachability on.
struct Door {
    app: App,
    router: Router,
    /// The owner's routes.
    owner: Router,
    authorization: String,
    harness: Harness,
    bindings: Arc<dyn Bindings>,
    credentials: Arc<dyn Credentials>,
    pushes: Arc<Kept<PushMessage>>,
}

fn service(n: u128) -> ServiceSid {
    Sid::from_bits(n)
}

fn key(n: u128, identity: &str) -> UserKey {
    UserKey { service: service(n), identity: identity.parse().unwrap() }
}

/// A client of a user.
fn client(n: u128, identity: &str) -> Client {
    Client { user: key(n, identity), push_credential: None }
}

impl Door {
    async fn new<S: PushStore + UserSearch + Channels + 'static>(store: Arc<S>) -> Self {
        let pushes = Arc::new(Kept::default());
        let (app, authorization) = app(store.clone(), Arc::new(Kept::default()), pushes.clone());
        let harness = Harness::new(store.clone(), SETTINGS);
        harness.switch(service(1), true).await;
        harness.switch(service(2), true).await;
        Self {
            router: client::router(app.clone()),
            owner: reachability_functions::router(app.clone(), None, None),
            app,
            authorization,
            harness,
            bindings: store.clone(),
            credentials: store,
            pushes,
        }
    }

    /// A client of a user who is online.
    async fn connect(&self, n: u128, identity: &str) -> Client {
        let connect = EventKind::Connect { lease: None, device: None };
        self.event(n, identity, connect).await;
        client(n, identity)
    }

    async fn disconnect(&self, n: u128, identity: &str) {
        self.event(n, identity, EventKind::Disconnect { reason: EndReason::ClientClosed }).await;
    }

    async fn event(&self, n: u128, identity: &str, kind: EventKind) {
        let occurred_at = clock::now();
        let event = Event { user: key(n, identity), connection: "c-1".parse().unwrap(), occurred_at, kind };
        self.harness.deliver(&[event], occurred_at.as_millis()).await;
    }

    /// The stored user.
    async fn user(&self, n: u128, identity: &str) -> User {
        let identity = UserRef::Identity(identity.parse().unwrap());
        self.harness.store.user(service(n), &identity).await.unwrap().unwrap()
    }

    /// Sends a request as a client. Returns the status and the body; `null` if there is none.
    async fn send(&self, client: &Client, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).extension(client.clone());
        answer(&self.router, request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn get(&self, client: &Client, path: &str) -> (u16, Value) {
        self.send(client, "GET", path, "").await
    }

    /// Gets what is there.
    async fn read(&self, client: &Client, path: &str) -> Value {
        let (status, body) = self.get(client, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Sends a request as the owner.
    async fn send_as_owner(&self, method: &str, path: &str, form: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("authorization", &self.authorization);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        answer(&self.owner, request.body(Body::from(form.to_owned())).unwrap()).await
    }
}

async fn answer(router: &Router, request: Request<Body>) -> (u16, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

/// The status and the code of an error, which has a readable text.
#[track_caller]
fn error(answer: &(u16, Value)) -> (u16, u64) {
    let (status, body) = answer;
    assert_eq!(body["status"], *status, "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty(), "{body}");
    (*status, body["code"].as_u64().unwrap())
}
