//! The HTTP listener.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use crate::refusal::WithRefusals;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to make room for more of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// How large the head of a request may be, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long requests may go on once it is time to stop. Whoever asked for it is often not more patient than ten seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until it is time to stop, then lets the requests under way end.
pub(crate) async fn run(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut http = http1::Builder::new();
    // A client that has sent all it wants to send may still want an answer. The vendor's Python library shows headers as
    // they are spelt, and the vendor spells them so.
    http.half_close(true)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The client has gone already, or there are too many open files.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = TokioIo::new(WithRefusals::of(Box::pin(stream)));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection broke off");
            }
        });
    }
    drop(listener);
    if timeout(SHUTDOWN_TIMEOUT, connections.shutdown()).await.is_err() {
        warn!("some requests did not end in time");
    }
}
