//! The HTTP listener.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use crate::connections::Connections;
use crate::refusal::WithRefusals;
use crate::sockets::{Doors, Io, Lent, Sockets};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a write of a response may block on the client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of a request's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long requests may continue after a stop signal. Process managers often kill after ten seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `stop`, then lets requests in flight finish, and closes the sockets.
pub(crate) async fn run(
    listener: TcpListener,
    connections: Arc<Connections>,
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
    // Each connection has a clone: when all are gone, so are the connections.
    let (connected, mut all_gone) = mpsc::channel::<()>(1);
    loop {
        // Until there is room, a client waits in the listen backlog.
        let accept = async {
            let room = connections.room().await;
            (listener.accept().await, room)
        };
        let (accepted, room) = tokio::select! {
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
        let place = Arc::new(connections.add(address.ip(), room));
        let doors = Doors::new(router.clone(), sockets.clone(), address.ip(), place.clone());
        let connection = http.serve_connection(stream, doors).with_upgrades();
        let (mut stop, connected) = (stop.clone(), connected.clone());
        tokio::spawn(async move {
            // It is held until the connection is gone, or is a socket.
            let _connected = connected;
            let mut connection = pin!(connection);
            let stopped = async {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => false,
                    at_once = place.is_to_close() => at_once,
                }
            };
            let done = tokio::select! {
                biased;
                done = connection.as_mut() => done,
                at_once = stopped => {
                    if at_once {
                        debug!("a connection is closed to make place for another one");
                        return;
                    }
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
        if timeout(SHUTDOWN_TIMEOUT, all_gone.recv()).await.is_err() {
            warn!("some requests did not finish in time");
        }
    };
    tokio::join!(requests, sockets.drain());
}
