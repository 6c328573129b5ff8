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

/// How long a write of a response may block on the client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Upper bound of the number of connections. With [`MAX_HEAD`], it limits the memory for requests that are not read yet.
const MAX_CONNECTIONS: usize = 8_192;

/// How long requests may continue after a stop signal. Process managers often kill after ten seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Upper bound of the open files that the rest of the process needs.
const OTHER_FILES: u64 = 64;

/// Maximum number of connections: [`MAX_CONNECTIONS`], or the limit of open files minus those that the rest of the process
/// needs. Without free file descriptors, SQLite cannot open its files.
fn max_connections() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(%error, "cannot read the limit of open files");
        1_024
    });
    usize::try_from(files.saturating_sub(OTHER_FILES).max(1)).unwrap_or(usize::MAX).min(MAX_CONNECTIONS)
}

/// Serves until `stop`, then lets requests in flight finish.
pub(crate) async fn run(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut http = http1::Builder::new();
    // A client may close its sending side and still read the response. Title case, because the vendor's Python library
    // shows header names as sent, and the vendor sends title case.
    http.half_close(true)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(max_connections()));
    loop {
        // While all places are taken, a client waits in the listen backlog.
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
                // The client has disconnected, or the process has too many open files.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Responses are small and should be sent immediately.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = TokioIo::new(WithRefusals::of(Box::pin(stream)));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                debug!(%error, "a connection failed");
            }
        });
    }
    drop(listener);
    if timeout(SHUTDOWN_TIMEOUT, connections.shutdown()).await.is_err() {
        warn!("some requests did not finish in time");
    }
}
