//! Users: of a service, of the account's default service, and as Chat v2 shows them. They are the same users.

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::Page;
use reachability_domain::presence::reachability::Reachability;
use reachability_domain::sid::UserSid;
use reachability_domain::store::StoreError;
use reachability_infra::ids;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::configuration::role;
use crate::error::ApiError;
use crate::paging::Listing;
use crate::params::Params;
use crate::update;

/// How long a user's name may be, in characters.
const MAX_FRIENDLY_NAME: usize = 256;

/// How long a user's attributes may be, in bytes.
const MAX_ATTRIBUTES: usize = 4_096;

/// Which API shows the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Conversations, a service's users.
    Service,
    /// Conversations, the users of the default service.
    Account,
    /// Chat.
    Chat,
}

pub(crate) fn routes() -> Router<App> {
    [
        (View::Service, "/v1/Services/{service}/Users"),
        (View::Account, "/v1/Users"),
        (View::Chat, "/v2/Services/{service}/Users"),
    ]
    .into_iter()
    .fold(Router::new(), |router, (view, path)| {
        router
            .route(path, get(move |call| list(view, call)).post(move |call| create(view, call)))
            .route(
                &format!("{path}/{{user}}"),
                get(move |call| fetch(view, call)).post(move |call| update(view, call)).delete(delete),
            )
            .route(
                &format!("{path}/{{user}}/{}", view.conversations()),
                get(move |call| list_conversations(view, call)),
            )
    })
}

impl View {
    fn max_page_size(self) -> usize {
        match self {
            Self::Service | Self::Account => 50,
            Self::Chat => 100,
        }
    }

    /// What the view calls conversations.
    fn conversations(self) -> &'static str {
        match self {
            Self::Service | Self::Account => "Conversations",
            Self::Chat => "Channels",
        }
    }

    fn path(self, user: &User) -> String {
        match self {
            Self::Service => format!("/v1/Services/{}/Users/{}", user.service_sid, user.sid),
            Self::Account => format!("/v1/Users/{}", user.sid),
            Self::Chat => format!("/v2/Services/{}/Users/{}", user.service_sid, user.sid),
        }
    }

    fn show(self, call: &Call, user: &User, reachability: Reachability) -> Value {
        let url = format!("{}{}", call.base_url, self.path(user));
        let mut shown = json!({
            "sid": user.sid,
            "account_sid": call.app.account_sid,
            "role_sid": user.role_sid,
            "identity": user.identity,
            "friendly_name": user.friendly_name,
            "attributes": user.attributes,
            "is_online": reachability.online,
            "is_notifiable": reachability.notifiable,
            "date_created": user.date_created.to_seconds(),
            "date_updated": user.date_updated.to_seconds(),
        });
        match self {
            Self::Service | Self::Account => {
                shown["chat_service_sid"] = json!(user.service_sid);
                shown["links"] = json!({ "user_conversations": format!("{url}/Conversations") });
            }
            Self::Chat => {
                shown["service_sid"] = json!(user.service_sid);
                shown["joined_channels_count"] = json!(0);
                shown["links"] = json!({
                    "user_channels": format!("{url}/Channels"),
                    "user_bindings": format!("{url}/Bindings"),
                });
            }
        }
        shown["url"] = json!(url);
        shown
    }
}

async fn create(view: View, call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let identity: Identity = form.required("Identity")?.parse()?;
    let service = call.service().await?;
    let key = UserKey { service: service.sid, identity };
    let mut user = User::new(ids::sid(), key, Some(service.default_roles.service_user), (call.app.clock)());
    change(&mut user, &form)?;
    match call.app.store.create_user(&user).await {
        Ok(()) => {}
        Err(StoreError::Exists) => return Err(ApiError::user_exists()),
        Err(StoreError::Missing) => return Err(call.not_found()),
        Err(error) => return Err(error.into()),
    }
    let reachability = reachability(&call, &service, &user).await?;
    Ok((StatusCode::CREATED, Json(view.show(&call, &user, reachability))).into_response())
}

/// A list shows no reachability, unless it is asked for.
async fn list(view: View, call: Call) -> Result<Response, ApiError> {
    let service = call.service().await?;
    let asked = call.query.boolean("Reachability")?.unwrap_or(false);
    let filters = if asked { "&Reachability=true" } else { "" };
    let page = Listing::<UserSid>::of(&call, view.max_page_size())?.with_filters(filters.to_owned());
    let slice: Page<User> = call.app.store.users(service.sid, page.request).await?;
    let shown = if asked && service.configuration.reachability_enabled {
        let keys: Vec<UserKey> = slice.items.iter().map(User::key).collect();
        let states = call.app.store.states(&keys).await?;
        let now = (call.app.clock)();
        let reachability = states.iter().map(|state| Reachability::of(&service.configuration, state, now));
        slice.items.iter().zip(reachability).map(|(user, reachability)| view.show(&call, user, reachability)).collect()
    } else {
        slice.items.iter().map(|user| view.show(&call, user, Reachability::UNKNOWN)).collect()
    };
    Ok(page.show(&call, &call.path, "users", &slice, |user| user.sid, shown))
}

async fn fetch(view: View, call: Call) -> Result<Response, ApiError> {
    let service = call.service().await?;
    let user = call.user(&service).await?;
    let reachability = reachability(&call, &service, &user).await?;
    Ok(Json(view.show(&call, &user, reachability)).into_response())
}

async fn update(view: View, call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let user = update::update(&call, |user| change(user, &form)).await?;
    let reachability = reachability(&call, &call.service().await?, &user).await?;
    Ok(Json(view.show(&call, &user, reachability)).into_response())
}

async fn delete(call: Call) -> Result<Response, ApiError> {
    let service = call.service().await?;
    let user = call.user(&service).await?;
    if call.app.store.delete_user(service.sid, user.sid, (call.app.clock)()).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(call.not_found())
    }
}

/// Conversations are not kept here, so nobody is in any.
async fn list_conversations(view: View, call: Call) -> Result<Response, ApiError> {
    let service = call.service().await?;
    let user = call.user(&service).await?;
    let page = Listing::<UserSid>::of(&call, view.max_page_size())?;
    let nothing: Page<User> = Page { items: vec![], more: false };
    let path = format!("{}/{}", view.path(&user), view.conversations());
    let key = view.conversations().to_lowercase();
    Ok(page.show(&call, &path, &key, &nothing, |user| user.sid, vec![]))
}

/// The parameters that creating and updating have in common. `IsOnline` and `IsNotifiable` are not among them.
fn change(user: &mut User, form: &Params) -> Result<(), ApiError> {
    form.set_text(&mut user.friendly_name, "FriendlyName", MAX_FRIENDLY_NAME, 50003)?;
    match form.get("Attributes") {
        None => {}
        Some("") => user.attributes = "{}".to_owned(),
        Some(attributes) if attributes.len() > MAX_ATTRIBUTES => {
            return Err(ApiError::refused(50303, format!("Attributes is longer than {MAX_ATTRIBUTES} bytes")));
        }
        Some(attributes) => {
            if serde_json::from_str::<serde::de::IgnoredAny>(attributes).is_err() {
                return Err(ApiError::refused(50304, "Attributes is not valid JSON"));
            }
            user.attributes = attributes.to_owned();
        }
    }
    if let Some(role) = role(form, "RoleSid")? {
        user.role_sid = Some(role);
    }
    Ok(())
}

async fn reachability(call: &Call, service: &Service, user: &User) -> Result<Reachability, ApiError> {
    if !service.configuration.reachability_enabled {
        return Ok(Reachability::UNKNOWN);
    }
    let states = call.app.store.states(&[user.key()]).await?;
    let now = (call.app.clock)();
    Ok(states.first().map_or(Reachability::UNKNOWN, |state| Reachability::of(&service.configuration, state, now)))
}
