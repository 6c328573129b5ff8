//! From an HTTP request to a socket.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use reachability_functions::{Source, malformed_request};
use reachability_gateway::twilsock;
use reachability_infra::ids::Uuids;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tracing::debug;
use tungstenite::handshake::derive_accept_key;

use super::protocol::Protocol;
use super::{PATH, Sockets, driver, json};
use crate::connections::Connection;
use crate::metrics::answered;
use crate::refusal::WithRefusals;

/// A connection, as the HTTP library has it.
pub(crate) type Io = TokioIo<WithRefusals<Pin<Box<TimeoutStream<Lent>>>>>;

/// The only version of WebSocket.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Opens sockets, and leaves all other requests to a router.
#[derive(Clone)]
pub(crate) struct Doors {
    router: TowerToHyperService<Router>,
    sockets: Arc<Sockets>,
    /// Who is connected.
    peer: IpAddr,
    connection: Arc<Connection>,
}

impl Doors {
    pub(crate) fn new(router: Router, sockets: Arc<Sockets>, peer: IpAddr, connection: Arc<Connection>) -> Self {
        Self { router: TowerToHyperService::new(router), sockets, peer, connection }
    }
}

impl Service<Request<Incoming>> for Doors {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Response<Body>, Infallible>>, TowerToHyperServiceFuture<Router, Request<Incoming>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let address = self.connection.client(self.peer, request.headers());
        match request.uri().path() {
            PATH => self.answer(PATH, request, address, Self::open::<twilsock::Session>),
            json::PATH => self.answer(json::PATH, request, address, Self::open::<reachability_gateway::json::Session>),
            _ => {
                request.extensions_mut().insert(Source::new(address, self.connection.is_known().clone()));
                Either::Right(self.router.call(request))
            }
        }
    }
}

impl Doors {
    /// Answers at once, and counts the answer. The router counts its own.
    fn answer(
        &self,
        route: &str,
        request: Request<Incoming>,
        address: IpAddr,
        open: impl FnOnce(&Self, Request<Incoming>, IpAddr) -> Response<Body>,
    ) -> <Self as Service<Request<Incoming>>>::Future {
        let (method, started) = (request.method().clone(), Instant::now());
        let response = open(self, request, address);
        answered(&*self.sockets.metrics, &method, route, &response, started);
        Either::Left(ready(Ok(response)))
    }

    /// Accepts a socket from this address, which is served once the response is sent.
    fn open<P: Protocol>(&self, request: Request<Incoming>, address: IpAddr) -> Response<Body> {
        let Some(key) = websocket_key(&request) else {
            let mut response = malformed_request(&Uuids, StatusCode::UPGRADE_REQUIRED.as_u16()).map(Body::from);
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, VERSION);
            return response;
        };
        let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        let mut response = Response::new(Body::empty());
        let place = match self.sockets.registry.place(address) {
            Ok(place) => place.with_file(self.connection.take_file()),
            Err(too_many) => {
                debug!(reason = %too_many, "a socket is refused");
                self.sockets.metrics.add(too_many.1);
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
                return response;
            }
        };
        let sockets = self.sockets.clone();
        tokio::spawn(async move {
            match hyper::upgrade::on(request).await {
                Ok(upgraded) => {
                    if let Some((stream, early)) = taken(upgraded) {
                        // As a task of its own, which is smaller than this one.
                        tokio::spawn(driver::run::<P>(sockets, stream, early, place));
                    }
                }
                Err(error) => debug!(%error, "a connection did not become a socket"),
            }
        });
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accepted) = accepted {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
        }
        response
    }
}

/// The connection without what HTTP needs, and what the client sent after its request already.
fn taken(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<Io>().ok()?;
    let stream = parts.io.into_inner().inner_mut().as_mut().get_pin_mut().take()?;
    Some((stream, parts.read_buf.into()))
}

/// The key of a request for a WebSocket; `None` if it is another request.
fn websocket_key<B>(request: &Request<B>) -> Option<&HeaderValue> {
    let headers = request.headers();
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let is_websocket = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION) == Some(&VERSION);
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_websocket && key.len() == 24)
}

/// A stream that can be taken back from whom it is lent to.
pub(crate) struct Lent(Option<TcpStream>);

impl Lent {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    fn take(self: Pin<&mut Self>) -> Option<TcpStream> {
        self.get_mut().0.take()
    }

    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut().0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
