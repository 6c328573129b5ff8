//! What paths name: a service, and a user of it.

use reachability_domain::directory::ports::Users;
use reachability_domain::directory::user::User;
use reachability_domain::sid::ServiceSid;

use crate::http::error::ApiError;
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

/// The user of this service whom the path names.
pub(super) async fn find_user(users: &dyn Users, service: ServiceSid, request: &ApiRequest) -> Result<User, ApiError> {
    users.user(service, &request.user()?).await?.ok_or_else(|| request.not_found())
}
