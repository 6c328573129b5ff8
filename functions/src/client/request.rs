//! A client's request, as handlers get it.

use axum::RequestExt;
use axum::body::to_bytes;
use axum::extract::{FromRequest, RawPathParams, Request};
use bytes::Bytes;
use reachability_domain::directory::user::UserRef;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::App;
use crate::client::Client;
use crate::http::error::ApiError;
use crate::http::params::Params;

/// The largest body, in bytes. A profile with every field at its limit fits in.
const MAX_BODY: usize = 64 * 1024;

/// What URLs begin with if the deployment has no public URL. A client takes nothing but the path of them, except for media,
/// which it would send there itself: no such host can exist.
const NO_ORIGIN: &str = "https://reachability.invalid";

/// A request whose sender is known. Handlers take it as their last argument, since it consumes the body.
pub(super) struct ClientRequest {
    pub(super) client: Client,
    /// What URLs in the answer begin with.
    pub(super) base_url: String,
    /// The path as it was sent.
    pub(super) path: String,
    pub(super) query: Params,
    body: Bytes,
    /// The variable segments of the path, decoded.
    segments: Vec<(String, String)>,
}

impl FromRequest<App> for ClientRequest {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, ApiError> {
        let client = request.extensions().get::<Client>().cloned().ok_or_else(ApiError::unauthorized)?;
        let params: Result<RawPathParams, _> = request.extract_parts().await;
        let path = request.uri().path().to_owned();
        // Nothing has a name that is not UTF-8.
        let params = params.map_err(|_| ApiError::not_found(&path))?;
        let segments = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let query = Params::parse(request.uri().query().unwrap_or_default())?;
        let body = to_bytes(request.into_body(), MAX_BODY).await;
        Ok(Self {
            client,
            base_url: app.settings().public_url.clone().unwrap_or_else(|| NO_ORIGIN.to_owned()),
            path,
            query,
            body: body.map_err(|_| ApiError::too_large(MAX_BODY, "bytes"))?,
            segments,
        })
    }
}

impl ClientRequest {
    /// The JSON object in the body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let object = serde_json::from_slice(&self.body).map(Value::Object);
        let value = object.and_then(T::deserialize);
        value.map_err(|error| ApiError::unreadable(format_args!("malformed JSON: {error}")))
    }

    /// The error for a path that names nothing.
    pub(super) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.path)
    }

    /// A variable segment of the path.
    pub(super) fn segment(&self, name: &str) -> Result<&str, ApiError> {
        let found = self.segments.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| self.not_found())
    }

    /// The user who sent it.
    pub(super) fn own(&self) -> UserRef {
        UserRef::Identity(self.client.user.identity.clone())
    }
}
