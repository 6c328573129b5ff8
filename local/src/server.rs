//! The HTTP listener.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use crate::metrics;
use crate::refusal::WithRefusals;
use crate::sockets::{Doors, Io, Lent, Sockets};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a write of a response may block on the client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Upper bound of the number of connections, without sockets. With [`MAX_HEAD`], it limits the memory for requests that are not read yet.
const MAX_CONNECTIONS: usize = 8_192;

/// How long requests may continue after a stop signal. Process managers often kill after ten seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Upper bound of the open files that the rest of the process needs.
const OTHER_FILES: u64 = 64 + metrics::MAX_CONNECTIONS as u64;

/// How many of the files that may be open are left to requests when there are as many sockets as there may be.
const FILES_FOR_REQUESTS: usize = 1_024;

/// The files that connections may open: the limit of open files minus those that the rest of the process needs. Without free
/// file descriptors, SQLite cannot open its files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// How many there are.
    count: usize,
    /// Those that are free.
    pub(crate) free: Arc<Semaphore>,
}

impl Files {
    /// As many as the system allows.
    pub(crate) fn all() -> Self {
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
            warn!(%error, "cannot read the limit of open files");
            1_024
        });
        let files = usize::try_from(files.saturating_sub(OTHER_FILES).max(1)).unwrap_or(usize::MAX);
        let count = files.min(Semaphore::MAX_PERMITS);
        Self { count, free: Arc::new(Semaphore::new(count)) }
    }

    /// How many sockets there may be: requests must not be kept out by them.
    pub(crate) fn for_sockets(&self) -> usize {
        self.count - FILES_FOR_REQUESTS.min(self.count / 2)
    }
}

/// Serves until `stop`, then lets requests in flight finish, and closes the sockets.
pub(crate) async fn run(
    listener: TcpListener,
    files: Files,
    router: Router,
    sockets: Arc<Sockets>,
    mut stop: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    // A client may close its sending side and still read the response. Title case, because the vendor's Python library
    // shows header names as sent, and the vendor sends title case.
    http.half_close(true)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Each connection has a clone: when all are gone, so are the connections.
    let (connected, mut connections) = mpsc::channel::<()>(1);
    loop {
        // While all places are taken, a client waits in the listen backlog.
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let file = Arc::clone(&files.free).acquire_owned().await;
            (listener.accept().await, place, file)
        };
        let (accepted, place, file) = tokio::select! {
            accepted = accept => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The client has disconnected, or the process has too many open files.
                warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Responses are small and should be sent immediately.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(Lent::new(stream));
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = Io::new(WithRefusals::of(Box::pin(stream)));
        let doors = Doors::new(router.clone(), sockets.clone(), address.ip());
        let connection = http.serve_connection(stream, doors).with_upgrades();
        let (mut stop, connected) = (stop.clone(), connected.clone());
        tokio::spawn(async move {
            // A socket does not hold them: it has those of its own.
            let _held = (place, file, connected);
            let mut connection = pin!(connection);
            let stopped = async move {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let done = tokio::select! {
                done = connection.as_mut() => done,
                () = stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = done {
                debug!(%error, "a connection failed");
            }
        });
    }
    drop((listener, connected));
    let requests = async {
        if timeout(SHUTDOWN_TIMEOUT, connections.recv()).await.is_err() {
            warn!("some requests did not finish in time");
        }
    };
    tokio::join!(requests, sockets.drain());
}
