//! The account's auth tokens.

use crate::secret::Secret;

/// The account's auth tokens. Two are valid while the owner exchanges one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthTokens {
    /// The owner's password, and the key of the signatures of webhooks.
    pub primary: Secret,
    /// Another password of the owner, a new one or the one before; `None` unless one is exchanged.
    pub secondary: Option<Secret>,
}

impl AuthTokens {
    /// Reads them from a text: the primary one is on the first line, the secondary one, if any, on the next. Spaces around
    /// them, empty lines and all further lines are ignored. `None` if there is no token.
    pub fn parse(text: &Secret) -> Option<Self> {
        let mut lines = text.expose().lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new);
        Some(Self { primary: lines.next()?, secondary: lines.next() })
    }
}

impl From<Secret> for AuthTokens {
    fn from(primary: Secret) -> Self {
        Self { primary, secondary: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_token_or_two() {
        let parsed = |text: &str| {
            let tokens = AuthTokens::parse(&Secret::new(text))?;
            Some((tokens.primary.expose().to_owned(), tokens.secondary.map(|token| token.expose().to_owned())))
        };
        let some = |primary: &str, secondary: Option<&str>| Some((primary.to_owned(), secondary.map(str::to_owned)));
        for (text, expected) in [
            ("a", some("a", None)),
            ("a\n", some("a", None)),
            ("a b", some("a b", None)),
            ("a\nb", some("a", Some("b"))),
            ("a\r\n\r\n b \r\n", some("a", Some("b"))),
            ("a\nb\nc", some("a", Some("b"))),
            ("", None),
            (" \n", None),
        ] {
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }
}
