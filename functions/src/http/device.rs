//! The fields of a device that requests name.

use reachability_domain::push::channel::Channel;
use reachability_domain::push::device::Address;

use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;

/// A channel, by its word.
pub(crate) fn channel(word: &str) -> Result<Channel, ApiError> {
    word.parse().map_err(|_| ApiError::refused(ErrorCode::BindingType, "Invalid binding type"))
}

/// A device's token. The error names the parameter.
pub(crate) fn address(channel: Channel, parameter: &str, text: &str) -> Result<Address, ApiError> {
    Address::new(channel, text).map_err(|error| ApiError::unfit(parameter, error))
}
