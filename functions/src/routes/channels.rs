//! Channels and their members. The lists of channels of Chat v2 have nothing to do with them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::channel::Channel;
use reachability_domain::channel::data::custom;
use reachability_domain::channel::key::{ChannelId, ChannelKey, ChannelType, Cid};
use reachability_domain::channel::ports::Channels;
use reachability_domain::channel::public_channel::PublicChannel;
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::query::InvalidQuery;
use reachability_domain::query::cursor::{InvalidCursor, Position};
use reachability_domain::query::fields::Kind;
use reachability_domain::query::sort::Sort;
use reachability_domain::sid::ServiceSid;
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::paging::CursorListing;
use crate::http::params::Params;
use crate::http::request::ApiRequest;
use crate::routes::binding_resource::encode;
use crate::routes::identities::identities;
use crate::routes::queries;
use crate::routes::scope::find_service;
use crate::use_cases::asker::Asker;
use crate::use_cases::channels::{
    ChannelChange, ChannelError, CreateChannel, add_members, create_channel, query_channels, remove_members,
    update_channel,
};
use crate::use_cases::services::ServiceDirectory;

/// How many channels a page has at most.
const MAX_PAGE_SIZE: usize = 100;

/// How many members a page has at most.
const MAX_MEMBERS_PAGE_SIZE: usize = 1_000;

/// The routes' caller.
const OWNER: Asker = Asker::Owner { sees_invisible: false };

/// The port, where there are channels.
type ChannelsPort = State<Option<Arc<dyn Channels>>>;

pub(crate) fn routes() -> Router<App> {
    let all = "/v1/Services/{service}/Channels";
    let one = format!("{all}/{{type}}/{{id}}");
    Router::new()
        .route(all, get(list).post(create))
        .route(&one, get(fetch).post(update).delete(delete))
        .route(&format!("{one}/Members"), get(list_members).post(add))
        .route(&format!("{one}/Members/{{member}}"), axum::routing::delete(remove))
}

/// Why a request was not done.
fn refusal(request: &ApiRequest, error: ChannelError) -> ApiError {
    match error {
        ChannelError::NotFound => request.not_found(),
        ChannelError::Exists => ApiError::channel_exists(),
        ChannelError::Forbidden => ApiError::forbidden(&error.to_string()),
        ChannelError::OverLimit(limit) => ApiError::unfit("Identity", limit),
        ChannelError::Store(error) => error.into(),
    }
}

fn supported(channels: Option<Arc<dyn Channels>>) -> Result<Arc<dyn Channels>, ApiError> {
    channels.ok_or_else(|| ApiError::not_supported("Channels exist with one process only, and not on AWS"))
}

/// The service and the channel that the path names.
async fn key(directory: &ServiceDirectory, request: &ApiRequest) -> Result<ChannelKey, ApiError> {
    let service = find_service(directory, request).await?.service.sid;
    Ok(ChannelKey { service, cid: Cid { kind: request.named("type")?, id: request.named("id")? } })
}

async fn create(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let channels = supported(channels)?;
    let found = find_service(&directory, &request).await?;
    let form = request.form()?;
    let kind: ChannelType = form.required("Type")?.parse().map_err(|why| ApiError::unfit("Type", why))?;
    let id: ChannelId = form.required("Id")?.parse().map_err(|why| ApiError::unfit("Id", why))?;
    let (custom, last_message_at) = (custom_of(&form)?.unwrap_or_default(), last_message_at(&form)?.flatten());
    let members = identities(&form)?;
    let service = directory.store(found).await?.sid;
    let command =
        CreateChannel { key: ChannelKey { service, cid: Cid { kind, id } }, custom, last_message_at, members };
    let created = create_channel(&*channels, command, &OWNER, clock()).await;
    let channel = created.map_err(|error| refusal(&request, error))?;
    Ok((StatusCode::CREATED, Json(show(&request, &channel))).into_response())
}

/// Lists the channels that a `Filter` matches, or all.
async fn list(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let channels = supported(channels)?;
    let service = find_service(&directory, &request).await?.service.sid;
    let listing = CursorListing::of(&request.query, MAX_PAGE_SIZE, &["Filter", "Sort"])?;
    let filter = queries::json(&request.query, "Filter")?;
    let query = queries::query(Kind::Channels, &filter, &request.query, &listing)?;
    let found = query_channels(&*channels, service, &query, &OWNER).await?;
    let items = found.channels.iter().map(|channel| show(&request, channel)).collect();
    Ok(listing.show(&request.base_url, &request.path, "channels", items, found.cursor.as_deref()))
}

async fn fetch(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let channels = supported(channels)?;
    let channel = channels.channel(&key(&directory, &request).await?).await?;
    Ok(Json(show(&request, &channel.ok_or_else(|| request.not_found())?)).into_response())
}

async fn update(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let channels = supported(channels)?;
    let form = request.form()?;
    let change = ChannelChange { custom: custom_of(&form)?, last_message_at: last_message_at(&form)? };
    let key = key(&directory, &request).await?;
    let changed = update_channel(&*channels, &*ids, clock, &key, change).await?;
    Ok(Json(show(&request, &changed.ok_or_else(|| request.not_found())?)).into_response())
}

async fn delete(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    let channels = supported(channels)?;
    request.deleted(channels.delete_channel(&key(&directory, &request).await?).await?)
}

async fn list_members(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let channels = supported(channels)?;
    let key = key(&directory, &request).await?;
    let channel = channels.channel(&key).await?.ok_or_else(|| request.not_found())?;
    let listing = CursorListing::of(&request.query, MAX_MEMBERS_PAGE_SIZE, &[])?;
    let sort = Sort::by_key(Kind::Users);
    let after: Option<Identity> = listing
        .token
        .map(|token| Position::parse(token, &sort)?.key().parse().map_err(|_| InvalidCursor))
        .transpose()
        .map_err(InvalidQuery::Cursor)?;
    let mut members = channels.members(&key, after.as_ref(), listing.page_size + 1).await?;
    let more = members.len() > listing.page_size;
    members.truncate(listing.page_size);
    let url = url(&request, &channel);
    let items = members
        .iter()
        .map(|identity| MemberResource { identity, url: format!("{url}/Members/{}", encode(identity.as_str())) });
    let next = members.last().filter(|_| more).map(|last| Position::of_key(last.as_str()).cursor(&sort));
    Ok(listing.show(&request.base_url, &request.path, "members", items.collect(), next.as_deref()))
}

/// Adds members. The answer is the channel.
async fn add(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let channels = supported(channels)?;
    let form = request.form()?;
    form.required("Identity")?;
    let members = identities(&form)?;
    let added = add_members(&*channels, &key(&directory, &request).await?, &members, &OWNER).await;
    let (_, channel) = added.map_err(|error| refusal(&request, error))?;
    Ok(Json(show(&request, &channel)).into_response())
}

async fn remove(
    State(channels): ChannelsPort,
    State(directory): State<ServiceDirectory>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    let channels = supported(channels)?;
    let member: Identity = request.named("member")?;
    let removed = remove_members(&*channels, &key(&directory, &request).await?, &[member], &OWNER).await;
    let (removed, _) = removed.map_err(|error| refusal(&request, error))?;
    request.deleted(!removed.is_empty())
}

/// `Custom`: the app's own fields. An empty text clears them.
fn custom_of(form: &Params) -> Result<Option<Map<String, Value>>, ApiError> {
    if form.get("Custom") == Some("") {
        return Ok(Some(Map::new()));
    }
    match queries::json(form, "Custom")? {
        Value::Null if form.get("Custom").is_none() => Ok(None),
        fields => custom(fields).map(Some).map_err(|why| ApiError::unfit("Custom", why)),
    }
}

/// `LastMessageAt`: a time. An empty text clears it.
fn last_message_at(form: &Params) -> Result<Option<Option<Timestamp>>, ApiError> {
    match form.get("LastMessageAt") {
        None => Ok(None),
        Some("") => Ok(Some(None)),
        Some(text) => text.parse().map(|at| Some(Some(at))).map_err(|why| ApiError::unfit("LastMessageAt", why)),
    }
}

fn url(request: &ApiRequest, channel: &Channel) -> String {
    let ChannelKey { service, cid } = &channel.key;
    let (kind, id) = (encode(cid.kind.as_str()), encode(cid.id.as_str()));
    format!("{}/v1/Services/{service}/Channels/{kind}/{id}", request.base_url)
}

fn show<'a>(request: &ApiRequest, channel: &'a Channel) -> ChannelResource<'a> {
    let url = url(request, channel);
    ChannelResource {
        service_sid: channel.key.service,
        channel: PublicChannel::of(channel, None),
        links: ChannelLinks { members: format!("{url}/Members") },
        url,
    }
}

#[derive(Serialize)]
struct ChannelResource<'a> {
    service_sid: ServiceSid,
    #[serde(flatten)]
    channel: PublicChannel<'a>,
    url: String,
    links: ChannelLinks,
}

#[derive(Serialize)]
struct ChannelLinks {
    members: String,
}

#[derive(Serialize)]
struct MemberResource<'a> {
    identity: &'a Identity,
    url: String,
}
