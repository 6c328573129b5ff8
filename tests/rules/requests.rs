//! The time limits of requests, with a clock that does not wait.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, header};
use futures_util::stream;
use http_body_util::BodyExt;
use reachability_domain::directory::ports::Services;
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::{ServiceSid, Sid};
use reachability_infra::memory::MemoryStore;
use reachability_tests::app::app;
use reachability_tests::events::event;
use reachability_tests::harness::new_service;
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt;

/// A queue that takes a message and never says so.
struct Silent;

#[async_trait]
impl Queue<PresenceMessage> for Silent {
    async fn send(&self, _: &[PresenceMessage]) -> Result<(), QueueError> {
        pending().await
    }
}

#[async_trait]
impl Queue<PushMessage> for Silent {
    async fn send(&self, _: &[PushMessage]) -> Result<(), QueueError> {
        pending().await
    }
}

/// Posts events to a service whose queue does not answer. Returns the answer, and after how long it came.
async fn post(body: Body) -> (Response<Body>, Duration) {
    let store = Arc::new(MemoryStore::default());
    let service = new_service(ServiceSid::from_bits(1));
    store.create_service(&service).await.unwrap();
    let (app, authorization) = app(store, Arc::new(Silent), Arc::new(Silent));
    let router = reachability_functions::events(app);
    let request = Request::post(format!("/v1/Services/{}/Events", service.sid))
        .header(header::AUTHORIZATION, authorization)
        .body(body)
        .unwrap();
    let started = Instant::now();
    let answer = router.oneshot(request).await.unwrap();
    (answer, started.elapsed())
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_handled_in_time_is_answered() {
    let body = event("IS00000000000000000000000000000001", "alice", "connect").to_string();
    let (answer, took) = post(body.into()).await;
    assert_eq!((answer.status().as_u16(), took), (503, Duration::from_secs(50)));
    assert_eq!((header(&answer, "retry-after"), header(&answer, "connection")), (Some("1"), Some("close")));
    let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&Value::from(20503), &Value::from(503)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_answered() {
    // One byte, and then nothing.
    let bytes = stream::unfold(false, |sent| async move {
        if sent { pending().await } else { Some((Ok::<_, std::io::Error>(Bytes::from_static(b"\n")), true)) }
    });
    let (answer, took) = post(Body::from_stream(bytes)).await;
    assert_eq!((answer.status().as_u16(), took), (408, Duration::from_secs(30)));
    assert_eq!(header(&answer, "connection"), Some("close"));
}
