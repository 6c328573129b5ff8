//! Errors on one line.
//!
//! An error does not repeat its cause in its own text: whoever writes it down writes the chain.

use std::error::Error;
use std::fmt;

/// An error followed by what caused it, separated by colons.
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
