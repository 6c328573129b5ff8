//! HTTP/2 requests over TLS, on persistent connections.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reachability_domain::secret::Secret;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt, service_fn};
use tracing::debug;

use crate::ids;

/// Timeout for making a connection, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of one attempt, including a new connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// Timeout of a request with all its attempts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of attempts per request. The backoff between them grows and is random.
const ATTEMPTS: u32 = 3;

/// The longest first backoff.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Maximum number of concurrent requests: as many as Apple allows per connection. Others wait here, where the timeout
/// of an attempt does not run.
const AT_ONCE: usize = 1_000;

/// How long an idle connection is reused. A Lambda function may be frozen between two requests while its connections
/// die.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may be silent while requests wait, before a ping, and how long the ping may take. The sum is
/// shorter than an attempt, so the next attempt can use a new connection.
const PING_AFTER: Duration = Duration::from_millis(1_500);
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Maximum size of a response, in bytes.
const MAX_BODY: usize = 64 * 1_024;

/// Trusted root certificates. Loading them takes a while, so they are shared.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

/// Unusable certificates or keys. The error does not contain them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No root certificate was found.
    #[error("no root certificates to trust")]
    NoRoots,
    /// Not PEM, or without a certificate and its private key.
    #[error("expected a certificate and its private key in PEM")]
    Pem,
    /// TLS rejects them.
    #[error("certificate or key not usable: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Roots {
    /// The machine's root certificates, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    ///
    /// # Errors
    /// If none is found.
    pub fn native() -> Result<Self, TlsError> {
        Self::of(rustls_native_certs::load_native_certs().certs)
    }

    /// The root certificates in a PEM text.
    ///
    /// # Errors
    /// If none is found.
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        Self::of(CertificateDer::pem_slice_iter(pem.as_bytes()).flatten())
    }

    /// None: nobody is trusted.
    pub(crate) fn none() -> Self {
        Self(Arc::new(RootCertStore::empty()))
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        self.0.clone()
    }

    fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        // Machines often have a few outdated certificates that cannot be parsed.
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(Self(Arc::new(roots))) }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// The HTTP versions to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/2 only, with all requests on one connection.
    Http2,
    /// HTTP/2 or HTTP/1.1; the server chooses.
    Any,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection could be made.
    #[error("no connection")]
    NotConnected(#[source] NoConnection),
    /// The connection or the request was cut off.
    #[error("the connection was lost")]
    Lost(#[source] BoxError),
    /// No response in time.
    #[error("no answer in time")]
    TimedOut,
    /// The response is longer than the limit.
    #[error("the answer is too long")]
    TooLong,
}

impl HttpError {
    /// The reason, as one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected(NoConnection(error)) => tls_reason(&***error).unwrap_or("NotConnected"),
            Self::Lost(error) => tls_reason(&**error).unwrap_or("ConnectionLost"),
            Self::TimedOut => "TimedOut",
            Self::TooLong => "AnswerTooLong",
        }
    }
}

/// Why a connection could not be made. All requests that waited for it share this value.
#[derive(Debug, Clone)]
pub struct NoConnection(Arc<BoxError>);

impl NoConnection {
    fn new(error: impl Into<BoxError>) -> Self {
        Self(Arc::new(error.into()))
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for NoConnection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The reason of a TLS error in the chain, as one word; `None` if there is no TLS error.
pub(crate) fn tls_reason(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                return Some("CertificateRefused");
            }
            Some(_) => return Some("TlsFailed"),
            None => {}
        }
        next = match error.downcast_ref::<io::Error>() {
            // The source of an `io::Error` is not the wrapped error, but that error's source.
            Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// A client for one server. Its connections close when it is dropped and the last response has arrived.
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    at_once: Semaphore,
    /// The error of the last failed connection attempt.
    no_connection: Arc<Mutex<Option<NoConnection>>>,
}

impl Http {
    /// A client that trusts these roots; with a client certificate and its key in PEM, if given.
    ///
    /// # Errors
    /// If the client certificate or its key is unusable.
    pub fn new(versions: Versions, roots: &Roots, certificate: Option<&Secret>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.0.clone());
        let tls = match certificate {
            None => tls.with_no_client_auth(),
            Some(pem) => {
                let pem = pem.expose().as_bytes();
                let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
                let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Pem)?;
                let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Pem)?;
                tls.with_client_auth_cert(chain, key)?
            }
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let https = match versions {
            Versions::Http2 => https.enable_http2().wrap_connector(tcp),
            Versions::Any => https.enable_all_versions().wrap_connector(tcp),
        };
        let no_connection = Arc::new(Mutex::default());
        let last = no_connection.clone();
        let connector = service_fn(move |uri| {
            let (connecting, last) = (https.clone().oneshot(uri), last.clone());
            async move {
                let connected = timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|late| Err(late.into()));
                connected.map_err(|error| {
                    let error = NoConnection::new(error);
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                    error.into()
                })
            }
        });
        let client = Client::builder(TokioExecutor::new())
            .http2_only(versions == Versions::Http2)
            // Apple accepts one request on a new connection until it announces a higher limit.
            .http2_initial_max_send_streams(1)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(BoxCloneSyncService::new(connector));
        Ok(Self { client, at_once: Semaphore::new(AT_ONCE), no_connection })
    }

    /// Sends a request, and retries it a few times if there is no response or a server error. The request must be
    /// idempotent.
    ///
    /// # Errors
    /// If there is no response after some seconds.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(REQUEST_TIMEOUT, self.attempts(request)).await.unwrap_or(Err(HttpError::TimedOut))
    }

    async fn attempts(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The semaphore is never closed.
        let _turn = self.at_once.acquire().await.ok();
        let mut had_trouble = false;
        for attempt in 1..ATTEMPTS {
            let answer = self.attempt(&request).await;
            match &answer {
                Ok(response) if !had_trouble && is_trouble(response) => had_trouble = true,
                Ok(_) | Err(HttpError::TooLong) => return answer,
                Err(error) => debug!(host = request.uri().host(), attempt, error = ?error, "no response"),
            }
            sleep(ids::jitter(FIRST_WAIT * attempt)).await;
        }
        self.attempt(&request).await
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = async {
            let response = self.client.request(request.clone().map(Full::new)).await.map_err(|error| {
                if error.is_connect() { self.not_connected(error) } else { HttpError::Lost(error.into()) }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { HttpError::TooLong } else { HttpError::Lost(error) }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(ATTEMPT_TIMEOUT, answer).await.unwrap_or(Err(HttpError::TimedOut))
    }

    /// One request makes the connection. Requests that wait for it only learn that it failed, so they take the stored
    /// cause.
    fn not_connected(&self, error: hyper_util::client::legacy::Error) -> HttpError {
        let own = error.source().and_then(|source| source.downcast_ref::<NoConnection>()).cloned();
        let last = || self.no_connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HttpError::NotConnected(own.or_else(last).unwrap_or_else(|| NoConnection::new(error)))
    }
}

/// Whether a retry makes sense: not if the server says when to retry.
fn is_trouble(response: &Response<Bytes>) -> bool {
    let statuses = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
    statuses.contains(&response.status()) && !response.headers().contains_key(http::header::RETRY_AFTER)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}
