//! Sends webhooks over HTTP and HTTPS.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::uri::Authority;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reachability_domain::directory::auth_tokens::AuthTokens;
use reachability_domain::directory::service::WebhookMethod;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::secret::Secret;
use reachability_domain::time::Timestamp;
use reachability_domain::webhook::ports::{WebhookAnswer, WebhookRequest, WebhookSender};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::addresses::{AddressRefused, AddressRules, CheckedResolver};
use super::names::Names;
use super::signature::sign;
use crate::push::http::{Roots, TlsError, tls_reason};
use crate::push::retry_after;

/// How long a receiver may take for everything, including the lookup of its name.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long the body of an answer is read. It says nothing: it is read so that the connection can be used again.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of it is read, in bytes.
const MAX_BODY: usize = 64 * 1_024;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How many idle connections to one receiver are kept.
const IDLE_CONNECTIONS: usize = 4;

/// The longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

const SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");
const IDEMPOTENCY_TOKEN: HeaderName = HeaderName::from_static("i-twilio-idempotency-token");

/// What is not encoded in a form.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

type HttpClient = Client<HttpsConnector<HttpConnector<CheckedResolver>>, Full<Bytes>>;

/// Sends webhooks.
pub struct HttpWebhooks {
    /// The account's auth tokens: the primary one is the key of signatures.
    tokens: watch::Receiver<AuthTokens>,
    rules: AddressRules,
    names: Arc<Names>,
    /// The machine's root certificates are loaded on first use, since that takes a while.
    roots: Option<Roots>,
    client: OnceLock<HttpClient>,
    clock: fn() -> Timestamp,
}

impl HttpWebhooks {
    /// Signs with the account's current primary auth token, and calls what the rules allow. Trusts the machine's root
    /// certificates unless `roots` is given.
    pub fn new(
        tokens: watch::Receiver<AuthTokens>,
        rules: AddressRules,
        roots: Option<Roots>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self { tokens, rules, names: Arc::new(Names::new(None)), roots, client: OnceLock::new(), clock }
    }

    /// Asks this DNS server, and not those of the machine.
    pub fn with_dns_server(self, server: SocketAddr) -> Self {
        Self { names: Arc::new(Names::new(Some(server))), ..self }
    }

    fn client(&self) -> Result<&HttpClient, TlsError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => Roots::native().unwrap_or_else(|error| {
                warn!(error = %ErrorChain(&error), "webhooks cannot be sent over HTTPS");
                Roots::none()
            }),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.store())
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(CheckedResolver::new(self.rules, self.names.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(self.client.get_or_init(|| client))
    }

    /// Returns the head of the answer, or why there is none.
    async fn try_send(&self, request: &WebhookRequest) -> Result<Response<Incoming>, WebhookAnswer> {
        let Some(request) = encode(request, &self.tokens.borrow().primary) else {
            return Err(WebhookAnswer::none("InvalidUrl", "the URL cannot be called"));
        };
        // The connector looks up names only.
        let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        if host.parse().is_ok_and(|address: IpAddr| !self.rules.allow(address)) {
            return Err(refused());
        }
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Err(WebhookAnswer::none("TlsFailed", &ErrorChain(&error).to_string())),
        };
        match client.request(request).await {
            Ok(response) => Ok(response),
            Err(error) if is_refused(&error) => Err(refused()),
            Err(error) => {
                let reason = if error.is_connect() { "NotConnected" } else { "ConnectionLost" };
                let reason = tls_reason(&error).unwrap_or(reason);
                Err(WebhookAnswer::none(reason, &ErrorChain(&error).to_string()))
            }
        }
    }
}

#[async_trait]
impl WebhookSender for HttpWebhooks {
    async fn send(&self, request: &WebhookRequest) -> WebhookAnswer {
        let response = match timeout(TIMEOUT, self.try_send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(failed)) => return failed,
            Err(_) => return WebhookAnswer::none("TimedOut", "no answer in time"),
        };
        let asked = retry_after(response.headers(), (self.clock)(), MAX_RETRY_AFTER);
        let answer = WebhookAnswer::of_status(response.status().as_u16(), asked);
        // The status is the answer, however slow the body is.
        let _ = timeout(BODY_TIMEOUT, Limited::new(response.into_body(), MAX_BODY).collect()).await;
        answer
    }
}

fn refused() -> WebhookAnswer {
    WebhookAnswer::none("AddressRefused", &AddressRefused.to_string())
}

/// Whether the address was refused that the name belongs to.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && cause.is::<AddressRefused>()
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The signed request; `None` if the URL cannot be called.
fn encode(request: &WebhookRequest, token: &Secret) -> Option<Request<Full<Bytes>>> {
    let form = request.parameters.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)));
    let form = form.collect::<Vec<_>>().join("&");
    let mut url = called(&request.target.url);
    let (method, signed, body) = match request.target.method {
        WebhookMethod::Post => (Method::POST, &request.parameters[..], form),
        WebhookMethod::Get => {
            let separator = match url.split_once('?') {
                None => "?",
                Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
                Some(_) => "&",
            };
            url.extend([separator, &form]);
            (Method::GET, &[][..], String::new())
        }
    };
    let mut uri = url.parse::<Uri>().ok()?.into_parts();
    let authority = uri.authority.take()?;
    let (userinfo, host) = match authority.as_str().rsplit_once('@') {
        Some((userinfo, host)) => (Some(userinfo), host),
        None => (None, authority.as_str()),
    };
    let called: Authority = host.parse().ok()?;
    // A port that is none would be that of the scheme.
    if called.port_u16().is_none() && called.host() != host {
        return None;
    }
    uri.authority = Some(called);
    let mut encoded = Request::builder()
        .method(&method)
        .uri(Uri::from_parts(uri).ok()?)
        .header(SIGNATURE, sign(token, &url, signed))
        .header(IDEMPOTENCY_TOKEN, &request.token)
        .header(USER_AGENT, concat!("reachability/", env!("CARGO_PKG_VERSION")));
    if method == Method::POST {
        encoded = encoded.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    if let Some(userinfo) = userinfo.filter(|userinfo| !userinfo.is_empty()) {
        let mut decoded: Vec<u8> = percent_decode_str(userinfo).collect();
        if !userinfo.contains(':') {
            decoded.push(b':');
        }
        let mut credentials = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(decoded))).ok()?;
        credentials.set_sensitive(true);
        encoded = encoded.header(AUTHORIZATION, credentials);
    }
    encoded.body(Full::from(body)).ok()
}

/// The URL that the receiver sees: as the owner wrote it, without a fragment, and with the path `/` if it has none.
fn called(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let authority = url.find("://").map_or(0, |scheme| scheme + 3);
    match url[authority..].find(['/', '?']) {
        Some(end) if url[authority + end..].starts_with('/') => url.to_owned(),
        Some(end) => format!("{}/{}", &url[..authority + end], &url[authority + end..]),
        None => format!("{url}/"),
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::webhook::target::WebhookTarget;

    use super::*;

    fn request(url: &str, method: WebhookMethod) -> WebhookRequest {
        let target = WebhookTarget { url: url.to_owned(), method };
        let parameters = vec![("Identity", "a & b+ü/\u{1F600}".to_owned()), ("isOnline", "true".to_owned())];
        WebhookRequest { target, parameters, token: "the-token".to_owned() }
    }

    const FORM: &str = "Identity=a%20%26%20b%2B%C3%BC%2F%F0%9F%98%80&isOnline=true";

    async fn encoded(url: &str, method: WebhookMethod) -> (String, Request<Full<Bytes>>, String) {
        let encoded = encode(&request(url, method), &Secret::new("12345")).unwrap();
        let body = encoded.body().clone().collect().await.unwrap().to_bytes();
        (encoded.uri().to_string(), encoded, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_post_has_its_parameters_in_the_body() {
        let (url, head, body) = encoded("https://example.com/hook?a=%20b", WebhookMethod::Post).await;
        assert_eq!((url.as_str(), body.as_str()), ("https://example.com/hook?a=%20b", FORM));
        assert_eq!(head.method(), Method::POST);
        assert_eq!(head.headers()[CONTENT_TYPE], "application/x-www-form-urlencoded");
        let parameters = request("", WebhookMethod::Post).parameters;
        assert_eq!(head.headers()[SIGNATURE], sign(&Secret::new("12345"), &url, &parameters));
        assert_eq!(head.headers()[IDEMPOTENCY_TOKEN], "the-token");
    }

    #[tokio::test]
    async fn a_get_has_its_parameters_in_the_query() {
        for (url, expected) in [
            ("https://example.com/hook", format!("https://example.com/hook?{FORM}")),
            ("https://example.com/hook?", format!("https://example.com/hook?{FORM}")),
            ("https://example.com/hook?a=b", format!("https://example.com/hook?a=b&{FORM}")),
            ("https://example.com/hook?a=b&#c", format!("https://example.com/hook?a=b&{FORM}")),
            ("https://example.com", format!("https://example.com/?{FORM}")),
        ] {
            let (called, head, body) = encoded(url, WebhookMethod::Get).await;
            assert_eq!((called.as_str(), body.as_str()), (expected.as_str(), ""), "{url}");
            assert_eq!(head.headers()[SIGNATURE], sign(&Secret::new("12345"), &expected, &[]), "{url}");
            assert!(!head.headers().contains_key(CONTENT_TYPE));
        }
    }

    #[tokio::test]
    async fn credentials_in_the_url_are_sent_as_a_header() {
        let (url, head, _) = encoded("http://me:p%40ss@example.com:8080/a", WebhookMethod::Post).await;
        assert_eq!(url, "http://example.com:8080/a");
        assert_eq!(head.headers()[AUTHORIZATION], "Basic bWU6cEBzcw==");
        assert!(head.headers()[AUTHORIZATION].is_sensitive());
        // The owner's validator knows the URL as the owner has written it.
        let parameters = request("", WebhookMethod::Post).parameters;
        let signed = sign(&Secret::new("12345"), "http://me:p%40ss@example.com:8080/a", &parameters);
        assert_eq!(head.headers()[SIGNATURE], signed);
        for url in ["http://example.com/@", "http://@example.com/"] {
            let (_, head, _) = encoded(url, WebhookMethod::Post).await;
            assert!(!head.headers().contains_key(AUTHORIZATION), "{url}");
        }
        let (_, head, _) = encoded("http://me@example.com/", WebhookMethod::Post).await;
        assert_eq!(head.headers()[AUTHORIZATION], "Basic bWU6");
    }

    #[test]
    fn a_port_that_is_none_is_not_called() {
        for url in ["http://example.com:99999/", "http://example.com:/", "http://me:pa/ss@example.com/"] {
            assert!(encode(&request(url, WebhookMethod::Post), &Secret::new("12345")).is_none(), "{url}");
        }
        assert!(encode(&request("http://[::1]:80/", WebhookMethod::Post), &Secret::new("12345")).is_some());
        assert!(encode(&request("http://[::1]/", WebhookMethod::Post), &Secret::new("12345")).is_some());
    }

    #[test]
    fn the_url_is_called_as_it_was_written() {
        for (url, expected) in [
            ("https://example.com", "https://example.com/"),
            ("https://example.com?a=/b", "https://example.com/?a=/b"),
            ("https://Example.com:443/A%2fb?c=//", "https://Example.com:443/A%2fb?c=//"),
            ("https://example.com/a#b?c", "https://example.com/a"),
            ("https://example.com#b", "https://example.com/"),
        ] {
            assert_eq!(called(url), expected);
        }
    }
}
