//! Conversations v1: what belongs to the account, among it the service of the routes that name none.

use axum::Json;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::{SignedDuration, Span};
use reachability_domain::directory::account::{AccountSettings, WebhookTarget};
use reachability_domain::directory::service::Service;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::configuration::set_webhooks;
use crate::error::ApiError;
use crate::params::Params;
use crate::services::new_service;
use crate::update;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/Configuration", get(fetch).post(update))
        .route("/v1/Configuration/Webhooks", get(fetch_webhooks).post(update_webhooks))
}

/// The service of the routes that name none. It is made when it is first needed.
///
/// # Errors
/// As the store's.
pub async fn default_service(app: &App) -> Result<Service, StoreError> {
    let store = &app.store;
    loop {
        let settings = store.account().await?;
        if let Some(sid) = settings.default_chat_service_sid
            && let Some(service) = store.service(sid).await?
        {
            return Ok(service);
        }
        let service = new_service(app, "Default Conversations Service");
        store.create_service(&service).await?;
        let settings = AccountSettings { default_chat_service_sid: Some(service.sid), ..settings };
        match store.replace_account(&settings).await {
            Ok(()) => return Ok(service),
            // Somebody else made one at the same time, or changed another setting.
            Err(StoreError::Conflict) => store.delete_service(service.sid).await?,
            Err(error) => return Err(error),
        };
    }
}

async fn fetch(call: Call) -> Result<Response, ApiError> {
    let service = default_service(&call.app).await?;
    Ok(Json(show(&call, &call.app.store.account().await?, service.sid)).into_response())
}

async fn update(call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let default_service = default_service(&call.app).await?;
    let chosen: Option<ServiceSid> = form.parsed("DefaultChatServiceSid", "IS followed by 32 hexadecimal digits")?;
    if let Some(sid) = chosen
        && call.app.store.service(sid).await?.is_none()
    {
        return Err(ApiError::invalid("DefaultChatServiceSid", "the sid of a service of this account"));
    }
    let settings = update::update(&call, |settings: &mut AccountSettings| {
        if chosen.is_some() {
            settings.default_chat_service_sid = chosen;
        }
        if let Some(sid) = form.parsed("DefaultMessagingServiceSid", "MG followed by 32 hexadecimal digits")? {
            settings.default_messaging_service_sid = Some(sid);
        }
        set_timer(&mut settings.default_inactive_timer, &form, "DefaultInactiveTimer", 1)?;
        set_timer(&mut settings.default_closed_timer, &form, "DefaultClosedTimer", 10)
    })
    .await?;
    Ok(Json(show(&call, &settings, default_service.sid)).into_response())
}

async fn fetch_webhooks(call: Call) -> Result<Response, ApiError> {
    Ok(Json(show_webhooks(&call, &call.app.store.account().await?)).into_response())
}

async fn update_webhooks(call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let settings = update::update(&call, |settings: &mut AccountSettings| {
        match form.get("Target") {
            None => {}
            Some("") => settings.webhook_target = None,
            Some("webhook") => settings.webhook_target = Some(WebhookTarget::Webhook),
            Some("flex") => settings.webhook_target = Some(WebhookTarget::Flex),
            Some(_) => return Err(ApiError::invalid("Target", "webhook or flex")),
        }
        set_webhooks(&mut settings.webhooks, &form, "Method", "Filters")
    })
    .await?;
    Ok(Json(show_webhooks(&call, &settings)).into_response())
}

/// An ISO 8601 duration of at least so many minutes; an empty text clears it.
fn set_timer(target: &mut Option<String>, form: &Params, name: &str, least_minutes: i64) -> Result<(), ApiError> {
    let Some(text) = form.get(name) else { return Ok(()) };
    if text.is_empty() {
        *target = None;
        return Ok(());
    }
    let least = SignedDuration::from_mins(least_minutes);
    // A day is 24 hours, as far as a timer is concerned.
    let duration = text
        .parse::<Span>()
        .ok()
        .filter(|_| text.starts_with('P') && text.len() <= 64)
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    if duration.is_none_or(|duration| duration < least) {
        return Err(ApiError::invalid(name, format!("an ISO 8601 duration of at least PT{least_minutes}M")));
    }
    *target = Some(text.to_owned());
    Ok(())
}

fn show(call: &Call, settings: &AccountSettings, default_service: ServiceSid) -> Value {
    let base_url = &call.base_url;
    let service = settings.default_chat_service_sid.unwrap_or(default_service);
    json!({
        "account_sid": call.app.account_sid,
        "default_chat_service_sid": service,
        "default_messaging_service_sid": settings.default_messaging_service_sid,
        "default_inactive_timer": settings.default_inactive_timer,
        "default_closed_timer": settings.default_closed_timer,
        "url": format!("{base_url}/v1/Configuration"),
        "links": {
            "service": format!("{base_url}/v1/Services/{service}/Configuration"),
            "webhooks": format!("{base_url}/v1/Configuration/Webhooks"),
        },
    })
}

fn show_webhooks(call: &Call, settings: &AccountSettings) -> Value {
    json!({
        "account_sid": call.app.account_sid,
        "pre_webhook_url": settings.webhooks.pre_webhook_url,
        "post_webhook_url": settings.webhooks.post_webhook_url,
        "filters": settings.webhooks.filters,
        "method": settings.webhooks.method,
        "target": settings.webhook_target,
        "url": format!("{}/v1/Configuration/Webhooks", call.base_url),
    })
}
