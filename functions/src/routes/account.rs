//! Conversations v1: the account's configuration, which names the default service, and the account's webhooks.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use reachability_domain::directory::account::{AccountSettings, WebhookTarget};
use reachability_domain::directory::ports::Accounts;
use reachability_domain::directory::service::{ServiceRef, WebhookMethod};
use reachability_domain::ids::Ids;
use reachability_domain::sid::{AccountSid, MessagingServiceSid, ServiceSid};
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::params::{Params, set};
use crate::http::request::ApiRequest;
use crate::routes::settings::set_webhooks;
use crate::use_cases::account::update_account;
use crate::use_cases::services::ServiceDirectory;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/Configuration", get(fetch).post(update))
        .route("/v1/Configuration/Webhooks", get(fetch_webhooks).post(update_webhooks))
}

async fn fetch(
    State(directory): State<ServiceDirectory>,
    Port(accounts): Port<dyn Accounts>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let default = directory.default_service().await?;
    Ok(Json(show(&request, &accounts.account().await?, default.service.sid)).into_response())
}

async fn update(
    State(directory): State<ServiceDirectory>,
    Port(accounts): Port<dyn Accounts>,
    Port(ids): Port<dyn Ids>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let default = directory.default_service().await?;
    let chosen: Option<ServiceSid> = form.parsed("DefaultChatServiceSid", "IS followed by 32 hexadecimal digits")?;
    if let Some(sid) = chosen
        && directory.find(ServiceRef::Sid(sid)).await?.is_none()
    {
        return Err(ApiError::invalid("DefaultChatServiceSid", "the sid of a service of this account"));
    }
    let messaging: Option<MessagingServiceSid> =
        form.parsed("DefaultMessagingServiceSid", "MG followed by 32 hexadecimal digits")?;
    let inactive_timer = timer(&form, "DefaultInactiveTimer", 1)?;
    let closed_timer = timer(&form, "DefaultClosedTimer", 10)?;

    let default_sid = chosen.unwrap_or(default.service.sid);
    if chosen.is_some() {
        // Clients may know the default service so far, so it must still exist when another one is the default.
        directory.store(default).await?;
    }
    let settings = update_account(&*accounts, &*ids, |settings| {
        if chosen.is_some() {
            settings.default_chat_service_sid = chosen;
        }
        if messaging.is_some() {
            settings.default_messaging_service_sid = messaging;
        }
        set(&mut settings.default_inactive_timer, inactive_timer.clone());
        set(&mut settings.default_closed_timer, closed_timer.clone());
        Ok::<_, ApiError>(())
    })
    .await?;
    Ok(Json(show(&request, &settings, default_sid)).into_response())
}

async fn fetch_webhooks(Port(accounts): Port<dyn Accounts>, request: ApiRequest) -> Result<Response, ApiError> {
    Ok(Json(show_webhooks(&request, &accounts.account().await?)).into_response())
}

async fn update_webhooks(
    Port(accounts): Port<dyn Accounts>,
    Port(ids): Port<dyn Ids>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let settings = update_account(&*accounts, &*ids, |settings| {
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
    Ok(Json(show_webhooks(&request, &settings)).into_response())
}

/// An ISO 8601 duration of at least `least_minutes`. An empty text clears the timer, which is `Some(None)`.
fn timer(form: &Params, name: &str, least_minutes: i64) -> Result<Option<Option<String>>, ApiError> {
    let Some(text) = form.get(name) else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    let least = SignedDuration::from_mins(least_minutes);
    // A timer has no time zone and no beginning. So a day has 24 hours, and a month and a year are those of an ordinary
    // February, the shortest: whatever they are, they are longer than the least.
    let shortest = jiff::civil::date(2026, 2, 1);
    let duration = text
        .parse::<Span>()
        .ok()
        .filter(|_| text.starts_with('P') && text.len() <= 64)
        .and_then(|span| span.to_duration(SpanRelativeTo::from(shortest)).ok());
    if duration.is_none_or(|duration| duration < least) {
        return Err(ApiError::invalid(name, format!("an ISO 8601 duration of at least PT{least_minutes}M")));
    }
    Ok(Some(Some(text.to_owned())))
}

#[derive(Serialize)]
struct ConfigurationResource<'a> {
    account_sid: AccountSid,
    default_chat_service_sid: ServiceSid,
    default_messaging_service_sid: Option<MessagingServiceSid>,
    default_inactive_timer: Option<&'a str>,
    default_closed_timer: Option<&'a str>,
    url: String,
    links: ConfigurationLinks,
}

#[derive(Serialize)]
struct ConfigurationLinks {
    service: String,
    webhooks: String,
}

fn show<'a>(
    request: &ApiRequest,
    settings: &'a AccountSettings,
    default_service: ServiceSid,
) -> ConfigurationResource<'a> {
    let base_url = &request.base_url;
    ConfigurationResource {
        account_sid: request.account_sid,
        default_chat_service_sid: default_service,
        default_messaging_service_sid: settings.default_messaging_service_sid,
        default_inactive_timer: settings.default_inactive_timer.as_deref(),
        default_closed_timer: settings.default_closed_timer.as_deref(),
        url: format!("{base_url}/v1/Configuration"),
        links: ConfigurationLinks {
            service: format!("{base_url}/v1/Services/{default_service}/Configuration"),
            webhooks: format!("{base_url}/v1/Configuration/Webhooks"),
        },
    }
}

#[derive(Serialize)]
struct WebhooksResource<'a> {
    account_sid: AccountSid,
    pre_webhook_url: Option<&'a str>,
    post_webhook_url: Option<&'a str>,
    filters: Option<&'a [String]>,
    method: Option<WebhookMethod>,
    target: Option<WebhookTarget>,
    url: String,
}

fn show_webhooks<'a>(request: &ApiRequest, settings: &'a AccountSettings) -> WebhooksResource<'a> {
    let webhooks = &settings.webhooks;
    WebhooksResource {
        account_sid: request.account_sid,
        pre_webhook_url: webhooks.pre_webhook_url.as_deref(),
        post_webhook_url: webhooks.post_webhook_url.as_deref(),
        filters: webhooks.filters.as_deref(),
        method: webhooks.method,
        target: settings.webhook_target,
        url: format!("{}/v1/Configuration/Webhooks", request.base_url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_an_iso_8601_duration() {
        let timer = |text: &str| timer(&Params::parse(&format!("T={text}")).unwrap(), "T", 10).ok().flatten();
        for text in ["PT10M", "PT600S", "P1D", "P1W", "P1M", "P1Y", "P1Y2M3W4DT5H6M7S", "P100Y", "PT0.5H"] {
            assert_eq!(timer(text), Some(Some(text.to_owned())), "{text}");
        }
        assert_eq!(timer(""), Some(None));
        for text in ["PT9M59S", "P0D", "P0M", "P0Y", "-P1M", "P-1Y", "P1.5M", "P99999Y", "p1m", "1 month", "P", "P1MT"]
        {
            assert_eq!(timer(text), None, "{text}");
        }
    }
}
