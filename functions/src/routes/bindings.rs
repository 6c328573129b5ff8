//! Bindings: push registrations, of a service and of a user, as Conversations v1 and Chat v2 show them. They are the same
//! bindings. Neither has a way to make one; that is Notify v1's.

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::device::{Address, Device};
use reachability_domain::push::message::{Probe, PushMessage};
use reachability_domain::push::registration::Registration;
use reachability_domain::sid::{BindingSid, CredentialSid};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::ids;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::paging::Listing;
use crate::params::Params;

/// How long an app's own name for a device may be, in characters. Ours.
const MAX_ENDPOINT: usize = 256;

/// How many identities a request may name. Ours.
const MAX_IDENTITIES: usize = 100;

/// Which API shows the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Conversations, those of a service.
    Service,
    /// Chat, those of a service.
    Chat,
    /// Chat, those of a user.
    ChatUser,
}

pub(crate) fn routes() -> Router<App> {
    [
        (View::Service, "/v1/Services/{service}/Bindings"),
        (View::Chat, "/v2/Services/{service}/Bindings"),
        (View::ChatUser, "/v2/Services/{service}/Users/{user}/Bindings"),
    ]
    .into_iter()
    .fold(Router::new(), |router, (view, path)| {
        let all = get(move |call| list(view, call));
        let all = if view == View::Service { all.post(create) } else { all };
        let one = get(move |call| fetch(view, call)).delete(move |call| delete(view, call));
        router.route(path, all).route(&format!("{path}/{{binding}}"), one)
    })
}

impl View {
    fn max_page_size(self) -> usize {
        match self {
            Self::Service => 100,
            Self::Chat | Self::ChatUser => 50,
        }
    }

    /// The service that the path names, and the user whose bindings alone are meant.
    async fn scope(self, call: &Call) -> Result<(Service, Option<User>), ApiError> {
        let service = call.service().await?;
        let user = match self {
            Self::Service | Self::Chat => None,
            Self::ChatUser => Some(call.user(&service).await?),
        };
        Ok((service, user))
    }

    fn show(self, call: &Call, user: Option<&User>, binding: &Binding) -> Value {
        let (service, sid) = (binding.service_sid, binding.sid);
        let (status, reason, since) = match binding.death_at((call.app.clock)()) {
            Some(death) => ("dead", Some(death.reason), Some(death.at)),
            None => (binding.status(), None, binding.confirmed_at),
        };
        let mut shown = json!({
            "sid": sid,
            "account_sid": call.app.account_sid,
            "credential_sid": binding.credential_sid,
            "date_created": binding.date_created.to_seconds(),
            "date_updated": binding.date_updated.to_seconds(),
            "endpoint": binding.endpoint.clone().unwrap_or_else(|| sid.to_string()),
            "identity": binding.identity,
            "binding_type": binding.channel,
            "status": status,
            "status_reason": reason,
            "status_date": since.map(Timestamp::to_seconds),
        });
        let base_url = &call.base_url;
        match self {
            Self::Service => {
                shown["chat_service_sid"] = json!(service);
                shown["message_types"] = json!(["new_message", "added_to_conversation", "removed_from_conversation"]);
                shown["url"] = json!(format!("{base_url}/v1/Services/{service}/Bindings/{sid}"));
            }
            Self::Chat | Self::ChatUser => {
                shown["service_sid"] = json!(service);
                shown["message_types"] =
                    json!(["new_message", "added_to_channel", "removed_from_channel", "invited_to_channel"]);
                let url = format!("{base_url}/v2/Services/{service}");
                match user {
                    Some(user) => {
                        shown["user_sid"] = json!(user.sid);
                        shown["url"] = json!(format!("{url}/Users/{}/Bindings/{sid}", user.sid));
                    }
                    None => {
                        shown["url"] = json!(format!("{url}/Bindings/{sid}"));
                        shown["links"] = json!({ "user": format!("{url}/Users/{}", encode(&binding.identity)) });
                    }
                }
            }
        }
        shown
    }
}

async fn list(view: View, call: Call) -> Result<Response, ApiError> {
    let (service, user) = view.scope(&call).await?;
    let types: Vec<&str> = call.query.all("BindingType").collect();
    let mut filters: String = types.iter().map(|word| format!("&BindingType={word}")).collect();
    let mut filter = BindingFilter::default();
    // Connections in the app are a type to the vendor, and no registrations here.
    for word in types.iter().filter(|word| **word != "twilsock") {
        filter.channels.push(channel(word)?);
    }
    if let Some(user) = &user {
        filter.identities.push(user.identity.clone());
    } else {
        filter.identities = identities(&call.query)?;
        filters.extend(filter.identities.iter().map(|identity| format!("&Identity={}", encode(identity))));
    }
    let page = Listing::<BindingSid>::of(&call, view.max_page_size())?.with_filters(filters);
    let slice = if filter.channels.is_empty() && !types.is_empty() {
        Page { items: vec![], more: false }
    } else {
        call.app.store.bindings(service.sid, &filter, page.request).await?
    };
    let items = slice.items.iter().map(|binding| view.show(&call, user.as_ref(), binding)).collect();
    Ok(page.show(&call, &call.path, "bindings", &slice, |binding| binding.sid, items))
}

async fn fetch(view: View, call: Call) -> Result<Response, ApiError> {
    let (service, user) = view.scope(&call).await?;
    let binding = find(&call, &service, user.as_ref()).await?;
    Ok(Json(view.show(&call, user.as_ref(), &binding)).into_response())
}

async fn delete(view: View, call: Call) -> Result<Response, ApiError> {
    let (service, user) = view.scope(&call).await?;
    let sid = find(&call, &service, user.as_ref()).await?.sid;
    let (app, action) = (&call.app, BindingCommand::Unregister(sid));
    let bound = app.store.apply(service.sid, Device::of_binding(sid), &action, None, (app.clock)()).await?;
    // Somebody else may have removed it, or have the device by now.
    if bound.before.is_some_and(|binding| binding.sid == sid) {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(call.not_found())
    }
}

/// The binding that the path names, if it is this user's.
async fn find(call: &Call, service: &Service, user: Option<&User>) -> Result<Binding, ApiError> {
    let binding = call.app.store.binding(service.sid, call.sid("binding")?).await?;
    let binding = binding.filter(|binding| user.is_none_or(|user| user.identity == binding.identity));
    binding.ok_or_else(|| call.not_found())
}

/// Registers a device, as Notify does: again and again, if the app likes.
async fn create(call: Call) -> Result<Response, ApiError> {
    let service = call.service().await?;
    let form = call.form()?;
    let identity: Identity = form.required("Identity")?.parse()?;
    let channel = channel(form.required("BindingType")?)?;
    let address = Address::new(channel, form.required("Address")?);
    let address = address.map_err(|error| ApiError::unfit("Address", error))?;
    let endpoint = form.text("Endpoint", MAX_ENDPOINT, 20001)?.filter(|endpoint| !endpoint.is_empty());
    let credential = credential(&call.app, &form, channel).await?;
    let endpoint = endpoint.map(str::to_owned);
    match register(&call.app, &service, identity, channel, address, credential, endpoint).await? {
        Some(binding) => Ok((StatusCode::CREATED, Json(View::Service.show(&call, None, &binding))).into_response()),
        None => Err(call.not_found()),
    }
}

/// Registers a device for a user, and has its provider asked whether the registration is good unless it has lately said
/// so. Returns the binding; `None` if the service is gone.
pub(crate) async fn register(
    app: &App,
    service: &Service,
    identity: Identity,
    channel: Channel,
    address: Address,
    credential_sid: Option<CredentialSid>,
    endpoint: Option<String>,
) -> Result<Option<Binding>, ApiError> {
    let now = (app.clock)();
    let device = Device::new(service.sid, channel, &address);
    let key = UserKey { service: service.sid, identity: identity.clone() };
    let user = User::new(ids::sid(), key, Some(service.default_roles.service_user), now);
    let binding = Binding {
        sid: device.binding_sid(&identity),
        service_sid: service.sid,
        identity,
        channel,
        address,
        credential_sid,
        endpoint,
        date_created: now,
        date_updated: now,
        registered_at: now,
        confirmed_at: None,
        death: None,
        version: 0,
    };
    let action = BindingCommand::Register { binding, generation: service.configuration.generation };
    let bound = match app.store.apply(service.sid, device, &action, Some(&user), now).await {
        Err(StoreError::Missing) => return Ok(None),
        bound => bound?,
    };
    if let Some(binding) = &bound.after
        && Registration::of(binding).wants_check(now)
    {
        let probe = Probe { service: service.sid, binding: binding.sid, asked_at: now, attempts: 0, due_at: None };
        app.queue.send(&[PushMessage::Probe(probe)]).await?;
    }
    Ok(bound.after)
}

/// The credential that the form names. If it names none, the account's only one for the channel.
async fn credential(app: &App, form: &Params, channel: Channel) -> Result<Option<CredentialSid>, ApiError> {
    let name = "CredentialSid";
    if let Some(sid) = form.parsed(name, "CR followed by 32 hexadecimal digits")? {
        let credential = app.store.credential(sid).await?;
        let fits = credential.is_some_and(|credential| credential.channel.is(channel));
        let expected = format_args!("the sid of a credential of this account for {}", channel.as_str());
        return if fits { Ok(Some(sid)) } else { Err(ApiError::invalid(name, expected)) };
    }
    let mut found = None;
    let mut position = Cursor::Start;
    loop {
        let credentials = app.store.credentials(PageRequest { position, limit: 1_000 }).await?;
        for credential in credentials.items.iter().filter(|credential| credential.channel.is(channel)) {
            if found.replace(credential.sid).is_some() {
                return Err(ApiError::missing(name));
            }
        }
        match credentials.items.last() {
            Some(last) if credentials.more => position = Cursor::After(last.sid),
            _ => return Ok(found),
        }
    }
}

fn channel(word: &str) -> Result<Channel, ApiError> {
    word.parse().map_err(|_| ApiError::refused(50209, "Invalid binding type"))
}

/// The identities that are asked for, each once.
pub(crate) fn identities(params: &Params) -> Result<Vec<Identity>, ApiError> {
    let mut identities = vec![];
    for identity in params.all("Identity") {
        let identity: Identity = identity.parse()?;
        if !identities.contains(&identity) {
            identities.push(identity);
        }
        if identities.len() > MAX_IDENTITIES {
            return Err(ApiError::invalid("Identity", format_args!("at most {MAX_IDENTITIES} of them")));
        }
    }
    Ok(identities)
}

/// An identity, as a part of a URL.
fn encode(identity: &Identity) -> impl std::fmt::Display {
    utf8_percent_encode(identity.as_str(), NON_ALPHANUMERIC)
}
