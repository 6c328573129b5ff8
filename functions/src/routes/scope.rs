//! The service and the user that a path names.

use reachability_domain::directory::ports::Users;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::User;
use reachability_domain::ids::Ids;
use reachability_domain::sid::ServiceSid;
use reachability_domain::time::Clock;

use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::request::ApiRequest;
use crate::use_cases::failure::Failure;
use crate::use_cases::services::{FoundService, ServiceDirectory};

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::Queue(error) => error.into(),
        }
    }
}

/// The service that the path names, or the account's default one.
pub(super) async fn find_service(directory: &ServiceDirectory, request: &ApiRequest) -> Result<FoundService, ApiError> {
    directory.find(request.service()?).await?.ok_or_else(|| request.not_found())
}

/// Changes the service that the path names. `change` is given the form in the body. Returns the changed service.
pub(super) async fn update_service(
    directory: &ServiceDirectory,
    ids: &dyn Ids,
    clock: Clock,
    request: &ApiRequest,
    change: impl Fn(&mut Service, &Params) -> Result<(), ApiError> + Send + Sync,
) -> Result<Service, ApiError> {
    let form = request.form()?;
    let found = find_service(directory, request).await?;
    let changed = directory.update(ids, clock, found, |service| change(service, &form)).await?;
    changed.ok_or_else(|| request.not_found())
}

/// The user of `service` that the path names.
pub(super) async fn find_user(users: &dyn Users, service: ServiceSid, request: &ApiRequest) -> Result<User, ApiError> {
    users.user(service, &request.user()?).await?.ok_or_else(|| request.not_found())
}
