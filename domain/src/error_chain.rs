//! Formats an error and its causes on one line.
//!
//! An error's own text does not repeat its cause, so logs and responses must print the whole chain.

use std::error::Error;
use std::fmt;

/// Displays an error and its causes, separated by colons.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
