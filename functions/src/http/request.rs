//! The request as handlers get it.

use std::str::FromStr;

use axum::RequestExt;
use axum::extract::{FromRequest, RawPathParams, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use bytes::Bytes;
use reachability_domain::directory::service::ServiceRef;
use reachability_domain::directory::user::UserRef;
use reachability_domain::push::idempotency::IdempotencyKey;
use reachability_domain::sid::{AccountSid, BindingSid, CredentialSid, KeySid, NotificationSid, RoleSid, Sid};
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::http::body::{self, Limit};
use crate::http::caller::{Caller, admit};
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::room::{Share, is_large};

const WEBHOOK_ENABLED: HeaderName = HeaderName::from_static("x-twilio-webhook-enabled");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request that has been authenticated, read and decoded. Handlers take it as their last argument, since it consumes
/// the body.
pub(crate) struct ApiRequest {
    pub(crate) caller: Caller,
    /// The deployment's account.
    pub(crate) account_sid: AccountSid,
    /// What URLs in the answer begin with.
    pub(crate) base_url: String,
    /// The path as it was sent.
    pub(crate) path: String,
    pub(crate) query: Params,
    pub(crate) body: Bytes,
    /// Whether webhooks are to tell what the request does. Without the header they do not.
    pub(crate) webhook_enabled: bool,
    /// The header with the key of a request that may be repeated.
    idempotency_key: Option<HeaderValue>,
    /// The body's share of the room for bodies, until the request is answered.
    _share: Share,
    is_form: bool,
    /// The variable segments of the path, decoded.
    segments: RawPathParams,
}

impl FromRequest<App> for ApiRequest {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, ApiError> {
        let settings = app.settings();
        let caller = match admit(app, request.extensions(), request.headers()).await {
            Ok(caller) => caller,
            Err(error) if error.status == StatusCode::TOO_MANY_REQUESTS => return Err(error),
            Err(error) => {
                // A client that sends `Expect` waits before it sends the body, so there is none to read.
                let asks_first = request.headers().contains_key(header::EXPECT);
                let is_read = !asks_first && body::discard(request.into_body()).await;
                return Err(if is_read { error } else { error.closing() });
            }
        };
        // Each segment is decoded after the path was split, since a name can contain a slash.
        let segments = request.extract_parts().await;
        let limit = request.extensions().get::<Limit>().copied().unwrap_or(body::DEFAULT_LIMIT);
        let (parts, body) = request.into_parts();
        let (body, mut share) = body::read(body, limit, app.room()).await?;
        share.wait_for_turn(app.room(), body.len()).await;
        let path = parts.uri.path().to_owned();
        Ok(Self {
            caller,
            account_sid: settings.account_sid,
            base_url: settings.public_url.clone().unwrap_or_else(|| requested_origin(&parts.headers, &parts.uri)),
            // Nothing has a name that is not UTF-8.
            segments: segments.map_err(|_| ApiError::not_found(resource(&path)))?,
            query: Params::parse(parts.uri.query().unwrap_or_default())?,
            is_form: is_form(&parts.headers),
            webhook_enabled: parts
                .headers
                .get(WEBHOOK_ENABLED)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")),
            idempotency_key: parts.headers.get(IDEMPOTENCY_KEY).cloned(),
            path,
            body,
            _share: share,
        })
    }
}

impl ApiRequest {
    /// The form in the body. A body of another type has no parameters.
    pub(crate) fn form(&self) -> Result<Params, ApiError> {
        if !self.is_form {
            return Ok(Params::default());
        }
        Params::parse(std::str::from_utf8(&self.body).map_err(|_| ApiError::unreadable("it is not UTF-8"))?)
    }

    /// The key that makes repetitions of the request harmless; `None` if it has none.
    pub(crate) fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, ApiError> {
        let Some(value) = &self.idempotency_key else { return Ok(None) };
        let key = value.to_str().unwrap_or_default().parse();
        key.map(Some).map_err(|why| ApiError::unfit("Idempotency-Key", why))
    }

    /// Runs work on the body: in place, or on another thread if the body is so large that others would wait for it.
    pub(crate) async fn with_body<T: Send + 'static>(
        &self,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if !is_large(self.body.len()) {
            return Ok(work(&self.body));
        }
        let body = self.body.clone();
        spawn_blocking(move || work(&body)).await.map_err(ApiError::internal)
    }

    /// The error for a path that names nothing.
    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(resource(&self.path))
    }

    /// Answers a deletion: 204, or 404 if there was nothing to delete.
    pub(crate) fn deleted(&self, deleted: bool) -> Result<StatusCode, ApiError> {
        if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(self.not_found()) }
    }

    fn segment(&self, name: &str) -> Result<&str, ApiError> {
        let found = self.segments.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value).ok_or_else(|| self.not_found())
    }

    /// The sid in a segment of the path.
    fn sid<S: Sid>(&self, name: &str) -> Result<S, ApiError> {
        self.named(name)
    }

    /// What a segment of the path names. Text that is not valid there names nothing.
    pub(crate) fn named<T: FromStr>(&self, name: &str) -> Result<T, ApiError> {
        self.segment(name)?.parse().map_err(|_| self.not_found())
    }

    /// The account that the path names.
    pub(crate) fn account(&self) -> Result<AccountSid, ApiError> {
        self.sid("account")
    }

    /// The service that the path names, or the account's default one if it names none.
    pub(crate) fn service(&self) -> Result<ServiceRef, ApiError> {
        if self.segments.iter().all(|(name, _)| name != "service") {
            return Ok(ServiceRef::Default);
        }
        self.sid("service").map(ServiceRef::Sid)
    }

    /// The user that the path names.
    pub(crate) fn user(&self) -> Result<UserRef, ApiError> {
        self.named("user")
    }

    /// The binding that the path names.
    pub(crate) fn binding(&self) -> Result<BindingSid, ApiError> {
        self.sid("binding")
    }

    /// The credential that the path names.
    pub(crate) fn credential(&self) -> Result<CredentialSid, ApiError> {
        self.sid("credential")
    }

    /// The role that the path names.
    pub(crate) fn role(&self) -> Result<RoleSid, ApiError> {
        self.sid("role")
    }

    /// The notification that the path names.
    pub(crate) fn notification(&self) -> Result<NotificationSid, ApiError> {
        self.sid("notification")
    }

    /// The API key that the path names. The paths of the 2010 API end in a format.
    pub(crate) fn key(&self) -> Result<KeySid, ApiError> {
        let segment = self.segment("key")?;
        segment.strip_suffix(".json").unwrap_or(segment).parse().map_err(|_| self.not_found())
    }
}

/// The path as the vendor's errors name it: without the version.
fn resource(path: &str) -> &str {
    let rest = path.strip_prefix("/v1").or_else(|| path.strip_prefix("/v2"));
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Whether the body is a form. A body of unknown type counts as one.
fn is_form(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// The origin that the client sent the request to, with a proxy's path prefix. A proxy tells both in its headers.
fn requested_origin(headers: &HeaderMap, uri: &Uri) -> String {
    let value_of = |name: HeaderName| {
        // Each proxy appends its value, so the first value is what the client used.
        let value = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
        (!value.is_empty()).then_some(value)
    };
    let scheme = match value_of(FORWARDED_PROTO) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    let authority = [value_of(FORWARDED_HOST), value_of(header::HOST), uri.authority().map(Authority::as_str)]
        .into_iter()
        .flatten()
        .find(|authority| authority.parse::<Authority>().is_ok_and(|authority| !authority.as_str().contains('@')))
        .unwrap_or("localhost");
    let prefix = value_of(FORWARDED_PREFIX).map(|prefix| prefix.trim_end_matches('/'));
    let prefix = prefix.filter(|prefix| prefix.parse::<Uri>().is_ok_and(|uri| uri.path() == *prefix));
    [scheme, "://", authority, prefix.unwrap_or_default()].concat()
}
