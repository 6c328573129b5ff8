//! Chat v2: services and all that can be set on them. Its users are with [`crate::routes::users`].

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use reachability_domain::directory::service::{NotificationSetting, Service};
use reachability_domain::ids::Ids;
use reachability_domain::time::{Clock, Timestamp};
use serde_json::{Map, Value, json};

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::params::{Params, set};
use crate::http::request::ApiRequest;
use crate::routes::scope::update_service;
use crate::routes::services::{self, MAX_FRIENDLY_NAME, View};
use crate::routes::settings::{role, set_notification, set_reachability, set_webhooks};
use crate::use_cases::services::ServiceDirectory;

pub(crate) fn routes() -> Router<App> {
    services::routes_at("/v2/Services", View { show }).route("/v2/Services/{service}", post(update))
}

async fn update(
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let now = clock();
    let change = |service: &mut Service, form: &Params| change(service, form, now);
    let service = update_service(&directory, &*ids, clock, &request, change).await?;
    Ok(Json(show(&request, &service)).into_response())
}

fn change(service: &mut Service, form: &Params, now: Timestamp) -> Result<(), ApiError> {
    if let Some(name) = form.text("FriendlyName", MAX_FRIENDLY_NAME, ErrorCode::FriendlyNameTooLong)? {
        if name.is_empty() {
            return Err(ApiError::refused(ErrorCode::FriendlyNameNotProvided, "FriendlyName not provided"));
        }
        service.friendly_name = name.to_owned();
    }
    set_reachability(service, form, now)?;

    let roles = &mut service.default_roles;
    set(&mut roles.service_user, role(form, "DefaultServiceRoleSid")?);
    set(&mut roles.conversation, role(form, "DefaultChannelRoleSid")?);
    set(&mut roles.conversation_creator, role(form, "DefaultChannelCreatorRoleSid")?);

    let notifications = &mut service.notifications;
    set(&mut notifications.log_enabled, form.boolean("Notifications.LogEnabled")?);
    set(&mut notifications.badge_count_enabled, form.boolean("Notifications.NewMessage.BadgeCountEnabled")?);
    set_notification(&mut notifications.new_message, form, "Notifications.NewMessage")?;
    set_notification(&mut notifications.added, form, "Notifications.AddedToChannel")?;
    set_notification(&mut notifications.removed, form, "Notifications.RemovedFromChannel")?;
    set_notification(&mut notifications.invited, form, "Notifications.InvitedToChannel")?;

    set_webhooks(&mut service.webhooks, form, "WebhookMethod", "WebhookFilters")?;

    let chat = &mut service.chat;
    set(&mut chat.read_status_enabled, form.boolean("ReadStatusEnabled")?);
    set(&mut chat.typing_indicator_timeout, form.number("TypingIndicatorTimeout", 0..=3_600)?);
    set(&mut chat.consumption_report_interval, form.number("ConsumptionReportInterval", 0..=3_600)?);
    set(&mut chat.channel_members, form.number("Limits.ChannelMembers", 1..=1_000)?);
    set(&mut chat.user_channels, form.number("Limits.UserChannels", 1..=1_000)?);
    if let Some(message) = form.text("Media.CompatibilityMessage", 1_024, ErrorCode::InvalidParameter)? {
        chat.media_compatibility_message = message.to_owned();
    }
    let retries = |name| {
        form.number(name, 0..=3)
            .map_err(|_| ApiError::refused(ErrorCode::WebhookRetryCount, format!("{name} is not 0 to 3")))
    };
    set(&mut chat.pre_webhook_retry_count, retries("PreWebhookRetryCount")?);
    set(&mut chat.post_webhook_retry_count, retries("PostWebhookRetryCount")?);
    Ok(())
}

fn show(request: &ApiRequest, service: &Service) -> Value {
    let url = format!("{}/v2/Services/{}", request.base_url, service.sid);
    let notifications = &service.notifications;
    let mut new_message = show_notification(&notifications.new_message);
    if notifications.badge_count_enabled {
        new_message.insert("badge_count_enabled".to_owned(), json!(true));
    }
    json!({
        "sid": service.sid,
        "account_sid": request.account_sid,
        "friendly_name": service.friendly_name,
        "date_created": service.date_created.to_seconds(),
        "date_updated": service.date_updated.to_seconds(),
        "default_service_role_sid": service.default_roles.service_user,
        "default_channel_role_sid": service.default_roles.conversation,
        "default_channel_creator_role_sid": service.default_roles.conversation_creator,
        "read_status_enabled": service.chat.read_status_enabled,
        "reachability_enabled": service.configuration.reachability_enabled,
        "typing_indicator_timeout": service.chat.typing_indicator_timeout,
        "consumption_report_interval": service.chat.consumption_report_interval,
        "limits": {
            "channel_members": service.chat.channel_members,
            "user_channels": service.chat.user_channels,
        },
        "pre_webhook_url": service.webhooks.pre_webhook_url,
        "post_webhook_url": service.webhooks.post_webhook_url,
        "webhook_method": service.webhooks.method,
        "webhook_filters": service.webhooks.filters,
        "pre_webhook_retry_count": service.chat.pre_webhook_retry_count,
        "post_webhook_retry_count": service.chat.post_webhook_retry_count,
        "notifications": {
            "log_enabled": notifications.log_enabled,
            "new_message": new_message,
            "added_to_channel": show_notification(&notifications.added),
            "removed_from_channel": show_notification(&notifications.removed),
            "invited_to_channel": show_notification(&notifications.invited),
        },
        "media": {
            "size_limit_mb": 150,
            "compatibility_message": service.chat.media_compatibility_message,
        },
        "url": url,
        "links": {
            "channels": format!("{url}/Channels"),
            "users": format!("{url}/Users"),
            "roles": format!("{url}/Roles"),
            "bindings": format!("{url}/Bindings"),
        },
    })
}

/// Chat shows of a notification what was set.
fn show_notification(notification: &NotificationSetting) -> Map<String, Value> {
    let mut shown = Map::from_iter([("enabled".to_owned(), json!(notification.enabled))]);
    for (name, text) in [("template", &notification.template), ("sound", &notification.sound)] {
        if let Some(text) = text {
            shown.insert(name.to_owned(), json!(text));
        }
    }
    shown
}
