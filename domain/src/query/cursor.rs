//! Cursors: where the next page begins.
//!
//! A cursor names the last row of a page by what the sort compares. So it stays valid if that row changes or is deleted, and
//! of rows that do not change each is on one page.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::query::fields::Value;
use crate::query::sort::{MAX_SORTED_TEXT, Sort};
use crate::time::Timestamp;

/// How many bytes a cursor may have.
pub const MAX_CURSOR: usize = 16_384;

/// The text is not a cursor, or not one of this sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of an earlier page with the same sort")]
pub struct InvalidCursor;

/// Where a row is in a sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// One for each field of the sort.
    pub(super) values: Vec<Place>,
    /// The row's key.
    pub(super) key: String,
}

/// Where a row is in the order of one field. The order of the variants is that of the kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Place {
    #[serde(rename = "b")]
    Bool(bool),
    /// The number, in a form that has the same order.
    #[serde(rename = "n")]
    Number(i64),
    /// The beginning of the text.
    #[serde(rename = "t")]
    Text(String),
    #[serde(rename = "m")]
    Time(Timestamp),
    /// There is no value, or none that has an order. It is last in either direction.
    #[serde(rename = "z")]
    Last,
}

impl Place {
    pub(super) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Absent | Value::Other => Self::Last,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(ordered(*number)),
            Value::Text(text) => Self::Text(text[..text.floor_char_boundary(MAX_SORTED_TEXT)].to_owned()),
            Value::Time(time) => Self::Time(*time),
        }
    }
}

/// The bits of a number, changed so that they have its order. Zero and minus zero are the same.
fn ordered(number: f64) -> i64 {
    let bits = (number + 0.0).to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// What a cursor is made of.
#[derive(Serialize, Deserialize)]
struct Contents {
    /// A hash of the sort.
    s: u32,
    v: Vec<Place>,
    k: String,
}

impl Position {
    /// That of the row with this key, in the order of keys.
    pub fn of_key(key: &str) -> Self {
        Self { values: Vec::new(), key: key.to_owned() }
    }

    /// The row's key: that after which the next page begins if the rows are sorted by it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The cursor of the rows after this position.
    pub fn cursor(&self, sort: &Sort) -> String {
        let contents = Contents { s: hash(sort), v: self.values.clone(), k: self.key.clone() };
        // Serializing numbers and texts cannot fail.
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&contents).unwrap_or_default())
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// If it is none, or one of another sort.
    pub fn parse(cursor: &str, sort: &Sort) -> Result<Self, InvalidCursor> {
        if cursor.len() > MAX_CURSOR {
            return Err(InvalidCursor);
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
        let Contents { s, v: values, k: key } = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
        if s == hash(sort) && values.len() == sort.fields() { Ok(Self { values, key }) } else { Err(InvalidCursor) }
    }
}

fn hash(sort: &Sort) -> u32 {
    let [.., a, b, c, d] = digest::hash(&[sort.signature().as_bytes()]).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::fields::Kind;

    #[test]
    fn numbers_keep_their_order() {
        let numbers =
            [f64::MIN, -1e300, -2.5, -1.0, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 0.1, 1.0, 3.0, f64::MAX];
        assert!(numbers.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn cursors_belong_to_their_sort() {
        let sort = |sort| Sort::parse(&sort, Kind::Users).unwrap();
        let by_name = sort(json!({"name": 1}));
        for place in [
            Place::Last,
            Place::Bool(true),
            Place::Number(i64::MIN),
            Place::Text("Zoë \u{0} \"x\"".to_owned()),
            Place::Time(Timestamp::MAX),
        ] {
            let position = Position { values: vec![place], key: "jack".to_owned() };
            let cursor = position.cursor(&by_name);
            assert_eq!(Position::parse(&cursor, &by_name), Ok(position));
            for other in [json!({"name": -1}), json!({"nam": 1}), json!([{"name": 1}, {"id": 1}]), json!(null)] {
                assert_eq!(Position::parse(&cursor, &sort(other)), Err(InvalidCursor));
            }
            assert_eq!(Position::parse(&cursor[1..], &by_name), Err(InvalidCursor));
        }
        for text in ["", "e30", "bm90IGpzb24", "ü", &"A".repeat(MAX_CURSOR + 1)] {
            assert_eq!(Position::parse(text, &by_name), Err(InvalidCursor), "{text:.20}");
        }
    }

    #[test]
    fn a_long_cursor_is_read_again() {
        let sort = Sort::parse(&json!([{"a": 1}, {"b": 1}, {"c": 1}]), Kind::Users).unwrap();
        let place = Place::of(&Value::Text("\u{1}".repeat(4_096).into()));
        let position = Position { values: vec![place; 3], key: "\u{1}".repeat(256) };
        let cursor = position.cursor(&sort);
        assert_eq!(Position::parse(&cursor, &sort), Ok(position), "{} bytes", cursor.len());
    }
}
