//! Chat: a service with all its settings. [`crate::routes::services`] has the routes that Conversations has too.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use reachability_domain::directory::service::{NotificationSetting, Service, WebhookMethod};
use reachability_domain::ids::Ids;
use reachability_domain::sid::{AccountSid, RoleSid, ServiceSid};
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::params::{Params, set};
use crate::http::request::ApiRequest;
use crate::routes::scope::update_service;
use crate::routes::settings::{MAX_FRIENDLY_NAME, role, set_notification, set_reachability, set_webhooks};
use crate::use_cases::services::ServiceDirectory;

/// Chat v1 has the paths of Conversations, which cannot update a service. So an update there is one of Chat v1, which has the
/// parameters of Chat v2; its answer is the service as Chat v2 shows it.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/v1/Services/{service}", post(update)).route("/v2/Services/{service}", post(update))
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

    let mut roles = service.default_roles;
    set(&mut roles.service_user, role(form, "DefaultServiceRoleSid")?);
    set(&mut roles.conversation, role(form, "DefaultChannelRoleSid")?);
    set(&mut roles.conversation_creator, role(form, "DefaultChannelCreatorRoleSid")?);
    service.set_default_roles(roles);

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

#[derive(Serialize)]
pub(super) struct ChatService<'a> {
    sid: ServiceSid,
    account_sid: AccountSid,
    friendly_name: &'a str,
    date_created: String,
    date_updated: String,
    default_service_role_sid: RoleSid,
    default_channel_role_sid: RoleSid,
    default_channel_creator_role_sid: RoleSid,
    read_status_enabled: bool,
    reachability_enabled: bool,
    typing_indicator_timeout: u32,
    consumption_report_interval: u32,
    limits: Limits,
    pre_webhook_url: Option<&'a str>,
    post_webhook_url: Option<&'a str>,
    webhook_method: Option<WebhookMethod>,
    webhook_filters: Option<&'a [String]>,
    pre_webhook_retry_count: u32,
    post_webhook_retry_count: u32,
    notifications: Notifications<'a>,
    media: Media<'a>,
    url: String,
    links: Links,
}

#[derive(Serialize)]
struct Limits {
    channel_members: u32,
    user_channels: u32,
}

#[derive(Serialize)]
struct Notifications<'a> {
    log_enabled: bool,
    new_message: NewMessage<'a>,
    added_to_channel: Notification<'a>,
    removed_from_channel: Notification<'a>,
    invited_to_channel: Notification<'a>,
}

/// Unlike Conversations, Chat leaves out a template or a sound that is not set.
#[derive(Serialize)]
struct Notification<'a> {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
}

#[derive(Serialize)]
struct NewMessage<'a> {
    #[serde(flatten)]
    notification: Notification<'a>,
    /// Chat shows it only if it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    badge_count_enabled: Option<bool>,
}

#[derive(Serialize)]
struct Media<'a> {
    size_limit_mb: u32,
    compatibility_message: &'a str,
}

#[derive(Serialize)]
struct Links {
    channels: String,
    users: String,
    roles: String,
    bindings: String,
}

impl<'a> Notification<'a> {
    fn of(setting: &'a NotificationSetting) -> Self {
        Self { enabled: setting.enabled, template: setting.template.as_deref(), sound: setting.sound.as_deref() }
    }
}

pub(super) fn show<'a>(request: &ApiRequest, service: &'a Service) -> ChatService<'a> {
    let url = format!("{}/v2/Services/{}", request.base_url, service.sid);
    let Service { default_roles, notifications, webhooks, chat, .. } = service;
    ChatService {
        sid: service.sid,
        account_sid: request.account_sid,
        friendly_name: &service.friendly_name,
        date_created: service.date_created.to_seconds(),
        date_updated: service.date_updated.to_seconds(),
        default_service_role_sid: default_roles.service_user,
        default_channel_role_sid: default_roles.conversation,
        default_channel_creator_role_sid: default_roles.conversation_creator,
        read_status_enabled: chat.read_status_enabled,
        reachability_enabled: service.configuration.reachability_enabled,
        typing_indicator_timeout: chat.typing_indicator_timeout,
        consumption_report_interval: chat.consumption_report_interval,
        limits: Limits { channel_members: chat.channel_members, user_channels: chat.user_channels },
        pre_webhook_url: webhooks.pre_webhook_url.as_deref(),
        post_webhook_url: webhooks.post_webhook_url.as_deref(),
        webhook_method: webhooks.method,
        webhook_filters: webhooks.filters.as_deref(),
        pre_webhook_retry_count: chat.pre_webhook_retry_count,
        post_webhook_retry_count: chat.post_webhook_retry_count,
        notifications: Notifications {
            log_enabled: notifications.log_enabled,
            new_message: NewMessage {
                notification: Notification::of(&notifications.new_message),
                badge_count_enabled: notifications.badge_count_enabled.then_some(true),
            },
            added_to_channel: Notification::of(&notifications.added),
            removed_from_channel: Notification::of(&notifications.removed),
            invited_to_channel: Notification::of(&notifications.invited),
        },
        media: Media { size_limit_mb: 150, compatibility_message: &chat.media_compatibility_message },
        links: Links {
            channels: format!("{url}/Channels"),
            users: format!("{url}/Users"),
            roles: format!("{url}/Roles"),
            bindings: format!("{url}/Bindings"),
        },
        url,
    }
}
