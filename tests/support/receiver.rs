//! An owner's server, which receives webhooks: a real HTTP server on this machine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::providers::Ca;
use crate::wait::wait;

/// A request that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The method.
    pub method: String,
    /// The URL that was called.
    pub url: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// The parameters of the body, or of the query if there is no body.
    pub parameters: BTreeMap<String, String>,
}

impl Webhook {
    /// A parameter; nothing if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// The event and the user.
    pub fn what(&self) -> (&str, &str) {
        (self.get("EventType"), self.get("Identity"))
    }

    /// The revision of the change.
    pub fn revision(&self) -> u64 {
        self.get("Revision").parse().unwrap()
    }

    /// The token by which repetitions are known.
    pub fn token(&self) -> &str {
        &self.headers["i-twilio-idempotency-token"]
    }
}

/// How a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With this status and this header.
    With(u16, &'static str, String),
    /// With success, after this time.
    After(Duration),
    /// Never.
    Never,
}

/// Decides how a request is answered.
pub type Behaviour = Box<dyn FnMut(&Webhook) -> Answer + Send>;

/// What outlives the end of a receiver.
#[derive(Clone)]
pub struct Inbox {
    received: Arc<Mutex<Vec<Webhook>>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { received: Arc::default(), behaviour: Arc::new(Mutex::new(Box::new(|_| Answer::Status(200)))) }
    }
}

impl Inbox {
    /// Everything that was received, in order.
    pub fn all(&self) -> Vec<Webhook> {
        self.received.lock().unwrap().clone()
    }

    /// Removes and returns everything that was received.
    pub fn take(&self) -> Vec<Webhook> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// How much was received.
    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Answers like this from now on.
    pub fn answer(&self, behaviour: impl FnMut(&Webhook) -> Answer + Send + 'static) {
        *self.behaviour.lock().unwrap() = Box::new(behaviour);
    }
}

/// A running server. It ends, with its connections, when it is dropped.
pub struct Receiver {
    /// What it received.
    pub inbox: Inbox,
    /// Where it listens.
    pub address: SocketAddr,
    scheme: &'static str,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Inbox::default()).await
    }

    /// Starts it on a free port, with HTTPS.
    pub async fn with_tls(ca: &Ca) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), Inbox::default(), Some(TlsAcceptor::from(ca.server()))).await
    }

    /// Starts it at this address, where an earlier one may have been.
    pub async fn start_at(address: SocketAddr, inbox: Inbox) -> Self {
        Self::listen(address, inbox, None).await
    }

    async fn listen(address: SocketAddr, inbox: Inbox, tls: Option<TlsAcceptor>) -> Self {
        // The earlier one is dropped, and gone a moment later.
        let listener = wait("the port is free", async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).ok()?;
            socket.listen(1_024).ok()
        })
        .await;
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        server.spawn(serve(listener, inbox.clone(), tls));
        Self { inbox, address, scheme, _server: server }
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }
}

async fn serve(listener: TcpListener, inbox: Inbox, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (connection, inbox, tls) = (accepted.unwrap().0, inbox.clone(), tls.clone());
                let service = service_fn(move |request| answer(request, inbox.clone()));
                connections.spawn(async move {
                    // The client may be killed, or not trust the server.
                    let http = http1::Builder::new();
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(connection), service).await,
                        Some(tls) => match tls.accept(connection).await {
                            Ok(connection) => http.serve_connection(TokioIo::new(connection), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: Request<Incoming>, inbox: Inbox) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // The client may be killed before it has sent everything.
    let Ok(body) = body.collect().await else { std::future::pending().await };
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    let header =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
    let headers: BTreeMap<String, String> = head.headers.iter().map(header).collect();
    let url = format!("http://{}{}", headers["host"], head.uri);
    let form = if body.is_empty() { head.uri.query().unwrap_or_default() } else { &body };
    let form = reqwest::Url::parse(&format!("http://form/?{form}")).unwrap();
    let parameters = form.query_pairs().into_owned().collect();
    let webhook = Webhook { method: head.method.to_string(), url, headers, body, parameters };
    let answer = (inbox.behaviour.lock().unwrap())(&webhook);
    inbox.received.lock().unwrap().push(webhook);
    let response = Response::builder();
    let response = match answer {
        Answer::Status(status) => response.status(status),
        Answer::With(status, name, value) => response.status(status).header(name, value),
        Answer::After(time) => {
            sleep(time).await;
            response
        }
        Answer::Never => std::future::pending().await,
    };
    Ok(response.body(Full::from("thanks")).unwrap())
}
