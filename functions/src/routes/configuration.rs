//! Conversations v1: a service's configuration, where reachability is switched on, with its notifications and webhooks.

use axum::Json;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::service::{NotificationSetting, Service, WebhookMethod, Webhooks};
use reachability_domain::sid::RoleSid;
use reachability_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::params::{Params, set};
use crate::update;

/// How long a URL of a webhook may be. Ours.
const MAX_URL: usize = 2_048;
/// How many events a webhook may name, and how long each name may be. Ours.
const MAX_FILTERS: usize = 64;
/// How long a notification's text may be, in characters. Ours.
const MAX_TEMPLATE: usize = 2_048;
/// How long the name of a sound may be, in characters. Ours.
pub(crate) const MAX_SOUND: usize = 256;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/Services/{service}/Configuration", get(fetch).post(update))
        .route(
            "/v1/Services/{service}/Configuration/Notifications",
            get(fetch_notifications).post(update_notifications),
        )
        .route("/v1/Services/{service}/Configuration/Webhooks", get(fetch_webhooks).post(update_webhooks))
}

async fn fetch(call: Call) -> Result<Response, ApiError> {
    Ok(Json(show(&call, &call.service().await?)).into_response())
}

async fn update(call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let now = (call.app.clock)();
    let service = update::update(&call, |service: &mut Service| {
        set_reachability(service, &form, now)?;
        let roles = &mut service.default_roles;
        set(&mut roles.conversation_creator, role(&form, "DefaultConversationCreatorRoleSid")?);
        set(&mut roles.conversation, role(&form, "DefaultConversationRoleSid")?);
        set(&mut roles.service_user, role(&form, "DefaultChatServiceRoleSid")?);
        Ok(())
    })
    .await?;
    Ok(Json(show(&call, &service)).into_response())
}

async fn fetch_notifications(call: Call) -> Result<Response, ApiError> {
    Ok(Json(show_notifications(&call, &call.service().await?)).into_response())
}

async fn update_notifications(call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let service = update::update(&call, |service: &mut Service| {
        let notifications = &mut service.notifications;
        set(&mut notifications.log_enabled, form.boolean("LogEnabled")?);
        set(&mut notifications.badge_count_enabled, form.boolean("NewMessage.BadgeCountEnabled")?);
        set_notification(&mut notifications.new_message, &form, "NewMessage")?;
        set_notification(&mut notifications.new_message_with_media, &form, "NewMessage.WithMedia")?;
        set_notification(&mut notifications.added, &form, "AddedToConversation")?;
        set_notification(&mut notifications.removed, &form, "RemovedFromConversation")
    })
    .await?;
    Ok(Json(show_notifications(&call, &service)).into_response())
}

async fn fetch_webhooks(call: Call) -> Result<Response, ApiError> {
    Ok(Json(show_webhooks(&call, &call.service().await?)).into_response())
}

async fn update_webhooks(call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let service =
        update::update(&call, |service: &mut Service| set_webhooks(&mut service.webhooks, &form, "Method", "Filters"))
            .await?;
    Ok(Json(show_webhooks(&call, &service)).into_response())
}

/// `ReachabilityEnabled`, which Conversations and Chat spell alike.
pub(crate) fn set_reachability(service: &mut Service, form: &Params, now: Timestamp) -> Result<(), ApiError> {
    if let Some(enabled) = form.boolean("ReachabilityEnabled")? {
        service.configuration.set_reachability_enabled(enabled, now);
    }
    Ok(())
}

/// A parameter that is a role's sid.
pub(crate) fn role(form: &Params, name: &str) -> Result<Option<RoleSid>, ApiError> {
    form.parsed(name, "RL followed by 32 hexadecimal digits")
}

/// `{prefix}.Enabled`, `.Template` and `.Sound`.
pub(crate) fn set_notification(target: &mut NotificationSetting, form: &Params, prefix: &str) -> Result<(), ApiError> {
    set(&mut target.enabled, form.boolean(&format!("{prefix}.Enabled"))?);
    form.set_text(&mut target.template, &format!("{prefix}.Template"), MAX_TEMPLATE, 50058)?;
    form.set_text(&mut target.sound, &format!("{prefix}.Sound"), MAX_SOUND, 50059)
}

/// `PreWebhookUrl`, `PostWebhookUrl`, and the method and the filters by the names that the API at hand has for them.
pub(crate) fn set_webhooks(target: &mut Webhooks, form: &Params, method: &str, filters: &str) -> Result<(), ApiError> {
    for (url, name) in
        [(&mut target.pre_webhook_url, "PreWebhookUrl"), (&mut target.post_webhook_url, "PostWebhookUrl")]
    {
        form.set_text(url, name, MAX_URL, 50054)?;
        if url.as_deref().is_some_and(|url| !is_http_url(url)) {
            return Err(ApiError::refused(50054, format!("{name} is not an absolute http or https URL")));
        }
    }
    match form.get(method) {
        None => {}
        Some("") => target.method = None,
        Some(word) if word.eq_ignore_ascii_case("GET") => target.method = Some(WebhookMethod::Get),
        Some(word) if word.eq_ignore_ascii_case("POST") => target.method = Some(WebhookMethod::Post),
        Some(_) => return Err(ApiError::refused(50055, format!("{method} is neither GET nor POST"))),
    }
    if form.get(filters).is_some() {
        let names: Vec<String> = form.all(filters).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let is_name = |name: &String| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if names.len() > MAX_FILTERS || !names.iter().all(is_name) {
            return Err(ApiError::invalid(filters, format!("at most {MAX_FILTERS} names of events")));
        }
        target.filters = (!names.is_empty()).then_some(names);
    }
    Ok(())
}

fn is_http_url(url: &str) -> bool {
    url.parse::<axum::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn url(call: &Call, service: &Service) -> String {
    format!("{}/v1/Services/{}/Configuration", call.base_url, service.sid)
}

fn show(call: &Call, service: &Service) -> Value {
    let url = url(call, service);
    json!({
        "chat_service_sid": service.sid,
        "default_conversation_creator_role_sid": service.default_roles.conversation_creator,
        "default_conversation_role_sid": service.default_roles.conversation,
        "default_chat_service_role_sid": service.default_roles.service_user,
        "reachability_enabled": service.configuration.reachability_enabled,
        "url": url,
        "links": {
            "notifications": format!("{url}/Notifications"),
            "webhooks": format!("{url}/Webhooks"),
        },
    })
}

fn show_notifications(call: &Call, service: &Service) -> Value {
    let notifications = &service.notifications;
    let show = |notification: &NotificationSetting| {
        json!({
            "enabled": notification.enabled,
            "template": notification.template,
            "sound": notification.sound,
        })
    };
    json!({
        "account_sid": call.app.account_sid,
        "chat_service_sid": service.sid,
        "log_enabled": notifications.log_enabled,
        "new_message": {
            "enabled": notifications.new_message.enabled,
            "template": notifications.new_message.template,
            "sound": notifications.new_message.sound,
            "badge_count_enabled": notifications.badge_count_enabled,
            "with_media": {
                "enabled": notifications.new_message_with_media.enabled,
                "template": notifications.new_message_with_media.template,
            },
        },
        "added_to_conversation": show(&notifications.added),
        "removed_from_conversation": show(&notifications.removed),
        "url": format!("{}/Notifications", url(call, service)),
    })
}

fn show_webhooks(call: &Call, service: &Service) -> Value {
    json!({
        "account_sid": call.app.account_sid,
        "chat_service_sid": service.sid,
        "pre_webhook_url": service.webhooks.pre_webhook_url,
        "post_webhook_url": service.webhooks.post_webhook_url,
        "filters": service.webhooks.filters,
        "method": service.webhooks.method,
        "url": format!("{}/Webhooks", url(call, service)),
    })
}
