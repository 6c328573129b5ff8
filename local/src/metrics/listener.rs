//! The listener for Prometheus. It is apart from that of the API, which may be public: metrics tell much of a server, and need
//! no authentication.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use reachability_domain::error_chain::ErrorChain;
use reachability_infra::prometheus::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Scrape;

/// Where Prometheus looks by default.
const PATH: &str = "/metrics";

/// How many connections there may be: more than a few Prometheus servers need. Others wait in the listen backlog.
pub(crate) const MAX_CONNECTIONS: usize = 16;

/// How long a client may take to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may take. It has one request.
const LIMIT: Duration = Duration::from_secs(15);

/// Maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves the metrics for ever.
pub(crate) async fn run(listener: TcpListener, scrape: Scrape) {
    let router = Router::new().route(PATH, get(answer)).with_state(Arc::new(scrape));
    let mut http = http1::Builder::new();
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection for metrics could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let _place = place;
            match timeout(LIMIT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a connection for metrics failed"),
                Err(_) => debug!("a connection for metrics took too long"),
            }
        });
    }
}

async fn answer(State(scrape): State<Arc<Scrape>>) -> Response {
    match scrape.text().await {
        Ok(text) => {
            let content_type = HeaderValue::from_static(CONTENT_TYPE);
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => {
            warn!(error = %ErrorChain(&error), "the metrics cannot be told");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
