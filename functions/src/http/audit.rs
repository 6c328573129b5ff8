//! The audit: a line in the log for each write of the owner, with who wrote what from where, and no values.
//!
//! Events are left out: they are not the owner's, and there are too many.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::RequestExt;
use axum::body::{Body, to_bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use reachability_domain::sid::RequestSid;
use serde::Deserialize;
use tracing::info;

use crate::http::caller::{Caller, OwnerKey};
use crate::http::error::ApiError;
use crate::http::request_log::method_name;
use crate::http::source::Source;
use crate::routes::events;

/// Where the lines are in the log.
const TARGET: &str = "audit";

/// Who sent a request, once that is known: an extension of requests that write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Author(Arc<OnceLock<Caller>>);

impl Author {
    pub(crate) fn is(&self, caller: Caller) {
        // A request is authenticated once.
        let _ = self.0.set(caller);
    }
}

/// The sid of what a request has written: an extension of answers that do not show it.
#[derive(Debug, Clone)]
pub(crate) struct Written(pub(crate) String);

/// What is known of a write. When it is dropped, its line is logged, if the owner sent it.
pub(crate) struct Write {
    request: RequestSid,
    author: Author,
    address: Option<IpAddr>,
    method: Method,
    route: String,
    service: Option<String>,
    resource: Option<String>,
    /// `None` if the client went away before the answer. It may have been done all the same.
    status: Option<StatusCode>,
}

impl Write {
    /// Begins with a request; `None` if it writes nothing that is audited.
    pub(crate) async fn of(request: &mut Request, id: RequestSid, route: &str) -> Option<Self> {
        let method = request.method().clone();
        if matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) || route == events::PATH {
            return None;
        }
        let params: Option<RawPathParams> = request.extract_parts().await.ok();
        let (mut service, mut resource) = (None, None);
        for (name, value) in params.iter().flatten() {
            // The paths of the 2010 API end in a format.
            let value = value.strip_suffix(".json").unwrap_or(value);
            if is_sid(value) {
                let named = if name == "service" { &mut service } else { &mut resource };
                *named = Some(value.to_owned());
            }
        }
        let author = Author::default();
        request.extensions_mut().insert(author.clone());
        let address = request.extensions().get::<Source>().map(|source| source.address);
        Some(Self { request: id, author, address, method, route: route.to_owned(), service, resource, status: None })
    }

    /// Takes from the answer what is to be logged. The answer stays the same.
    pub(crate) async fn answered(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        if let Some(Written(sid)) = response.extensions().get() {
            self.resource = Some(sid.clone());
        }
        if !response.status().is_success() || self.author.0.get().is_none() {
            return response;
        }
        // The answer to a write is in memory already.
        let (parts, body) = response.into_parts();
        let body = match to_bytes(body, usize::MAX).await {
            Ok(body) => body,
            Err(error) => return ApiError::internal(error).into_response(),
        };
        if let Some(sid) = written(&body) {
            self.resource = Some(sid);
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let Some(Caller::Owner(key)) = self.author.0.get() else { return };
        let caller = match key {
            OwnerKey::AuthToken => "auth_token".to_owned(),
            OwnerKey::ApiKey(sid) => sid.to_string(),
        };
        info!(
            target: TARGET,
            // The line is complete by itself.
            parent: None,
            caller,
            address = self.address.map(tracing::field::display),
            http.method = method_name(&self.method),
            http.route = self.route,
            service.sid = self.service,
            resource.sid = self.resource,
            http.status = self.status.map(|status| status.as_u16()),
            request.id = %self.request,
            "the owner wrote"
        );
    }
}

/// The sid of the resource that an answer shows.
fn written(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Shown<'a> {
        #[serde(borrow)]
        sid: Option<Cow<'a, str>>,
    }
    let Shown { sid } = serde_json::from_slice(body).ok()?;
    sid.filter(|sid| is_sid(sid)).map(Cow::into_owned)
}

/// Whether a text is a sid of any kind. Other names may be those of people.
fn is_sid(text: &str) -> bool {
    let (Some(letters), Some(digits)) = (text.get(..2), text.get(2..)) else { return false };
    letters.bytes().all(|byte| byte.is_ascii_uppercase())
        && digits.len() == 32
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
