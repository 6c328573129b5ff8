//! Bindings: push registrations of a service and of a user. Conversations v1, Chat v2 and Notify v1 show the same
//! bindings. Only Notify creates them. It has the same paths as Conversations.

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::directory::ports::Users;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::push::tag::Tag;
use reachability_domain::queue::Queue;
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_domain::time::Clock;

use crate::app::{App, Port};
use crate::http::device::{address, channel};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::paging::Listing;
use crate::http::request::ApiRequest;
use crate::routes::binding_resource::{PROTOCOL_VERSION, View, encode};
use crate::routes::identities::identities;
use crate::routes::scope::{find_service, find_user};
use crate::routes::tags::{given_tags, tags};
use crate::use_cases::devices::{
    RegisterDevice, RegisterError, RegisterPorts, UnregisterDevice, register_device, unregister_device,
};
use crate::use_cases::services::ServiceDirectory;

/// How long an app's own name for a device may be, in characters. The limit is ours, not the vendor's.
const MAX_ENDPOINT: usize = 256;

/// The parameter that names a credential.
const CREDENTIAL: &str = "CredentialSid";

/// The parameters of Notify's list that are not built. Without an error, the list would have more than was asked for.
const NOT_BUILT: [&str; 2] = ["StartDate", "EndDate"];

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
        filters.extend(filter.identities.iter().map(|identity| format!("&Identity={}", encode(identity.as_str()))));
    }
    if view == View::Service {
        request.query.refuse(&NOT_BUILT)?;
        filter.tags = tags(&request.query, Tag::MAX_OF_FILTER)?;
        filters.extend(filter.tags.iter().map(|tag| format!("&Tag={}", encode(tag.as_str()))));
    }
    let listing = Listing::<BindingSid>::of(&request.query, view.max_page_size())?.with_filters(filters);
    let page = if filter.channels.is_empty() && !types.is_empty() {
        Page::EMPTY
    } else {
        bindings.bindings(service.sid, &filter, listing.request).await?
    };
    let now = clock();
    let items = page.items.iter().map(|binding| view.show(&request, user.as_ref(), binding, None, now)).collect();
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
    Ok(Json(view.show(&request, user.as_ref(), &binding, None, clock())).into_response())
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
    let given_address = form.required("Address")?;
    let address = address(channel, "Address", given_address)?;
    let endpoint = form.text("Endpoint", MAX_ENDPOINT, ErrorCode::InvalidParameter)?;
    let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty()).map(str::to_owned);
    let credential_sid = form.parsed(CREDENTIAL, "CR followed by 32 hexadecimal digits")?;
    if form.get("NotificationProtocolVersion").is_some_and(|version| !version.is_empty() && version != PROTOCOL_VERSION)
    {
        return Err(ApiError::invalid("NotificationProtocolVersion", PROTOCOL_VERSION));
    }
    let tags = given_tags(&form)?;
    let ports = RegisterPorts {
        directory: &directory,
        bindings: &*bindings,
        credentials: &*credentials,
        pushes: &*pushes,
        ids: &*ids,
        clock,
    };
    let command = RegisterDevice { service, identity, channel, address, credential_sid, endpoint, tags };
    match register_device(ports, command).await {
        Ok(binding) => {
            let shown = View::Service.show(&request, None, &binding, Some(given_address), clock());
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
