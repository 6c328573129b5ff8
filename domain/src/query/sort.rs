//! Sorts: the order of rows.
//!
//! `[{"last_active": -1}, {"name": 1}]`: by the first field, the later ones among equals, and by the rows' key in the end, so
//! that no two rows are equal. Rows without a value come last in either direction. Values of different kinds are ordered by
//! kind, and texts by their first [`MAX_SORTED_TEXT`] bytes.

use std::cmp::Ordering;

use crate::query::cursor::{Place, Position};
use crate::query::fields::{FieldKind, Fields, Kind, Value};
use crate::query::filter::MAX_TEXT;

/// How many fields a sort may have.
pub const MAX_FIELDS: usize = 3;

/// How many bytes of a text count for its order. A cursor repeats them.
pub const MAX_SORTED_TEXT: usize = 256;

/// Why a JSON value is not a sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSort {
    /// Neither an object with one field, nor a list of such objects.
    #[error("a sort is an object with one field, such as {{\"name\": 1}}, or a list of them")]
    Form,
    /// The direction is neither 1 nor -1.
    #[error("the direction of {field} must be 1 or -1")]
    Direction {
        /// The field.
        field: String,
    },
    /// The field has no order.
    #[error("{field} has no order")]
    NoOrder {
        /// The field.
        field: String,
    },
    /// More than [`MAX_FIELDS`].
    #[error("a sort has at most {MAX_FIELDS} fields")]
    TooManyFields,
    /// The name of a field is longer than a filter's may be.
    #[error("the name of a field has more than {MAX_TEXT} bytes")]
    TooLong,
}

/// The order of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    kind: Kind,
    by: Vec<By>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct By {
    field: String,
    descends: bool,
}

impl Sort {
    /// By the rows' key.
    pub fn by_key(kind: Kind) -> Self {
        Self { kind, by: Vec::new() }
    }

    /// Reads a sort. `null`, and an empty list or object, is [`Sort::by_key`].
    ///
    /// # Errors
    /// If it is not one, or is over a limit.
    pub fn parse(sort: &serde_json::Value, kind: Kind) -> Result<Self, InvalidSort> {
        let objects = match sort {
            serde_json::Value::Null => &[],
            serde_json::Value::Array(objects) => objects.as_slice(),
            serde_json::Value::Object(object) if object.is_empty() => &[],
            object => std::slice::from_ref(object),
        };
        if objects.len() > MAX_FIELDS {
            return Err(InvalidSort::TooManyFields);
        }
        let by = objects.iter().map(|object| By::parse(object, kind)).collect::<Result<_, _>>()?;
        Ok(Self { kind, by })
    }

    /// Whether it is the order of the rows' keys, ascending.
    pub fn is_by_key(&self) -> bool {
        self.by.first().is_none_or(|by| by.field == self.kind.key() && !by.descends)
    }

    /// Where a row is.
    pub fn position(&self, row: &impl Fields) -> Position {
        let values = self.by.iter().map(|by| Place::of(&row.field(&by.field))).collect();
        let key = match row.field(self.kind.key()) {
            Value::Text(key) => key.into_owned(),
            _ => String::new(),
        };
        Position { values, key }
    }

    /// How two rows are ordered, by their positions in this sort.
    pub fn compare(&self, one: &Position, other: &Position) -> Ordering {
        let places = self.by.iter().zip(one.values.iter().zip(&other.values));
        let unequal = places.map(|(by, (one, other))| by.compare(one, other)).find(|order| order.is_ne());
        unequal.unwrap_or_else(|| one.key.cmp(&other.key))
    }

    /// The fields and their directions as a text, by which a cursor knows its sort.
    pub(super) fn signature(&self) -> String {
        let by = self.by.iter().map(|By { field, descends }| format!("{}{field}\n", if *descends { '-' } else { '+' }));
        by.collect()
    }

    /// How many fields it has.
    pub(super) fn fields(&self) -> usize {
        self.by.len()
    }
}

impl By {
    fn parse(object: &serde_json::Value, kind: Kind) -> Result<Self, InvalidSort> {
        let serde_json::Value::Object(object) = object else { return Err(InvalidSort::Form) };
        let mut fields = object.iter();
        let (Some((field, direction)), None) = (fields.next(), fields.next()) else { return Err(InvalidSort::Form) };
        if field.len() > MAX_TEXT {
            return Err(InvalidSort::TooLong);
        }
        if kind.field(field) == FieldKind::Members {
            return Err(InvalidSort::NoOrder { field: field.clone() });
        }
        let descends = match direction.as_f64() {
            Some(1.0) => false,
            Some(-1.0) => true,
            _ => return Err(InvalidSort::Direction { field: field.clone() }),
        };
        Ok(Self { field: field.clone(), descends })
    }

    fn compare(&self, one: &Place, other: &Place) -> Ordering {
        match (one, other) {
            (Place::Last, Place::Last) => Ordering::Equal,
            (Place::Last, _) => Ordering::Greater,
            (_, Place::Last) => Ordering::Less,
            (one, other) if self.descends => other.cmp(one),
            (one, other) => one.cmp(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sorts_are_read() {
        let by = |field: &str, descends| By { field: field.to_owned(), descends };
        for (sort, expected) in [
            (json!(null), Ok(vec![])),
            (json!({}), Ok(vec![])),
            (json!([]), Ok(vec![])),
            (json!({"name": 1}), Ok(vec![by("name", false)])),
            (
                json!([{"last_active": -1}, {"id": 1}, {"age": -1.0}]),
                Ok(vec![by("last_active", true), by("id", false), by("age", true)]),
            ),
            (json!([{"a": 1}, {"b": 1}, {"c": 1}, {"d": 1}]), Err(InvalidSort::TooManyFields)),
            (json!({"a": 1, "b": 1}), Err(InvalidSort::Form)),
            (json!("name"), Err(InvalidSort::Form)),
            (json!([["name", 1]]), Err(InvalidSort::Form)),
            (json!([{}]), Err(InvalidSort::Form)),
            (json!({"name": 2}), Err(InvalidSort::Direction { field: "name".to_owned() })),
            (json!({"name": "1"}), Err(InvalidSort::Direction { field: "name".to_owned() })),
            (json!({"x".repeat(MAX_TEXT + 1): 1}), Err(InvalidSort::TooLong)),
        ] {
            assert_eq!(Sort::parse(&sort, Kind::Users).map(|sort| sort.by), expected, "{sort}");
        }
        let members = json!({"members": 1});
        assert_eq!(
            Sort::parse(&members, Kind::Channels),
            Err(InvalidSort::NoOrder { field: "members".to_owned() }),
            "a set has no order"
        );
        assert!(Sort::parse(&members, Kind::Users).is_ok(), "of a user it is the app's own");
    }

    #[test]
    fn the_order_of_keys_is_known() {
        let is_by_key = |sort, kind| Sort::parse(&sort, kind).unwrap().is_by_key();
        assert!(is_by_key(json!(null), Kind::Users));
        assert!(is_by_key(json!([{"id": 1}, {"name": -1}]), Kind::Users));
        assert!(is_by_key(json!({"cid": 1}), Kind::Channels));
        assert!(!is_by_key(json!({"id": 1}), Kind::Channels), "two channels of different types may have the same id");
        assert!(!is_by_key(json!({"id": -1}), Kind::Users));
        assert!(!is_by_key(json!([{"name": 1}, {"id": 1}]), Kind::Users));
    }
}
