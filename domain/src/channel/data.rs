//! The app's own fields of a channel.

use serde_json::{Map, Value};

use crate::json_depth::{MAX_DEPTH, is_shallow};
use crate::query::fields::{FieldKind, Kind};

/// How many bytes the fields may have, as JSON.
pub const MAX_CUSTOM: usize = 4_096;

/// Names that queries and answers use for something else.
const RESERVED: [&str; 1] = ["custom"];

/// Why the app's own fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCustom {
    /// Not a JSON object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// More than [`MAX_CUSTOM`].
    #[error("the fields have more than {MAX_CUSTOM} bytes as JSON")]
    TooLong,
    /// More than [`MAX_DEPTH`].
    #[error("the fields have more than {MAX_DEPTH} levels")]
    TooDeep,
    /// The name of a field is reserved: it is one of the channel's own, or begins with `$`.
    #[error("the name {name} is reserved")]
    Reserved {
        /// The name.
        name: String,
    },
}

/// The app's own fields of a channel, if they are valid: a JSON object of at most [`MAX_CUSTOM`] bytes and [`MAX_DEPTH`] levels,
/// without the names of the channel's own fields.
///
/// # Errors
/// If they are not.
pub fn custom(fields: Value) -> Result<Map<String, Value>, InvalidCustom> {
    let Value::Object(fields) = fields else { return Err(InvalidCustom::NotAnObject) };
    let json = serde_json::to_string(&fields).unwrap_or_default();
    if json.len() > MAX_CUSTOM {
        return Err(InvalidCustom::TooLong);
    }
    if !is_shallow(&json) {
        return Err(InvalidCustom::TooDeep);
    }
    let is_reserved = |name: &&String| {
        name.starts_with('$') || RESERVED.contains(&name.as_str()) || Kind::Channels.field(name) != FieldKind::Custom
    };
    match fields.keys().find(is_reserved) {
        Some(name) => Err(InvalidCustom::Reserved { name: name.clone() }),
        None => Ok(fields),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_checked() {
        for valid in [json!({}), json!({"color": "green", "a": {"b": [1]}}), json!({"x": "y".repeat(MAX_CUSTOM - 8)})] {
            assert_eq!(custom(valid.clone()).map(Value::Object), Ok(valid));
        }
        assert_eq!(custom(json!({"x": "y".repeat(MAX_CUSTOM - 7)})), Err(InvalidCustom::TooLong));
        assert_eq!(custom(json!([])), Err(InvalidCustom::NotAnObject));
        let deep = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(custom(json!({ "x": deep })), Err(InvalidCustom::TooDeep));
        assert!(custom(json!({ "x": deep[0] })).is_ok());
        for name in [
            "type",
            "id",
            "cid",
            "members",
            "member_count",
            "custom",
            "created_by",
            "created_at",
            "updated_at",
            "last_message_at",
            "$x",
        ] {
            let error = InvalidCustom::Reserved { name: name.to_owned() };
            assert_eq!(custom(json!({"color": 1, name: 1})), Err(error));
        }
    }
}
