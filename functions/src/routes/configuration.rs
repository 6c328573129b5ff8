//! Conversations v1: a service's configuration, which switches reachability on, with its notifications and webhooks.

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::service::{NotificationSetting, Service, WebhookMethod};
use reachability_domain::ids::Ids;
use reachability_domain::sid::{AccountSid, RoleSid, ServiceSid};
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::params::{Params, set};
use crate::http::request::ApiRequest;
use crate::routes::scope::{find_service, update_service};
use crate::routes::settings::{role, set_notification, set_reachability, set_webhooks};
use crate::use_cases::services::ServiceDirectory;

/// One of the resources of the configuration. All of them are parts of the stored service.
#[derive(Clone, Copy)]
struct Part {
    change: fn(&mut Service, &Params, Timestamp) -> Result<(), ApiError>,
    show: fn(&ApiRequest, &Service) -> Response,
}

pub(crate) fn routes() -> Router<App> {
    [
        ("/v1/Services/{service}/Configuration", Part { change, show }),
        (
            "/v1/Services/{service}/Configuration/Notifications",
            Part { change: change_notifications, show: show_notifications },
        ),
        ("/v1/Services/{service}/Configuration/Webhooks", Part { change: change_webhooks, show: show_webhooks }),
    ]
    .into_iter()
    .fold(Router::new(), |router, (path, part)| {
        let routes = Router::new().route(path, get(fetch).post(update));
        router.merge(routes.layer(Extension(part)))
    })
}

async fn fetch(
    Extension(part): Extension<Part>,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let found = find_service(&directory, &request).await?;
    Ok((part.show)(&request, &found.service))
}

async fn update(
    Extension(part): Extension<Part>,
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let now = clock();
    let change = |service: &mut Service, form: &Params| (part.change)(service, form, now);
    let service = update_service(&directory, &*ids, clock, &request, change).await?;
    Ok((part.show)(&request, &service))
}

fn change(service: &mut Service, form: &Params, now: Timestamp) -> Result<(), ApiError> {
    set_reachability(service, form, now)?;
    let mut roles = service.default_roles;
    set(&mut roles.conversation_creator, role(form, "DefaultConversationCreatorRoleSid")?);
    set(&mut roles.conversation, role(form, "DefaultConversationRoleSid")?);
    set(&mut roles.service_user, role(form, "DefaultChatServiceRoleSid")?);
    service.set_default_roles(roles);
    Ok(())
}

fn change_notifications(service: &mut Service, form: &Params, _: Timestamp) -> Result<(), ApiError> {
    let notifications = &mut service.notifications;
    set(&mut notifications.log_enabled, form.boolean("LogEnabled")?);
    set(&mut notifications.badge_count_enabled, form.boolean("NewMessage.BadgeCountEnabled")?);
    set_notification(&mut notifications.new_message, form, "NewMessage")?;
    set_notification(&mut notifications.new_message_with_media, form, "NewMessage.WithMedia")?;
    set_notification(&mut notifications.added, form, "AddedToConversation")?;
    set_notification(&mut notifications.removed, form, "RemovedFromConversation")
}

fn change_webhooks(service: &mut Service, form: &Params, _: Timestamp) -> Result<(), ApiError> {
    set_webhooks(&mut service.webhooks, form, "Method", "Filters")
}

fn url(request: &ApiRequest, service: &Service) -> String {
    format!("{}/v1/Services/{}/Configuration", request.base_url, service.sid)
}

#[derive(Serialize)]
struct ConfigurationResource {
    chat_service_sid: ServiceSid,
    default_conversation_creator_role_sid: RoleSid,
    default_conversation_role_sid: RoleSid,
    default_chat_service_role_sid: RoleSid,
    reachability_enabled: bool,
    url: String,
    links: ConfigurationLinks,
}

#[derive(Serialize)]
struct ConfigurationLinks {
    notifications: String,
    webhooks: String,
}

fn show(request: &ApiRequest, service: &Service) -> Response {
    let url = url(request, service);
    Json(ConfigurationResource {
        chat_service_sid: service.sid,
        default_conversation_creator_role_sid: service.default_roles.conversation_creator,
        default_conversation_role_sid: service.default_roles.conversation,
        default_chat_service_role_sid: service.default_roles.service_user,
        reachability_enabled: service.configuration.reachability_enabled,
        links: ConfigurationLinks {
            notifications: format!("{url}/Notifications"),
            webhooks: format!("{url}/Webhooks"),
        },
        url,
    })
    .into_response()
}

#[derive(Serialize)]
struct NotificationsResource<'a> {
    account_sid: AccountSid,
    chat_service_sid: ServiceSid,
    log_enabled: bool,
    new_message: NewMessage<'a>,
    added_to_conversation: Notification<'a>,
    removed_from_conversation: Notification<'a>,
    url: String,
}

#[derive(Serialize)]
struct Notification<'a> {
    enabled: bool,
    template: Option<&'a str>,
    sound: Option<&'a str>,
}

impl<'a> Notification<'a> {
    fn of(setting: &'a NotificationSetting) -> Self {
        Self { enabled: setting.enabled, template: setting.template.as_deref(), sound: setting.sound.as_deref() }
    }
}

#[derive(Serialize)]
struct NewMessage<'a> {
    #[serde(flatten)]
    notification: Notification<'a>,
    badge_count_enabled: bool,
    with_media: WithMedia<'a>,
}

/// A message with media has no sound of its own: it has the sound of a new message.
#[derive(Serialize)]
struct WithMedia<'a> {
    enabled: bool,
    template: Option<&'a str>,
}

fn show_notifications(request: &ApiRequest, service: &Service) -> Response {
    let notifications = &service.notifications;
    let with_media = &notifications.new_message_with_media;
    Json(NotificationsResource {
        account_sid: request.account_sid,
        chat_service_sid: service.sid,
        log_enabled: notifications.log_enabled,
        new_message: NewMessage {
            notification: Notification::of(&notifications.new_message),
            badge_count_enabled: notifications.badge_count_enabled,
            with_media: WithMedia { enabled: with_media.enabled, template: with_media.template.as_deref() },
        },
        added_to_conversation: Notification::of(&notifications.added),
        removed_from_conversation: Notification::of(&notifications.removed),
        url: format!("{}/Notifications", url(request, service)),
    })
    .into_response()
}

#[derive(Serialize)]
struct WebhooksResource<'a> {
    account_sid: AccountSid,
    chat_service_sid: ServiceSid,
    pre_webhook_url: Option<&'a str>,
    post_webhook_url: Option<&'a str>,
    filters: Option<&'a [String]>,
    method: Option<WebhookMethod>,
    url: String,
}

fn show_webhooks(request: &ApiRequest, service: &Service) -> Response {
    let webhooks = &service.webhooks;
    Json(WebhooksResource {
        account_sid: request.account_sid,
        chat_service_sid: service.sid,
        pre_webhook_url: webhooks.pre_webhook_url.as_deref(),
        post_webhook_url: webhooks.post_webhook_url.as_deref(),
        filters: webhooks.filters.as_deref(),
        method: webhooks.method,
        url: format!("{}/Webhooks", url(request, service)),
    })
    .into_response()
}
