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
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::notification::{Delivery, DeliveryStatus, Notification};
use reachability_domain::push::payload::{Content, Priority};
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
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::paging::{CursorListing, Listing};
use crate::http::params::Params;
use crate::http::request::ApiRequest;
use crate::routes::identities::identities;
use crate::routes::scope::find_service;
use crate::routes::settings::MAX_SOUND;
use crate::routes::tags::tags;
use crate::use_cases::notifications::{Presence, SendNotification, recipients, send_notification};
use crate::use_cases::services::ServiceDirectory;

/// How long a title may be, in characters. The limit is ours, not the vendor's.
const MAX_TITLE: usize = 1_024;

/// How long a text may be, in characters. The limit is ours, not the vendor's.
const MAX_BODY: usize = 4_096;

/// How large the payload for a device may be, in bytes. APNs and FCM have this limit.
const MAX_PAYLOAD: usize = 4_096;

/// For how long a provider may keep a notification, in seconds: four weeks, which is FCM's limit, and what holds if a
/// request says nothing.
const MAX_TTL: u32 = 2_419_200;

/// The parameters of Notify that are not built. Without an error, a notification would go to others than was asked for, or
/// would not be what was asked for.
const NOT_BUILT: [&str; 10] =
    ["ToBinding", "Segment", "DeliveryCallbackUrl", "Action", "Apn", "Fcm", "Gcm", "Sms", "FacebookMessenger", "Alexa"];

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
        identities: identities(&form)?,
        tags: tags(&form, Tag::MAX_OF_FILTER)?,
        when: when(&form)?,
        content: content(&form)?,
        ttl_seconds: form.number("Ttl", 0..=MAX_TTL)?.unwrap_or(MAX_TTL),
    };
    let presence = Presence { states: &*states, lost_within };
    let sent = send_notification(&directory, &*notifications, presence, &*pushes, &*ids, clock, command);
    let notification = sent.await?;
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

fn content(form: &Params) -> Result<Content, ApiError> {
    let mut content = Content { data: data(form)?, ..Content::default() };
    form.set_text(&mut content.title, "Title", MAX_TITLE, ErrorCode::InvalidParameter)?;
    form.set_text(&mut content.body, "Body", MAX_BODY, ErrorCode::InvalidParameter)?;
    form.set_text(&mut content.sound, "Sound", MAX_SOUND, ErrorCode::InvalidParameter)?;
    content.priority = match form.get("Priority") {
        None | Some("high") => Priority::High,
        Some("low") => Priority::Low,
        Some(_) => return Err(ApiError::invalid("Priority", "high or low")),
    };
    if content.title.is_none() && content.body.is_none() && content.data.is_empty() {
        return Err(ApiError::missing("Title, Body or Data"));
    }
    let size = payload_size(&content).map_err(ApiError::internal)?;
    if size > MAX_PAYLOAD {
        let message = format!("The notification has {size} bytes as a push, and the limit is {MAX_PAYLOAD}");
        return Err(ApiError::refused(ErrorCode::InvalidParameter, message));
    }
    Ok(content)
}

/// `Data`: a JSON object. APNs uses its member `aps`, and FCM refuses a push with a member that [`is_reserved`], so the
/// request must have none of them.
fn data(form: &Params) -> Result<Map<String, Value>, ApiError> {
    let name = "Data";
    match form.get(name) {
        None | Some("") => Ok(Map::new()),
        Some(text) if text.len() > MAX_PAYLOAD => {
            Err(ApiError::invalid(name, format_args!("at most {MAX_PAYLOAD} bytes")))
        }
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(data)) if data.keys().any(|key| is_reserved(key)) => {
                let what =
                    "an object without members from and message_type, and without names that start with google or gcm";
                Err(ApiError::invalid(name, what))
            }
            Ok(Value::Object(data)) if !data.contains_key("aps") => Ok(data),
            _ => Err(ApiError::invalid(name, "a JSON object without a member aps")),
        },
    }
}

/// Whether FCM reserves the name of a member: <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>.
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || key.starts_with("google") || key.starts_with("gcm")
}

/// The size of the content as a payload of APNs, in bytes. A payload of FCM is about as large.
fn payload_size(content: &Content) -> serde_json::Result<usize> {
    let alert = Alert { title: content.title.as_deref(), body: content.body.as_deref() };
    let alert = (content.title.is_some() || content.body.is_some()).then_some(alert);
    let content_available = (!content.is_visible()).then_some(1);
    let aps = Aps { sound: content.sound.as_deref(), alert, content_available };
    serde_json::to_vec(&Payload { data: &content.data, aps }).map(|payload| payload.len())
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(flatten)]
    data: &'a Map<String, Value>,
    aps: Aps<'a>,
}

#[derive(Serialize)]
struct Aps<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Alert<'a>>,
    #[serde(rename = "content-available", skip_serializing_if = "Option::is_none")]
    content_available: Option<u8>,
}

#[derive(Serialize)]
struct Alert<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
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
        action: (),
        data: (!content.data.is_empty()).then_some(&content.data),
        apn: (),
        gcm: (),
        fcm: (),
        sms: (),
        facebook_messenger: (),
        alexa: (),
        links: NotificationLinks { deliveries: format!("{url}/Deliveries"), recipients: format!("{url}/Recipients") },
        url,
    }
}

/// Notify has some members that nothing here sets. They are null, which is the type `()`, or an empty array.
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
    action: (),
    data: Option<&'a Map<String, Value>>,
    apn: (),
    gcm: (),
    fcm: (),
    sms: (),
    facebook_messenger: (),
    alexa: (),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_content_that_fits_into_a_push() {
        let size =
            |form: &str| content(&Params::parse(form).unwrap()).map(|content| payload_size(&content).unwrap()).ok();
        assert_eq!(size("Body=x&Identity=y"), Some(r#"{"aps":{"alert":{"body":"x"}}}"#.len()));
        assert_eq!(
            size("Title=%C3%BC&Sound=s&Data=%7B%22a%22%3A%5B1%5D%7D"),
            Some(r#"{"a":[1],"aps":{"sound":"s","alert":{"title":"ü"}}}"#.len())
        );
        assert_eq!(size("Data=%7B%22a%22%3A1%7D"), Some(r#"{"a":1,"aps":{"content-available":1}}"#.len()));
        for (length, fits) in [(4_067, true), (4_068, false), (4_096, false)] {
            assert_eq!(size(&format!("Body={}", "x".repeat(length))).is_some(), fits, "{length}");
        }
        for key in ["from", "message_type", "google", "google.id", "gcm.n", "aps"] {
            assert_eq!(size(&format!("Body=x&Data=%7B%22{key}%22%3A1%7D")), None, "{key}");
        }
        for key in ["From", "from_whom", "goo", "a.google"] {
            assert!(size(&format!("Body=x&Data=%7B%22{key}%22%3A1%7D")).is_some(), "{key}");
        }
        assert_eq!(size("Sound=s&Data=%7B%7D"), None, "a sound alone is not enough");
    }
}
