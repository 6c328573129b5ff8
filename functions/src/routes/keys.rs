//! API keys, in the vendor's 2010 API. Its lists and dates have their own format.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::directory::ports::ApiKeys;
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::sid::KeySid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Clock;
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::caller::{Caller, OwnerKey};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::paging::Listing;
use crate::http::params::Params;
use crate::http::request::ApiRequest;

/// How long a key's name may be, in characters.
const MAX_FRIENDLY_NAME: usize = 64;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Keys.json", get(list).post(create))
        .route("/2010-04-01/Accounts/{account}/Keys/{key}", get(fetch).post(update).delete(delete))
}

/// Allows only the account's auth token, so that nobody can create new keys with a leaked key.
fn authorize(request: &ApiRequest) -> Result<(), ApiError> {
    if request.account()? != request.account_sid {
        return Err(request.not_found());
    }
    match request.caller {
        Caller::Owner(OwnerKey::AuthToken) => Ok(()),
        Caller::Owner(OwnerKey::ApiKey(_)) => {
            Err(ApiError::forbidden("API keys are managed with the account's auth token"))
        }
    }
}

/// A key's name; `None` if the form has none.
fn friendly_name(form: &Params) -> Result<Option<&str>, ApiError> {
    form.text("FriendlyName", MAX_FRIENDLY_NAME, ErrorCode::InvalidParameter)
}

async fn create(
    Port(keys): Port<dyn ApiKeys>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    authorize(&request)?;
    let form = request.form()?;
    let key = ApiKey {
        sid: ids.sid(),
        friendly_name: friendly_name(&form)?.unwrap_or_default().to_owned(),
        secret: ids.secret().map_err(ApiError::internal)?,
        date_created: clock(),
        date_updated: None,
    };
    keys.create_key(&key).await?;
    let shown = KeyResource { secret: Some(key.secret.expose()), ..show(&key) };
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn list(Port(keys): Port<dyn ApiKeys>, request: ApiRequest) -> Result<Response, ApiError> {
    authorize(&request)?;
    let listing = Listing::<KeySid>::of(&request.query, 1_000)?;
    let page: Page<ApiKey> = keys.keys(listing.request).await?;
    let links = listing.links(&request.path, &page, |key| key.sid);
    let start = listing.number().saturating_mul(listing.request.limit as u64);
    let last = page.items.len().saturating_sub(1) as u64;
    Ok(Json(KeyPage {
        keys: page.items.iter().map(show).collect(),
        page: listing.number(),
        page_size: listing.request.limit,
        start,
        end: start.saturating_add(last),
        uri: links.this,
        first_page_uri: links.first,
        previous_page_uri: links.previous,
        next_page_uri: links.next,
    })
    .into_response())
}

async fn fetch(Port(keys): Port<dyn ApiKeys>, request: ApiRequest) -> Result<Response, ApiError> {
    authorize(&request)?;
    let key = keys.key(request.key()?).await?.ok_or_else(|| request.not_found())?;
    Ok(Json(show(&key)).into_response())
}

/// Renames a key. An update without a name changes nothing.
async fn update(
    Port(keys): Port<dyn ApiKeys>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    authorize(&request)?;
    let form = request.form()?;
    let friendly_name = friendly_name(&form)?;
    let mut key = keys.key(request.key()?).await?.ok_or_else(|| request.not_found())?;
    if let Some(name) = friendly_name.filter(|name| *name != key.friendly_name) {
        key = ApiKey { friendly_name: name.to_owned(), date_updated: Some(clock()), ..key };
        match keys.replace_key(&key).await {
            // It was deleted in between.
            Err(StoreError::Missing) => return Err(request.not_found()),
            replaced => replaced?,
        }
    }
    Ok(Json(show(&key)).into_response())
}

async fn delete(Port(keys): Port<dyn ApiKeys>, request: ApiRequest) -> Result<StatusCode, ApiError> {
    authorize(&request)?;
    request.deleted(keys.delete_key(request.key()?).await?)
}

#[derive(Serialize)]
struct KeyPage<'a> {
    keys: Vec<KeyResource<'a>>,
    page: u64,
    page_size: usize,
    start: u64,
    end: u64,
    uri: String,
    first_page_uri: String,
    previous_page_uri: Option<String>,
    next_page_uri: Option<String>,
}

#[derive(Serialize)]
struct KeyResource<'a> {
    sid: KeySid,
    friendly_name: &'a str,
    date_created: String,
    date_updated: String,
    /// Only the answer to the creation has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

fn show(key: &ApiKey) -> KeyResource<'_> {
    KeyResource {
        sid: key.sid,
        friendly_name: &key.friendly_name,
        date_created: key.date_created.to_rfc2822(),
        date_updated: key.date_updated.unwrap_or(key.date_created).to_rfc2822(),
        secret: None,
    }
}
