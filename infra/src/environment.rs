//! A function's settings, read from environment variables.

use std::env;
use std::str::FromStr;

/// A required setting is missing or invalid.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The variable is missing or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// The variable cannot be parsed.
    #[error("{0} is invalid")]
    Invalid(&'static str),
}

/// An optional setting; `None` if the variable is missing or empty.
pub fn optional(name: &'static str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A required setting.
///
/// # Errors
/// If the variable is missing or empty.
pub fn text(name: &'static str) -> Result<String, EnvironmentError> {
    optional(name).ok_or(EnvironmentError::Missing(name))
}

/// A required setting that is parsed, such as a number or a sid.
///
/// # Errors
/// If the variable is missing, empty or invalid.
pub fn parsed<T: FromStr>(name: &'static str) -> Result<T, EnvironmentError> {
    text(name)?.parse().map_err(|_| EnvironmentError::Invalid(name))
}
