//! The push registrations of a client's own user.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use reachability_domain::directory::service::ServiceRef;
use reachability_domain::ids::Ids;
use reachability_domain::push::device::Device;
use reachability_domain::push::message::PushMessage;
use reachability_domain::push::ports::{Bindings, Credentials};
use reachability_domain::queue::Queue;
use reachability_domain::sid::BindingSid;
use reachability_domain::time::Clock;
use serde::{Deserialize, Serialize};

use crate::app::{App, Port};
use crate::client::request::ClientRequest;
use crate::http::device::{address, channel};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::use_cases::devices::{
    RegisterDevice, RegisterError, RegisterPorts, UnregisterDevice, register_device, unregister_device,
};
use crate::use_cases::services::ServiceDirectory;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/registrations", post(register).delete(unregister_address))
        .route("/v1/registrations/{registration}", delete(unregister))
}

/// What the vendor's clients send, as far as it matters here. A registration has no types of messages.
#[derive(Deserialize)]
struct Registration {
    channel_type: String,
    data: RegistrationData,
}

#[derive(Deserialize)]
struct RegistrationData {
    registration_id: String,
}

#[derive(Serialize)]
struct Registered {
    id: BindingSid,
}

/// Registers a device, or renews its registration: the same device has the same id again.
async fn register(
    State(directory): State<ServiceDirectory>,
    Port(bindings): Port<dyn Bindings>,
    Port(credentials): Port<dyn Credentials>,
    Port(pushes): Port<dyn Queue<PushMessage>>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<Response, ApiError> {
    let Registration { channel_type, data } = request.json()?;
    let channel = channel(&channel_type)?;
    let address = address(channel, "registration_id", &data.registration_id)?;
    let user = &request.client.user;
    let service = directory.find(ServiceRef::Sid(user.service)).await?.ok_or_else(|| request.not_found())?;
    let ports = RegisterPorts {
        directory: &directory,
        bindings: &*bindings,
        credentials: &*credentials,
        pushes: &*pushes,
        ids: &*ids,
        clock,
    };
    let command = RegisterDevice {
        service,
        identity: user.identity.clone(),
        channel,
        address,
        credential_sid: request.client.push_credential,
        endpoint: None,
        tags: vec![],
    };
    // The credential is the token's, which names it like this.
    let credential = |why: &str| ApiError::unfit("push_credential_sid", why);
    match register_device(ports, command).await {
        Ok(binding) => Ok((StatusCode::CREATED, Json(Registered { id: binding.sid })).into_response()),
        Err(RegisterError::UnknownCredential(_)) => {
            Err(credential("the account has no such credential for this channel"))
        }
        Err(RegisterError::SeveralCredentials) => {
            Err(credential("the account has several credentials for this channel, and the token names none"))
        }
        Err(RegisterError::NoService) => Err(request.not_found()),
        Err(RegisterError::Failure(failure)) => Err(failure.into()),
    }
}

/// Unregisters a device by the id of its registration.
async fn unregister(
    Port(bindings): Port<dyn Bindings>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<StatusCode, ApiError> {
    let binding = request.segment("registration")?.parse().map_err(|_| request.not_found())?;
    remove_own(&*bindings, clock, &request, binding).await
}

/// The device to unregister.
#[derive(Deserialize)]
struct ByAddress {
    binding_type: String,
    address: String,
}

/// Unregisters a device by its token.
async fn unregister_address(
    Port(bindings): Port<dyn Bindings>,
    State(clock): State<Clock>,
    request: ClientRequest,
) -> Result<StatusCode, ApiError> {
    let by: ByAddress = request.json()?;
    let channel = channel(&by.binding_type)?;
    let address = address(channel, "address", &by.address)?;
    let user = &request.client.user;
    let binding = Device::new(user.service, channel, &address).binding_sid(&user.identity);
    remove_own(&*bindings, clock, &request, binding).await
}

/// Unregisters a device if it is one of the client's user. Whether it was is not told: a client that did not hear the answer
/// asks again, and another user's registration is none of its business.
async fn remove_own(
    bindings: &dyn Bindings,
    clock: Clock,
    request: &ClientRequest,
    sid: BindingSid,
) -> Result<StatusCode, ApiError> {
    let user = &request.client.user;
    let binding = bindings.binding(user.service, sid).await?;
    if binding.is_some_and(|binding| binding.identity == user.identity) {
        unregister_device(bindings, clock, UnregisterDevice { service: user.service, binding: sid }).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
