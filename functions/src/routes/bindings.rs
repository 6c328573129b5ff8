//! Bindings: push registrations of a service and of a user. Conversations v1 and Chat v2 show the same bindings.
//! Neither API creates bindings, so creating one is as in Notify v1.

use axum::Json;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::channel::Channel;
use reachability_domain::push::device::Address;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::push::reason::Reason;
use reachability_domain::queue::Queue;
use reachability_domain::sid::{AccountSid, BindingSid, CredentialSid, ServiceSid, UserSid};
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::paging::Listing;
use crate::http::request::ApiRequest;
use crate::routes::identities::identities;
use crate::routes::scope::{find_service, find_user};
use crate::use_cases::devices::{
    RegisterDevice, RegisterError, RegisterPorts, UnregisterDevice, register_device, unregister_device,
};
use crate::use_cases::services::ServiceDirectory;

/// How long an app's own name for a device may be, in characters. The limit is ours, not the vendor's.
const MAX_ENDPOINT: usize = 256;

/// The parameter that names a credential.
const CREDENTIAL: &str = "CredentialSid";

/// Which API shows the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Conversations: the bindings of a service.
    Service,
    /// Chat: the bindings of a service.
    Chat,
    /// Chat: the bindings of a user.
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
        let all = if view == View::Service { get(list).post(create) } else { get(list) };
        let one = get(fetch).delete(delete);
        let routes = Router::new().route(path, all).route(&format!("{path}/{{binding}}"), one);
        router.merge(routes.layer(Extension(view)))
    })
}

impl View {
    fn max_page_size(self) -> usize {
        match self {
            Self::Service => 100,
            Self::Chat | Self::ChatUser => 50,
        }
    }

    /// The service that the path names, and the user if the view shows the bindings of one user.
    async fn scope(
        self,
        directory: &ServiceDirectory,
        users: &dyn Users,
        request: &ApiRequest,
    ) -> Result<(Service, Option<User>), ApiError> {
        let service = find_service(directory, request).await?.service;
        let user = match self {
            Self::Service | Self::Chat => None,
            Self::ChatUser => Some(find_user(users, service.sid, request).await?),
        };
        Ok((service, user))
    }

    fn show<'a>(
        self,
        request: &ApiRequest,
        user: Option<&User>,
        binding: &'a Binding,
        now: Timestamp,
    ) -> BindingResource<'a> {
        let (service, sid) = (binding.service_sid, binding.sid);
        let (status, reason, since) = match binding.death_at(now) {
            Some(death) => ("dead", Some(death.reason), Some(death.at)),
            None => (binding.status(), None, binding.confirmed_at),
        };
        let base_url = &request.base_url;
        let view = match self {
            Self::Service => ViewMembers::Conversations {
                chat_service_sid: service,
                message_types: ["new_message", "added_to_conversation", "removed_from_conversation"],
                url: format!("{base_url}/v1/Services/{service}/Bindings/{sid}"),
            },
            Self::Chat | Self::ChatUser => {
                let service_url = format!("{base_url}/v2/Services/{service}");
                ViewMembers::Chat {
                    service_sid: service,
                    message_types: ["new_message", "added_to_channel", "removed_from_channel", "invited_to_channel"],
                    user_sid: user.map(|user| user.sid),
                    url: match user {
                        Some(user) => format!("{service_url}/Users/{}/Bindings/{sid}", user.sid),
                        None => format!("{service_url}/Bindings/{sid}"),
                    },
                    links: user
                        .is_none()
                        .then(|| ChatLinks { user: format!("{service_url}/Users/{}", encode(&binding.identity)) }),
                }
            }
        };
        BindingResource {
            sid,
            account_sid: request.account_sid,
            credential_sid: binding.credential_sid,
            date_created: binding.date_created.to_seconds(),
            date_updated: binding.date_updated.to_seconds(),
            endpoint: binding.endpoint.clone().unwrap_or_else(|| sid.to_string()),
            identity: &binding.identity,
            binding_type: binding.channel,
            status,
            status_reason: reason,
            status_date: since.map(Timestamp::to_seconds),
            view,
        }
    }
}

#[derive(Serialize)]
struct BindingResource<'a> {
    sid: BindingSid,
    account_sid: AccountSid,
    credential_sid: Option<CredentialSid>,
    date_created: String,
    date_updated: String,
    endpoint: String,
    identity: &'a Identity,
    binding_type: Channel,
    status: &'static str,
    status_reason: Option<Reason>,
    status_date: Option<String>,
    #[serde(flatten)]
    view: ViewMembers,
}

/// The members by which the views differ.
#[derive(Serialize)]
#[serde(untagged)]
enum ViewMembers {
    Conversations {
        chat_service_sid: ServiceSid,
        message_types: [&'static str; 3],
        url: String,
    },
    Chat {
        service_sid: ServiceSid,
        message_types: [&'static str; 4],
        /// Only a user's bindings have it.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_sid: Option<UserSid>,
        url: String,
        /// Only a service's bindings have them.
        #[serde(skip_serializing_if = "Option::is_none")]
        links: Option<ChatLinks>,
    },
}

#[derive(Serialize)]
struct ChatLinks {
    user: String,
}

async fn list(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(bindings): Port<dyn Bindings>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let (service, user) = view.scope(&directory, &*users, &request).await?;
    let types: Vec<&str> = request.query.all("BindingType").collect();
    let mut filters: String = types.iter().map(|word| format!("&BindingType={word}")).collect();
    let mut filter = BindingFilter::default();
    // For the vendor, a connection of the app is a binding of type `twilsock`. Here, no binding has this type.
    for word in types.iter().filter(|word| **word != "twilsock") {
        filter.channels.push(channel(word)?);
    }
    if let Some(user) = &user {
        filter.identities.push(user.identity.clone());
    } else {
        filter.identities = identities(&request.query)?;
        filters.extend(filter.identities.iter().map(|identity| format!("&Identity={}", encode(identity))));
    }
    let listing = Listing::<BindingSid>::of(&request.query, view.max_page_size())?.with_filters(filters);
    let page = if filter.channels.is_empty() && !types.is_empty() {
        Page { items: vec![], more: false }
    } else {
        bindings.bindings(service.sid, &filter, listing.request).await?
    };
    let now = clock();
    let items = page.items.iter().map(|binding| view.show(&request, user.as_ref(), binding, now)).collect();
    Ok(listing.show(&request.base_url, &request.path, "bindings", &page, |binding| binding.sid, items))
}

async fn fetch(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(bindings): Port<dyn Bindings>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let (service, user) = view.scope(&directory, &*users, &request).await?;
    let binding = find(&*bindings, &request, service.sid, user.as_ref()).await?;
    Ok(Json(view.show(&request, user.as_ref(), &binding, clock())).into_response())
}

async fn delete(
    Extension(view): Extension<View>,
    State(directory): State<ServiceDirectory>,
    Port(users): Port<dyn Users>,
    Port(bindings): Port<dyn Bindings>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<StatusCode, ApiError> {
    let (service, user) = view.scope(&directory, &*users, &request).await?;
    let binding = find(&*bindings, &request, service.sid, user.as_ref()).await?.sid;
    request.deleted(unregister_device(&*bindings, clock, UnregisterDevice { service: service.sid, binding }).await?)
}

/// The binding that the path names. If `user` is given, it must be one of this user's bindings.
async fn find(
    bindings: &dyn Bindings,
    request: &ApiRequest,
    service: ServiceSid,
    user: Option<&User>,
) -> Result<Binding, ApiError> {
    let binding = bindings.binding(service, request.binding()?).await?;
    let binding = binding.filter(|binding| user.is_none_or(|user| user.identity == binding.identity));
    binding.ok_or_else(|| request.not_found())
}

/// Registers a device, as Notify v1 does.
async fn create(
    State(directory): State<ServiceDirectory>,
    Port(bindings): Port<dyn Bindings>,
    Port(credentials): Port<dyn Credentials>,
    Port(pushes): Port<dyn Queue<PushMessage>>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let service = find_service(&directory, &request).await?;
    let form = request.form()?;
    let identity: Identity = form.required("Identity")?.parse()?;
    let channel = channel(form.required("BindingType")?)?;
    let address = Address::new(channel, form.required("Address")?);
    let address = address.map_err(|error| ApiError::unfit("Address", error))?;
    let endpoint = form.text("Endpoint", MAX_ENDPOINT, ErrorCode::InvalidParameter)?;
    let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty()).map(str::to_owned);
    let credential_sid = form.parsed(CREDENTIAL, "CR followed by 32 hexadecimal digits")?;
    let ports = RegisterPorts {
        directory: &directory,
        bindings: &*bindings,
        credentials: &*credentials,
        pushes: &*pushes,
        ids: &*ids,
        clock,
    };
    let command = RegisterDevice { service, identity, channel, address, credential_sid, endpoint };
    match register_device(ports, command).await {
        Ok(binding) => {
            let shown = View::Service.show(&request, None, &binding, clock());
            Ok((StatusCode::CREATED, Json(shown)).into_response())
        }
        Err(RegisterError::UnknownCredential(channel)) => {
            let expected = format_args!("the sid of a credential of this account for {}", channel.as_str());
            Err(ApiError::invalid(CREDENTIAL, expected))
        }
        Err(RegisterError::SeveralCredentials) => Err(ApiError::missing(CREDENTIAL)),
        Err(RegisterError::NoService) => Err(request.not_found()),
        Err(RegisterError::Failure(failure)) => Err(failure.into()),
    }
}

fn channel(word: &str) -> Result<Channel, ApiError> {
    word.parse().map_err(|_| ApiError::refused(ErrorCode::BindingType, "Invalid binding type"))
}

/// Encodes an identity for a URL.
fn encode(identity: &Identity) -> impl std::fmt::Display {
    utf8_percent_encode(identity.as_str(), NON_ALPHANUMERIC)
}
