//! A body with several JSON values: an array, or one value per line.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::error::ApiError;

/// The values: the elements of an array, or the lines that are not empty. Reads no further than they are too many, since
/// each takes more memory here than in the body.
pub(crate) fn split<'a>(body: &'a [u8], at_most: usize, of: &str) -> Result<Vec<&'a [u8]>, ApiError> {
    let mut values = Vec::new();
    if body.trim_ascii_start().starts_with(b"[") {
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = json.deserialize_seq(Elements { values: &mut values, at_most }).and_then(|()| json.end());
        if let Err(error) = read
            && values.len() <= at_most
        {
            return Err(ApiError::unreadable(format_args!("malformed JSON: {error}")));
        }
    } else {
        let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        values.extend(lines.take(at_most + 1));
    }
    if values.len() > at_most { Err(ApiError::too_large(at_most, of)) } else { Ok(values) }
}

/// Reads the elements of an array, up to one more than are wanted.
struct Elements<'v, 'a> {
    values: &'v mut Vec<&'a [u8]>,
    at_most: usize,
}

impl<'a> Visitor<'a> for Elements<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            self.values.push(element.get().as_bytes());
            if self.values.len() > self.at_most {
                return Err(A::Error::custom("too many elements"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn refusal(body: &str) -> StatusCode {
        split(body.as_bytes(), 3, "values").unwrap_err().status
    }

    #[test]
    fn a_body_is_an_array_or_lines() {
        let values: [&[u8]; 3] = [b"1", b"{\"a\": [2, 3]}", b"\"x\""];
        for body in [" [1 ,{\"a\": [2, 3]}, \"x\"] \n", "1\n{\"a\": [2, 3]}\r\n\n \"x\""] {
            assert_eq!(split(body.as_bytes(), 3, "values").unwrap(), values, "{body}");
        }
        assert!(split(b" [ ] ", 3, "values").unwrap().is_empty());
        assert!(split(b"", 3, "values").unwrap().is_empty());
        // What a line holds is the caller's business.
        assert_eq!(split(b"{\n}", 3, "values").unwrap(), [b"{", b"}"]);
    }

    #[test]
    fn malformed_arrays_are_refused() {
        for body in ["[", "[1", "[1,", "[1,]", "[1}", "[1] 2", "[1,2,3] x", "[x]"] {
            assert_eq!(refusal(body), StatusCode::BAD_REQUEST, "{body}");
        }
    }

    #[test]
    fn no_more_is_read_than_there_may_be() {
        for body in ["[1,2,3,4]", "[1,2,3,4,x", "1\n2\n3\n4\n"] {
            assert_eq!(refusal(body), StatusCode::PAYLOAD_TOO_LARGE, "{body}");
        }
    }
}
