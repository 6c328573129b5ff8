//! The maps in which clients read users: what is visible of a user, and the always empty one of the user's conversations.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::UserKey;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::map::{FoundMap, UserMap};
use reachability_domain::presence::snapshot::UserSnapshots;
use reachability_domain::presence::view::UserView;
use reachability_domain::sid::{MapSid, Sid, UserSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Clock;
use serde::Serialize;
use tokio::task::yield_now;
use tracing::warn;

use crate::app::{App, Port};
use crate::client::Client;
use crate::client::configuration::NoMore;
use crate::client::request::ClientRequest;
use crate::http::error::ApiError;
use crate::http::json::Json;

/// After how many maps others get a turn: a store may read without waiting.
const READ_AT_ONCE: usize = 32;

/// Reads maps, named by sid or unique name, for a client that subscribes to them. The result has the order of `maps`.
pub async fn read_maps(app: &App, client: &Client, maps: &[String]) -> Vec<FoundMap> {
    let (ports, clock) = (app.ports(), app.settings().clock);
    let mut found = Vec::with_capacity(maps.len());
    for (index, map) in maps.iter().enumerate() {
        if index % READ_AT_ONCE == READ_AT_ONCE - 1 {
            yield_now().await;
        }
        found.push(match Named::find(&client.user, map, &*ports.users, &*ports.snapshots, clock).await {
            Ok(Some(Named::User(view))) => FoundMap::User(view),
            Ok(Some(Named::Conversations(_))) => FoundMap::Conversations,
            Ok(None) => FoundMap::Missing,
            Err(error) => {
                warn!(error = %ErrorChain(&error), "a map could not be read");
                FoundMap::Unavailable
            }
        });
    }
    found
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/v3/Maps/{map}", get(fetch)).route("/v3/Maps/{map}/Items", get(list_items))
}

/// What a map is: that of a user, or the own conversations.
enum Named {
    User(Box<UserView>),
    Conversations(Box<User>),
}

impl Named {
    /// A map of the service of the client that asks for it.
    async fn find(
        client: &UserKey,
        map: &str,
        users: &dyn Users,
        snapshots: &dyn UserSnapshots,
        clock: Clock,
    ) -> Result<Option<Self>, StoreError> {
        // Nobody has this sid. Which one the client has is only needed if it may mean its own conversations.
        let Some(asked) = UserMap::asked_for(map, UserSid::from_bits(0)) else { return Ok(None) };
        if let UserMap::Info(user) = asked
            && let Some(snapshot) = snapshots.user_snapshot(client.service, &UserRef::Sid(user)).await?
        {
            let viewer = Viewer::at(&snapshot.user.identity, &client.identity);
            return Ok(Some(Self::User(Box::new(UserView::of(&snapshot, clock(), viewer)))));
        }
        let own = users.user(client.service, &UserRef::Identity(client.identity.clone())).await?;
        let is_own = |own: &User| UserMap::asked_for(map, own.sid) == Some(UserMap::Conversations(own.sid));
        Ok(own.filter(is_own).map(|own| Self::Conversations(Box::new(own))))
    }

    async fn by(
        request: &ClientRequest,
        users: &dyn Users,
        snapshots: &dyn UserSnapshots,
        clock: Clock,
    ) -> Result<Self, ApiError> {
        let found = Self::find(&request.client.user, request.segment("map")?, users, snapshots, clock).await?;
        found.ok_or_else(ApiError::no_map)
    }

    fn user(&self) -> &User {
        match self {
            Self::User(view) => &view.user,
            Self::Conversations(user) => user,
        }
    }

    fn map(&self) -> UserMap {
        match self {
            Self::User(view) => UserMap::Info(view.user.sid),
            Self::Conversations(user) => UserMap::Conversations(user.sid),
        }
    }

    /// The items, all with the sequence of the user: a client takes a change of an item only if it has a higher number.
    fn items(&self, base_url: &str) -> Vec<Item<'_>> {
        let Self::User(view) = self else { return vec![] };
        let UserView { user, appearance, sequence, .. } = &**view;
        let reachability = &appearance.reachability;
        let url = format!("{base_url}/v3/Maps/{}/Items", self.map().sid());
        let item = |key: &'static str, data| Item {
            key,
            data,
            revision: sequence.to_string(),
            last_event_id: *sequence,
            date_created: user.date_created.to_string(),
            date_updated: user.date_updated.to_string(),
            date_expires: None,
            url: format!("{url}/{key}"),
        };
        vec![
            item("friendlyName", Data::Value { value: user.friendly_name.as_deref() }),
            item("attributes", Data::Value { value: Some(&user.attributes) }),
            item(
                "reachability",
                Data::Reachability {
                    kind: "ReachabilityInfo",
                    online: reachability.online,
                    notifiable: reachability.notifiable,
                },
            ),
        ]
    }
}

/// A map, and its items if the request asks for them.
async fn fetch(
    Port(users): Port<dyn Users>,
    Port(snapshots): Port<dyn UserSnapshots>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<Response, ApiError> {
    let named = Named::by(&request, &*users, &*snapshots, clock).await?;
    let includes_items = request.query.all("Include").any(|it| it == "items");
    let sequence = match &named {
        Named::User(view) => view.sequence,
        Named::Conversations(_) => 0,
    };
    let (map, user) = (named.map(), named.user());
    let url = format!("{}/v3/Maps/{}", request.base_url, map.sid());
    let resource = Map {
        sid: map.sid(),
        unique_name: map.to_string(),
        revision: sequence.to_string(),
        last_event_id: sequence,
        date_created: user.date_created.to_string(),
        date_updated: user.date_updated.to_string(),
        date_expires: None,
        links: Links { items: format!("{url}/Items") },
        url,
        items: includes_items.then(|| named.items(&request.base_url)),
    };
    Ok(Json(resource).into_response())
}

/// A map's items: all, since there are few, or the one that the request names.
async fn list_items(
    Port(users): Port<dyn Users>,
    Port(snapshots): Port<dyn UserSnapshots>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<Response, ApiError> {
    let named = Named::by(&request, &*users, &*snapshots, clock).await?;
    let mut items = named.items(&request.base_url);
    if let Some(key) = request.query.get("Key") {
        items.retain(|item| item.key == key);
    }
    Ok(Json(Items { items, meta: NoMore::default() }).into_response())
}

#[derive(Serialize)]
struct Map<'a> {
    sid: MapSid,
    unique_name: String,
    url: String,
    revision: String,
    last_event_id: u64,
    date_created: String,
    date_updated: String,
    date_expires: Option<()>,
    links: Links,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Item<'a>>>,
}

#[derive(Serialize)]
struct Links {
    items: String,
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<Item<'a>>,
    meta: NoMore,
}

#[derive(Serialize)]
struct Item<'a> {
    key: &'static str,
    data: Data<'a>,
    revision: String,
    last_event_id: u64,
    date_created: String,
    date_updated: String,
    date_expires: Option<()>,
    url: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Value {
        value: Option<&'a str>,
    },
    /// Both keys are always there: clients take a missing one for a change.
    Reachability {
        #[serde(rename = "type")]
        kind: &'static str,
        online: Option<bool>,
        notifiable: Option<bool>,
    },
}
