//! The parameters of a form or of a query.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use reachability_domain::identity::is_longer_than;

use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;

/// How many parameters a form or a query may have. Each takes much more memory decoded than encoded. A notification to 1,000
/// users has some besides.
const MAX_PARAMS: usize = 1_100;

/// Names and values, in the order of the request. Names are case-sensitive, and unknown names are ignored.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `application/x-www-form-urlencoded`. Refuses text that is not UTF-8.
    pub(crate) fn parse(encoded: &str) -> Result<Self, ApiError> {
        let decode = |text: &str| {
            percent_decode_str(&text.replace('+', " "))
                .decode_utf8()
                .map(String::from)
                .map_err(|_| ApiError::unreadable("a parameter is not UTF-8"))
        };
        let pairs = || encoded.split('&').filter(|pair| !pair.is_empty());
        if pairs().nth(MAX_PARAMS).is_some() {
            return Err(ApiError::too_large(MAX_PARAMS, "parameters"));
        }
        pairs()
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter that must be present and not empty.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| ApiError::missing(name))
    }

    /// Refuses parameters that the vendor's API has and this one does not, unless they are empty.
    pub(crate) fn refuse(&self, not_built: &[&str]) -> Result<(), ApiError> {
        let is_given = |name: &&&str| self.all(name).any(|value| !value.is_empty());
        not_built.iter().find(is_given).map_or(Ok(()), |name| Err(ApiError::not_built(name)))
    }

    /// A parameter of type `T`. `expected` describes the valid values, for the error.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.get(name).map(|value| value.parse().map_err(|_| ApiError::invalid(name, expected))).transpose()
    }

    /// `true` or `false`, in either case.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(ApiError::invalid(name, "true or false")),
        }
    }

    /// A whole number in a range.
    pub(crate) fn number(&self, name: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, ApiError> {
        let expected = || ApiError::invalid(name, format!("a whole number from {} to {}", range.start(), range.end()));
        match self.get(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) if range.contains(&number) => Ok(Some(number)),
            Some(_) => Err(expected()),
        }
    }

    /// A text of at most `limit` characters.
    pub(crate) fn text(&self, name: &str, limit: usize, too_long: ErrorCode) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            Some(text) if is_longer_than(text, limit) => {
                Err(ApiError::refused(too_long, format!("{name} is longer than {limit} characters")))
            }
            text => Ok(text),
        }
    }

    /// Sets `target` to a text of at most `limit` characters. An empty text clears it.
    pub(crate) fn set_text(
        &self,
        target: &mut Option<String>,
        name: &str,
        limit: usize,
        too_long: ErrorCode,
    ) -> Result<(), ApiError> {
        if let Some(text) = self.text(name, limit, too_long)? {
            *target = (!text.is_empty()).then(|| text.to_owned());
        }
        Ok(())
    }
}

/// Sets `target` if the request gives a value.
pub(crate) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once() {
        let params = Params::parse("Identity=a+b%2Bc%252F%C3%BC&Filters=x&Filters=y&Empty=&Flag&=z").unwrap();
        assert_eq!(params.get("Identity"), Some("a b+c%2Fü"));
        assert_eq!(params.all("Filters").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.get("Empty"), Some(""));
        assert_eq!(params.get("Flag"), Some(""));
        assert_eq!(params.get("identity"), None);
        assert!(params.required("Empty").is_err());
    }

    #[test]
    fn refuses_text_that_is_not_utf_8() {
        assert!(Params::parse("Identity=%FF").is_err());
        assert!(Params::parse("%C3=1").is_err());
    }

    #[test]
    fn refuses_too_many() {
        assert!(Params::parse(&"a=b&&".repeat(MAX_PARAMS)).is_ok());
        assert!(Params::parse(&"a&".repeat(MAX_PARAMS + 1)).is_err());
    }

    #[test]
    fn accepts_booleans_in_either_case() {
        for (text, value) in [("true", Some(true)), ("True", Some(true)), ("FALSE", Some(false))] {
            assert_eq!(Params::parse(&format!("On={text}")).unwrap().boolean("On").unwrap(), value);
        }
        for text in ["", "1", "yes", "tru"] {
            assert!(Params::parse(&format!("On={text}")).unwrap().boolean("On").is_err(), "{text:?}");
        }
        assert_eq!(Params::default().boolean("On").unwrap(), None);
    }

    #[test]
    fn refuses_numbers_out_of_range() {
        let number = |text: &str| Params::parse(&format!("N={text}")).unwrap().number("N", 1..=3);
        assert_eq!(number("2").unwrap(), Some(2));
        for text in ["", "0", "4", "-1", "1.5", "99999999999"] {
            assert!(number(text).is_err(), "{text:?}");
        }
    }
}
