//! Notifications to all devices of some users, with the parameters of Notify v1.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::presence::ports::States;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::idempotency::KeyedRequest;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::payload::{Format, Priority};
use reachability_domain::push::ports::Notifications;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::recipient::{Recipient, RecipientStatus, When};
use reachability_domain::push::tag::Tag;
use reachability_domain::queue::Queue;
use reachability_domain::sid::{AccountSid, BindingSid, NotificationSid, ServiceSid};
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::{App, LostWithin, Port};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::paging::{CursorListing, Listing};
use crate::http::params::Params;
use crate::http::request::ApiRequest;
use crate::routes::identities::identities_up_to;
use crate::routes::notification_content::content;
use crate::routes::scope::find_service;
use crate::routes::tags::tags;
use crate::use_cases::notifications::{Presence, SendNotification, recipients, send_notification};
use crate::use_cases::services::ServiceDirectory;

/// For how long a provider may keep a notification, in seconds: four weeks, which is FCM's limit, and what holds if a
/// request says nothing.
const MAX_TTL: u32 = 2_419_200;

/// The parameters of Notify that are not built. Without an error, a notification would go to others than was asked for, or
/// would not be what was asked for.
const NOT_BUILT: [&str; 6] = ["ToBinding", "Segment", "DeliveryCallbackUrl", "Sms", "FacebookMessenger", "Alexa"];

/// How many identities a request may name. The limit is ours, not the vendor's.
const MAX_IDENTITIES: usize = 1_000;

/// How many deliveries a page has at most.
const MAX_PAGE_SIZE: usize = 100;

pub(crate) fn routes() -> Router<App> {
    let path = "/v1/Services/{service}/Notifications";
    Router::new()
        .route(path, post(create))
        .route(&format!("{path}/{{notification}}"), get(fetch))
        .route(&format!("{path}/{{notification}}/Deliveries"), get(list_deliveries))
        .route(&format!("{path}/{{notification}}/Recipients"), get(list_recipients))
}

async fn create(
    State(directory): State<ServiceDirectory>,
    Port(notifications): Port<dyn Notifications>,
    Port(states): Port<dyn States>,
    Port(pushes): Port<dyn Queue<PushMessage>>,
    Port(ids): Port<dyn Ids>,
    (State(clock), State(LostWithin(lost_within))): (State<Clock>, State<LostWithin>),
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?;
    let form = request.form()?;
    form.refuse(&NOT_BUILT)?;
    form.required("Identity")?;
    let command = SendNotification {
        service,
        identities: identities_up_to(MAX_IDENTITIES, &form)?,
        tags: tags(&form, Tag::MAX_OF_FILTER)?,
        when: when(&form)?,
        content: content(&form)?,
        ttl_seconds: form.number("Ttl", 0..=MAX_TTL)?.unwrap_or(MAX_TTL),
        key: request.idempotency_key()?.map(|key| (key, KeyedRequest::new(form.iter()))),
    };
    let presence = Presence { states: &*states, lost_within };
    let sent = send_notification(&directory, &*notifications, presence, &*pushes, &*ids, clock, command);
    let notification = sent.await?.ok_or_else(ApiError::other_request)?;
    Ok((StatusCode::CREATED, Json(show(&request, &notification))).into_response())
}

async fn fetch(
    State(directory): State<ServiceDirectory>,
    Port(notifications): Port<dyn Notifications>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    Ok(Json(show(&request, &find(&directory, &*notifications, &request).await?)).into_response())
}

async fn list_deliveries(
    State(directory): State<ServiceDirectory>,
    Port(notifications): Port<dyn Notifications>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let notification = find(&directory, &*notifications, &request).await?;
    let listing = Listing::<BindingSid>::of(&request.query, MAX_PAGE_SIZE)?;
    let page: Page<Delivery> = notifications.deliveries(notification.sid, listing.request).await?;
    let items = page.items.iter().map(show_delivery).collect();
    Ok(listing.show(&request.base_url, &request.path, "deliveries", &page, |delivery| delivery.binding_sid, items))
}

async fn list_recipients(
    State(directory): State<ServiceDirectory>,
    Port(notifications): Port<dyn Notifications>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let notification = find(&directory, &*notifications, &request).await?;
    let listing = CursorListing::of(&request.query, MAX_PAGE_SIZE, &[])?;
    // Of a notification for everybody, nothing is decided by user.
    let all = if notification.when == When::Always { &[][..] } else { &notification.identities };
    let first = match listing.token {
        None => 0,
        Some(token) => {
            let last = all.iter().position(|identity| identity.as_str() == token);
            1 + last.ok_or_else(|| ApiError::invalid("PageToken", "one from another page"))?
        }
    };
    let page = &all[first..all.len().min(first.saturating_add(listing.page_size))];
    let next = page.last().filter(|last| all.last() != Some(last)).map(Identity::as_str);
    let recipients = recipients(&*notifications, &notification, page).await?;
    let items = recipients.iter().map(show_recipient).collect::<Vec<_>>();
    Ok(listing.show(&request.base_url, &request.path, "recipients", items, next))
}

/// The notification that the path names.
async fn find(
    directory: &ServiceDirectory,
    notifications: &dyn Notifications,
    request: &ApiRequest,
) -> Result<Notification, ApiError> {
    let service = find_service(directory, request).await?.service.sid;
    let notification = notifications.notification(service, request.notification()?).await?;
    notification.ok_or_else(|| request.not_found())
}

/// `When`: which of the users it is for.
fn when(form: &Params) -> Result<When, ApiError> {
    match form.get("When") {
        None | Some("always") => Ok(When::Always),
        Some("offline") => Ok(When::Offline),
        Some(_) => Err(ApiError::invalid("When", "always or offline")),
    }
}

fn show<'a>(request: &ApiRequest, notification: &'a Notification) -> NotificationResource<'a> {
    let content = &notification.content;
    let (service, sid) = (notification.service_sid, notification.sid);
    let url = format!("{}/v1/Services/{service}/Notifications/{sid}", request.base_url);
    NotificationResource {
        sid,
        account_sid: request.account_sid,
        service_sid: service,
        date_created: notification.date_created.to_seconds(),
        identities: &notification.identities,
        tags: &notification.tags,
        when: notification.when,
        segments: [],
        priority: content.priority,
        // Earlier versions stored none, which means the same.
        ttl: notification.ttl_seconds.unwrap_or(MAX_TTL),
        title: content.title.as_deref(),
        body: content.body.as_deref(),
        sound: content.sound.as_deref(),
        action: content.action.as_deref(),
        data: given(&content.data),
        apn: given(&content.apn),
        gcm: given(&content.gcm),
        fcm: given(&content.fcm),
        sms: (),
        facebook_messenger: (),
        alexa: (),
        collapse_id: content.collapse_id.as_deref(),
        format: content.format,
        links: NotificationLinks { deliveries: format!("{url}/Deliveries"), recipients: format!("{url}/Recipients") },
        url,
    }
}

fn given(json: &Map<String, Value>) -> Option<&Map<String, Value>> {
    (!json.is_empty()).then_some(json)
}

/// Notify has some members that nothing here sets. They are null, which is the type `()`, or an empty array. It does not have
/// `collapse_id` and `format`.
#[derive(Serialize)]
struct NotificationResource<'a> {
    sid: NotificationSid,
    account_sid: AccountSid,
    service_sid: ServiceSid,
    date_created: String,
    identities: &'a [Identity],
    tags: &'a [Tag],
    when: When,
    segments: [(); 0],
    priority: Priority,
    ttl: u32,
    title: Option<&'a str>,
    body: Option<&'a str>,
    sound: Option<&'a str>,
    action: Option<&'a str>,
    data: Option<&'a Map<String, Value>>,
    apn: Option<&'a Map<String, Value>>,
    gcm: Option<&'a Map<String, Value>>,
    fcm: Option<&'a Map<String, Value>>,
    sms: (),
    facebook_messenger: (),
    alexa: (),
    collapse_id: Option<&'a str>,
    format: Format,
    url: String,
    links: NotificationLinks,
}

#[derive(Serialize)]
struct NotificationLinks {
    deliveries: String,
    recipients: String,
}

fn show_delivery(delivery: &Delivery) -> DeliveryResource<'_> {
    let (reason, id) = match &delivery.status {
        DeliveryStatus::Queued { reason } => (reason.as_ref().map(Reason::as_str), None),
        DeliveryStatus::Accepted { id } => (None, id.as_deref()),
        DeliveryStatus::Failed { reason } => (Some(reason.as_str()), None),
        DeliveryStatus::Skipped => (Some(Reason::ONLINE), None),
    };
    DeliveryResource {
        binding_sid: delivery.binding_sid,
        identity: &delivery.identity,
        binding_type: delivery.channel,
        status: delivery.status.as_str(),
        reason,
        provider_message_id: id,
        attempts: delivery.attempts,
        next_attempt: delivery.next_attempt_at.map(Timestamp::to_seconds),
        date_updated: delivery.date_updated.to_seconds(),
    }
}

#[derive(Serialize)]
struct DeliveryResource<'a> {
    binding_sid: BindingSid,
    identity: &'a Identity,
    binding_type: Channel,
    status: &'static str,
    reason: Option<&'a str>,
    provider_message_id: Option<&'a str>,
    attempts: u32,
    next_attempt: Option<String>,
    date_updated: String,
}

fn show_recipient(recipient: &Recipient) -> RecipientResource<'_> {
    let held_until = match recipient.status {
        RecipientStatus::Held { until } => Some(until.to_seconds()),
        _ => None,
    };
    RecipientResource {
        identity: &recipient.identity,
        status: recipient.status.as_str(),
        held_until,
        date_updated: recipient.date_updated.to_seconds(),
    }
}

#[derive(Serialize)]
struct RecipientResource<'a> {
    identity: &'a Identity,
    status: &'static str,
    held_until: Option<String>,
    date_updated: String,
}
