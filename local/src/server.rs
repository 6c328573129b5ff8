//! The HTTP listener.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
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

/// How many open files the rest of the process needs, at the most.
const OTHER_FILES: u64 = 64;

/// How many connections there are at most: as many as there can be open files, but for what else needs them. A server that
/// is out of files cannot open its database either.
fn max_connections() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(%error, "the limit of open files is not known");
        1_024
    });
    usize::try_from(files.saturating_sub(OTHER_FILES).max(1)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

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
    let places = Arc::new(Semaphore::new(max_connections()));
    loop {
        // Whoever finds no place waits to be accepted.
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
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
            let _place = place;
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
