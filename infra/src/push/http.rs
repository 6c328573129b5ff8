//! Requests over HTTP/2 and TLS, on connections that are kept.

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

/// How long a connection may take to be made, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an attempt may take, with the connection if there is none.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a request may take with all its attempts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a request is made at most. Waits between them grow and are random.
const ATTEMPTS: u32 = 3;

/// How long the first wait is at most.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How many requests are under way at a time: as many as Apple takes on a connection. Others wait for their turn here,
/// where their attempts do not run out of time.
const AT_ONCE: usize = 1_000;

/// For how long an unused connection is trusted. A function may be frozen for long between two requests, and its
/// connections gone by then.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may be silent while answers are awaited, before the server is asked whether it is there, and how long it
/// may take to say so. Together less than an attempt may take: the next one finds out whether a new connection helps.
const PING_AFTER: Duration = Duration::from_millis(1_500);
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long an answer may be, in bytes.
const MAX_BODY: usize = 64 * 1_024;

/// What servers' certificates must lead to. Reading it takes a while, so it is shared.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

/// Certificates or a key that TLS cannot be done with. It does not say what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is not one certificate to trust.
    #[error("no root certificates to trust")]
    NoRoots,
    /// Not PEM, or not with a certificate and its private key.
    #[error("expected a certificate and its private key in PEM")]
    Pem,
    /// TLS cannot use them.
    #[error("certificate or key not usable: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Roots {
    /// Those of the machine, or of the file or directory that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    ///
    /// # Errors
    /// If there are none.
    pub fn native() -> Result<Self, TlsError> {
        Self::of(rustls_native_certs::load_native_certs().certs)
    }

    /// Those of a PEM text.
    ///
    /// # Errors
    /// If there are none.
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        Self::of(CertificateDer::pem_slice_iter(pem.as_bytes()).flatten())
    }

    fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        // Machines have a few that are too old to be understood.
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(Self(Arc::new(roots))) }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

/// Which versions of HTTP a server is talked to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/2, all requests on one connection.
    Http2,
    /// HTTP/2 or HTTP/1.1, as the server likes.
    Any,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection could be made.
    #[error("no connection")]
    NotConnected(#[source] NoConnection),
    /// The connection or the request was cut off.
    #[error("the connection was lost")]
    Lost(#[source] BoxError),
    /// There was none in time.
    #[error("no answer in time")]
    TimedOut,
    /// It is longer than an answer can be.
    #[error("the answer is too long")]
    TooLong,
}

impl HttpError {
    /// A word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected(NoConnection(error)) => tls_reason(&***error).unwrap_or("NotConnected"),
            Self::Lost(error) => tls_reason(&**error).unwrap_or("ConnectionLost"),
            Self::TimedOut => "TimedOut",
            Self::TooLong => "AnswerTooLong",
        }
    }
}

/// Why a connection could not be made: shared by all requests that were waiting for it.
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

/// A word for what TLS says in an error's chain; `None` if it says nothing.
pub(super) fn tls_reason(error: &(dyn Error + 'static)) -> Option<&'static str> {
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
            // Its source is not the error that it wraps, but that error's source.
            Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// Makes requests to a server. Its connections end when it is dropped and the last answer is in.
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    at_once: Semaphore,
    /// Why the last connection that was not made was not.
    no_connection: Arc<Mutex<Option<NoConnection>>>,
}

impl Http {
    /// To servers with certificates from these roots; with a certificate of our own, and its key, in PEM if they want one.
    ///
    /// # Errors
    /// If the certificate or its key cannot be used.
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
            // Apple takes one request on a new connection, and more when it has said so.
            .http2_initial_max_send_streams(1)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(BoxCloneSyncService::new(connector));
        Ok(Self { client, at_once: Semaphore::new(AT_ONCE), no_connection })
    }

    /// Makes a request, and again a few times if there is no answer, or one that says that the server has trouble. It must
    /// be one that may arrive twice.
    ///
    /// # Errors
    /// If there is no answer after some seconds.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(REQUEST_TIMEOUT, self.attempts(request)).await.unwrap_or(Err(HttpError::TimedOut))
    }

    async fn attempts(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // It is never closed.
        let _turn = self.at_once.acquire().await.ok();
        let mut had_trouble = false;
        for attempt in 1..ATTEMPTS {
            let answer = self.attempt(&request).await;
            match &answer {
                Ok(response) if !had_trouble && is_trouble(response) => had_trouble = true,
                Ok(_) | Err(HttpError::TooLong) => return answer,
                Err(error) => debug!(host = request.uri().host(), attempt, error = ?error, "no answer"),
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

    /// One request makes the connection. Those that wait for it are only told that there is none, and not why.
    fn not_connected(&self, error: hyper_util::client::legacy::Error) -> HttpError {
        let own = error.source().and_then(|source| source.downcast_ref::<NoConnection>()).cloned();
        let last = || self.no_connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HttpError::NotConnected(own.or_else(last).unwrap_or_else(|| NoConnection::new(error)))
    }
}

/// Whether it is worth asking again: not if the server says when.
fn is_trouble(response: &Response<Bytes>) -> bool {
    let statuses = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE];
    statuses.contains(&response.status()) && !response.headers().contains_key(http::header::RETRY_AFTER)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}
