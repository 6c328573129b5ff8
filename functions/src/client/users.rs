//! Users, as the other users of the service see them, and a user's changes of its own profile.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::map::UserMap;
use reachability_domain::presence::snapshot::{UserSnapshot, UserSnapshots};
use reachability_domain::presence::view::UserView;
use reachability_domain::sid::{MapSid, UserSid};
use reachability_domain::time::Clock;
use serde::{Deserialize, Deserializer, Serialize};

use crate::app::{App, Port};
use crate::client::request::ClientRequest;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::profile;
use crate::use_cases::users::{ProfileChange, UpdateUser, Writer, update_user};

pub(super) fn routes() -> Router<App> {
    ["/Client/v1", "/Client/v2"].into_iter().fold(Router::new(), |router, prefix| {
        router.route(&format!("{prefix}/Users/{{user}}"), get(fetch).post(update))
    })
}

/// A user of the client's service.
async fn fetch(
    Port(snapshots): Port<dyn UserSnapshots>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<Response, ApiError> {
    let user = request.segment("user")?.parse().map_err(|_| request.not_found())?;
    let snapshot = snapshots.user_snapshot(request.client.user.service, &user).await?;
    show(&request, snapshot.as_ref(), clock)
}

/// What a client may change. The vendor's clients send one of them.
#[derive(Deserialize)]
struct Update {
    /// `null` clears it.
    #[serde(default, deserialize_with = "given")]
    friendly_name: Option<Option<String>>,
    attributes: Option<String>,
}

/// A member that is there, even if it is `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Changes the profile of the client's own user. Webhooks tell it, as they tell everything that clients do.
async fn update(
    Port(users): Port<dyn Users>,
    Port(snapshots): Port<dyn UserSnapshots>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<Response, ApiError> {
    let service = request.client.user.service;
    let user = request.segment("user")?.parse().map_err(|_| request.not_found())?;
    let user = users.user(service, &user).await?;
    let own = user.filter(|user| user.identity == request.client.user.identity).ok_or_else(ApiError::not_own)?;
    let Update { friendly_name, attributes } = request.json()?;
    let friendly_name =
        friendly_name.map(|name| profile::friendly_name("friendly_name", name.as_deref().unwrap_or("")));
    let attributes = attributes.map(|attributes| profile::attributes("attributes", &attributes));
    let profile = ProfileChange {
        friendly_name: friendly_name.transpose()?,
        attributes: attributes.transpose()?,
        role_sid: None,
    };
    let command = UpdateUser { user: own, profile, writer: Writer::Client };
    update_user(&*users, &*ids, clock, command).await?.ok_or_else(|| request.not_found())?;
    show(&request, snapshots.user_snapshot(service, &request.own()).await?.as_ref(), clock)
}

fn show(request: &ClientRequest, snapshot: Option<&UserSnapshot>, clock: Clock) -> Result<Response, ApiError> {
    let snapshot = snapshot.ok_or_else(|| request.not_found())?;
    let viewer = Viewer::at(&snapshot.user.identity, &request.client.user.identity);
    let UserView { user, appearance, .. } = UserView::of(snapshot, clock(), viewer);
    let reachability = appearance.reachability;
    let map = UserMap::Info(user.sid).sid();
    let resource = UserResource {
        sid: user.sid,
        identity: &user.identity,
        friendly_name: user.friendly_name.as_deref(),
        attributes: &user.attributes,
        is_online: reachability.online,
        is_notifiable: reachability.notifiable,
        url: url(request, &user),
        sync_unique_name: map,
        sync_objects: SyncObjects { user_info_map: map },
    };
    Ok(Json(resource).into_response())
}

fn url(request: &ClientRequest, user: &User) -> String {
    format!("{}/Client/v2/Users/{}", request.base_url, user.sid)
}

#[derive(Serialize)]
struct UserResource<'a> {
    sid: UserSid,
    identity: &'a Identity,
    friendly_name: Option<&'a str>,
    attributes: &'a str,
    is_online: Option<bool>,
    is_notifiable: Option<bool>,
    url: String,
    /// Chat reads this one, Conversations the other.
    sync_unique_name: MapSid,
    sync_objects: SyncObjects,
}

#[derive(Serialize)]
struct SyncObjects {
    user_info_map: MapSid,
}
