//! The 2010 API: API keys. Its lists and dates have forms of their own.

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::paging::Page;
use reachability_domain::sid::{AccountSid, KeySid};
use reachability_infra::ids;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::call::Call;
use crate::error::ApiError;
use crate::paging::Listing;

/// How long a key's name may be, in characters.
const MAX_FRIENDLY_NAME: usize = 64;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Keys.json", get(list).post(create))
        .route("/2010-04-01/Accounts/{account}/Keys/{key}", get(fetch).delete(delete))
}

/// Keys are made and taken away with the account's own token, so that a leaked key cannot make others.
fn authorize(call: &Call) -> Result<(), ApiError> {
    if call.sid::<AccountSid>("account")? != call.app.account_sid {
        return Err(call.not_found());
    }
    match call.caller {
        Caller::Account => Ok(()),
        Caller::Key => Err(ApiError::forbidden("API keys are managed with the account's auth token")),
    }
}

async fn create(call: Call) -> Result<Response, ApiError> {
    authorize(&call)?;
    let form = call.form()?;
    let key = ApiKey {
        sid: ids::sid(),
        friendly_name: form.text("FriendlyName", MAX_FRIENDLY_NAME, 20001)?.unwrap_or_default().to_owned(),
        secret: ids::secret().map_err(ApiError::internal)?,
        date_created: (call.app.clock)(),
    };
    call.app.store.create_key(&key).await?;
    let mut shown = show(&key);
    // This once.
    shown["secret"] = json!(key.secret.expose());
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn list(call: Call) -> Result<Response, ApiError> {
    authorize(&call)?;
    let page = Listing::<KeySid>::of(&call, 1_000)?;
    let slice: Page<ApiKey> = call.app.store.keys(page.request).await?;
    let links = page.links(&call.path, &slice, |key| key.sid);
    let start = page.number().saturating_mul(page.request.limit as u64);
    let last = slice.items.len().saturating_sub(1) as u64;
    Ok(Json(json!({
        "keys": slice.items.iter().map(show).collect::<Vec<_>>(),
        "page": page.number(),
        "page_size": page.request.limit,
        "start": start,
        "end": start.saturating_add(last),
        "uri": links.this,
        "first_page_uri": links.first,
        "previous_page_uri": links.previous,
        "next_page_uri": links.next,
    }))
    .into_response())
}

async fn fetch(call: Call) -> Result<Response, ApiError> {
    authorize(&call)?;
    let key = call.app.store.key(call.sid_json("key")?).await?.ok_or_else(|| call.not_found())?;
    Ok(Json(show(&key)).into_response())
}

async fn delete(call: Call) -> Result<Response, ApiError> {
    authorize(&call)?;
    if call.app.store.delete_key(call.sid_json("key")?).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(call.not_found())
    }
}

fn show(key: &ApiKey) -> Value {
    json!({
        "sid": key.sid,
        "friendly_name": key.friendly_name,
        "date_created": key.date_created.to_rfc2822(),
        "date_updated": key.date_created.to_rfc2822(),
    })
}
