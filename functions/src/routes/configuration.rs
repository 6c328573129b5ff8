//! Conversations v1: a service's configuration, where reachability is switched on, with its notifications and webhooks.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::service::{NotificationSetting, Service};
use reachability_domain::ids::Ids;
use reachability_domain::time::Clock;
use serde_json::{Value, json};

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::params::{Params, set};
use crate::http::request::ApiRequest;
use crate::routes::scope::{find_service, update_service};
use crate::routes::settings::{role, set_notification, set_reachability, set_webhooks};
use crate::use_cases::services::ServiceDirectory;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/Services/{service}/Configuration", get(fetch).post(update))
        .route(
            "/v1/Services/{service}/Configuration/Notifications",
            get(fetch_notifications).post(update_notifications),
        )
        .route("/v1/Services/{service}/Configuration/Webhooks", get(fetch_webhooks).post(update_webhooks))
}

async fn fetch(State(directory): State<ServiceDirectory>, request: ApiRequest) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    Ok(Json(show(&request, &found.service)).into_response())
}

async fn update(
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let now = clock();
    let change = |service: &mut Service, form: &Params| {
        set_reachability(service, form, now)?;
        let roles = &mut service.default_roles;
        set(&mut roles.conversation_creator, role(form, "DefaultConversationCreatorRoleSid")?);
        set(&mut roles.conversation, role(form, "DefaultConversationRoleSid")?);
        set(&mut roles.service_user, role(form, "DefaultChatServiceRoleSid")?);
        Ok(())
    };
    let service = update_service(&directory, &*ids, clock, &request, change).await?;
    Ok(Json(show(&request, &service)).into_response())
}

async fn fetch_notifications(
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    Ok(Json(show_notifications(&request, &found.service)).into_response())
}

async fn update_notifications(
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let change = |service: &mut Service, form: &Params| {
        let notifications = &mut service.notifications;
        set(&mut notifications.log_enabled, form.boolean("LogEnabled")?);
        set(&mut notifications.badge_count_enabled, form.boolean("NewMessage.BadgeCountEnabled")?);
        set_notification(&mut notifications.new_message, form, "NewMessage")?;
        set_notification(&mut notifications.new_message_with_media, form, "NewMessage.WithMedia")?;
        set_notification(&mut notifications.added, form, "AddedToConversation")?;
        set_notification(&mut notifications.removed, form, "RemovedFromConversation")
    };
    let service = update_service(&directory, &*ids, clock, &request, change).await?;
    Ok(Json(show_notifications(&request, &service)).into_response())
}

async fn fetch_webhooks(State(directory): State<ServiceDirectory>, request: ApiRequest) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    Ok(Json(show_webhooks(&request, &found.service)).into_response())
}

async fn update_webhooks(
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let change = |service: &mut Service, form: &Params| set_webhooks(&mut service.webhooks, form, "Method", "Filters");
    let service = update_service(&directory, &*ids, clock, &request, change).await?;
    Ok(Json(show_webhooks(&request, &service)).into_response())
}

fn url(request: &ApiRequest, service: &Service) -> String {
    format!("{}/v1/Services/{}/Configuration", request.base_url, service.sid)
}

fn show(request: &ApiRequest, service: &Service) -> Value {
    let url = url(request, service);
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

fn show_notifications(request: &ApiRequest, service: &Service) -> Value {
    let notifications = &service.notifications;
    let show = |notification: &NotificationSetting| {
        json!({
            "enabled": notification.enabled,
            "template": notification.template,
            "sound": notification.sound,
        })
    };
    json!({
        "account_sid": request.account_sid,
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
        "url": format!("{}/Notifications", url(request, service)),
    })
}

fn show_webhooks(request: &ApiRequest, service: &Service) -> Value {
    json!({
        "account_sid": request.account_sid,
        "chat_service_sid": service.sid,
        "pre_webhook_url": service.webhooks.pre_webhook_url,
        "post_webhook_url": service.webhooks.post_webhook_url,
        "filters": service.webhooks.filters,
        "method": service.webhooks.method,
        "url": format!("{}/Webhooks", url(request, service)),
    })
}
