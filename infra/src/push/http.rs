//! HTTP/2 requests over TLS, on persistent connections.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::push::outcome::Trouble;
use reachability_domain::push::reason::Reason;
use reachability_domain::secret::Secret;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
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

/// Timeout of one attempt, including a new connection. Once a request is sent, it gets this one long wait: a provider that is
/// slow carries out each of many short attempts. Google asks for 10 seconds at least
/// (<https://firebase.google.com/docs/cloud-messaging/scale-fcm>).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of attempts per request. Only a request that was not sent is tried again. The backoff between attempts
/// grows and is random.
const ATTEMPTS: u32 = 3;

/// The longest first backoff.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Maximum number of concurrent requests: as many as Apple allows per connection. Others wait here, where the timeout
/// of an attempt does not run.
const AT_ONCE: usize = 1_000;

/// How long an idle connection is reused. A Lambda function may be frozen between two requests while its connections
/// die.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may be silent while requests wait, before a ping, and how long the ping may take. So a connection
/// that died is left before an attempt is over, and one to a server that is only slow is kept.
const PING_AFTER: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(6);

/// Maximum size of a response, in bytes.
const MAX_BODY: usize = 64 * 1_024;

/// The alerts by which a server refuses the client's certificate, and the reasons (RFC 8446, section 6.2).
const REFUSALS: [(AlertDescription, &str); 8] = [
    (AlertDescription::CertificateExpired, Reason::CERTIFICATE_EXPIRED),
    (AlertDescription::CertificateRevoked, "CertificateRevoked"),
    (AlertDescription::CertificateUnknown, NOT_ACCEPTED),
    (AlertDescription::CertificateRequired, NOT_ACCEPTED),
    (AlertDescription::BadCertificate, NOT_ACCEPTED),
    (AlertDescription::UnsupportedCertificate, NOT_ACCEPTED),
    (AlertDescription::UnknownCA, NOT_ACCEPTED),
    (AlertDescription::AccessDenied, NOT_ACCEPTED),
];
const NOT_ACCEPTED: &str = "CertificateNotAccepted";

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
    /// The server says that it has not processed the request.
    #[error("the server refused the request before it processed it")]
    Unprocessed(#[source] BoxError),
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
            Self::Unprocessed(_) => "RequestRefused",
            Self::Lost(error) => tls_reason(&**error).unwrap_or("ConnectionLost"),
            Self::TimedOut => "TimedOut",
            Self::TooLong => "AnswerTooLong",
        }
    }

    /// Why the server does not accept the client's certificate, as one word; `None` if this is not the cause.
    pub fn refused_certificate(&self) -> Option<&'static str> {
        let text = match self {
            Self::NotConnected(error) => ErrorChain(error).to_string(),
            Self::Unprocessed(error) | Self::Lost(error) => ErrorChain(&**error).to_string(),
            Self::TimedOut | Self::TooLong => return None,
        };
        // With TLS 1.3 the alert comes after the handshake. Then the HTTP library keeps only the error's text.
        let is_alert = |alert| text.contains(&rustls::Error::AlertReceived(alert).to_string());
        REFUSALS.into_iter().find(|(alert, _)| is_alert(*alert)).map(|(_, reason)| reason)
    }

    /// What is known of the request.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::NotConnected(_) | Self::Unprocessed(_) => Trouble::NotSent,
            Self::Lost(_) | Self::TimedOut => Trouble::Unanswered,
            Self::TooLong => Trouble::Failed,
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

/// Whether an error says that the server has not processed the request: a GOAWAY names the last request that it has seen, a
/// stream can be refused (RFC 9113, sections 6.8 and 8.7), or the request was never started.
fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let by_server = error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        });
        if by_server || error.downcast_ref().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        next = error.source();
    }
    false
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

    /// Sends a request. Retries it a few times as long as nothing was sent.
    ///
    /// # Errors
    /// If there is no response after half a minute. If the request may have been carried out is in the error
    /// ([`HttpError::trouble`]).
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The semaphore is never closed.
        let _turn = self.at_once.acquire().await.ok();
        for attempt in 1..ATTEMPTS {
            match self.attempt(&request).await {
                Err(error) if error.trouble() == Trouble::NotSent => {
                    debug!(host = request.uri().host(), attempt, error = ?error, "not sent");
                }
                answer => return answer,
            }
            sleep(ids::jitter(FIRST_WAIT * attempt)).await;
        }
        self.attempt(&request).await
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = async {
            let response = self.client.request(request.clone().map(Full::new)).await.map_err(|error| match () {
                () if error.is_connect() => self.not_connected(error),
                () if is_unprocessed(&error) => HttpError::Unprocessed(error.into()),
                () => HttpError::Lost(error.into()),
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

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}
