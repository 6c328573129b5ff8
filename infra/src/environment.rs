//! A function's environment, which is where its settings are.

use std::env;
use std::str::FromStr;

/// A setting that a function cannot do without is not there, or not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// It is not there, or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// It is not what it should be.
    #[error("{0} is not what it should be")]
    Invalid(&'static str),
}

/// A setting; `None` if it is not there, or empty.
pub fn optional(name: &'static str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A setting.
///
/// # Errors
/// If it is not there, or empty.
pub fn text(name: &'static str) -> Result<String, EnvironmentError> {
    optional(name).ok_or(EnvironmentError::Missing(name))
}

/// A setting that is a number, a sid or the like.
///
/// # Errors
/// If it is not there, or is none.
pub fn parsed<T: FromStr>(name: &'static str) -> Result<T, EnvironmentError> {
    text(name)?.parse().map_err(|_| EnvironmentError::Invalid(name))
}
