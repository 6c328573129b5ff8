//! Filters: conditions on fields, as JSON objects.
//!
//! `{"online": true, "name": {"$autocomplete": "jo"}}`: all conditions of an object have to hold. `$and`, `$or` and `$nor`
//! combine objects.
//!
//! Values are compared only with values of the same kind: text, number, `true` or `false`, time. A comparison with any other
//! value does not hold. `$ne` holds exactly where `$eq` does not. A field that is `null` is the same as one that is not there.

mod parse;
mod words;

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::query::fields::{Fields, Kind, Value};
use crate::query::filter::words::Beginning;

/// How deep filters may be nested: an object in the list of `$and`, `$or` or `$nor` is one level deeper.
pub const MAX_LEVELS: usize = 5;

/// How many conditions a filter may have. An empty object counts as one.
pub const MAX_CONDITIONS: usize = 50;

/// How many values `$in` may have.
pub const MAX_VALUES: usize = 100;

/// How many different identities all conditions on `members` may name.
pub const MAX_NAMED_MEMBERS: usize = 100;

/// How many bytes a text in a filter, or the name of a field, may have.
pub const MAX_TEXT: usize = 1_024;

/// Why a JSON value is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Not an object.
    #[error("a filter must be an object")]
    NotAnObject,
    /// `$and`, `$or` or `$nor` is not a list of filters.
    #[error("{operator} takes a list of at least one filter")]
    NotAList {
        /// The operator.
        operator: &'static str,
    },
    /// There is no such operator.
    #[error("there is no operator {operator}")]
    UnknownOperator {
        /// Its name as given, cut off after some characters.
        operator: String,
    },
    /// A field is compared with an object that has no operator.
    #[error("the condition on {field} has no operator")]
    NoOperator {
        /// The field.
        field: String,
    },
    /// The field has no values that the operator could compare.
    #[error("{operator} does not apply to {field}")]
    NotForField {
        /// The operator.
        operator: &'static str,
        /// The field.
        field: String,
    },
    /// The operator cannot take this value.
    #[error("{operator} of {field} takes {expected}")]
    Value {
        /// The operator.
        operator: &'static str,
        /// The field.
        field: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The field is a time, and the text is none.
    #[error("{field} is a time: expected RFC 3339 with an offset, such as 2026-11-20T10:00:00.000Z")]
    NotATime {
        /// The field.
        field: String,
    },
    /// More than [`MAX_LEVELS`].
    #[error("the filter has more than {MAX_LEVELS} levels")]
    TooDeep,
    /// More than [`MAX_CONDITIONS`].
    #[error("the filter has more than {MAX_CONDITIONS} conditions")]
    TooManyConditions,
    /// More than [`MAX_VALUES`].
    #[error("$in of {field} has more than {MAX_VALUES} values")]
    TooManyValues {
        /// The field.
        field: String,
    },
    /// More than [`MAX_NAMED_MEMBERS`].
    #[error("the conditions on members name more than {MAX_NAMED_MEMBERS} identities")]
    TooManyMembers,
    /// Longer than [`MAX_TEXT`].
    #[error("a text of {field} has more than {MAX_TEXT} bytes")]
    TooLong {
        /// The field, cut off after some characters.
        field: String,
    },
}

/// Which rows are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    kind: Kind,
    all: All,
}

/// Conditions that must all hold.
type All = Vec<Clause>;

#[derive(Debug, Clone, PartialEq)]
enum Clause {
    Condition(Condition),
    And(Vec<All>),
    Or(Vec<All>),
    Nor(Vec<All>),
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    field: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// `$eq` with one value, `$in` with several.
    In(Vec<Operand>),
    /// `$eq` and `$in` of members: one of them is a member.
    HasOneOf(Vec<String>),
    /// `$ne` of members: none of them is a member.
    HasNoneOf(Vec<String>),
    NotEqual(Operand),
    Greater(Operand),
    GreaterOrEqual(Operand),
    Less(Operand),
    LessOrEqual(Operand),
    Exists(bool),
    Autocomplete(Beginning),
}

/// What a field is compared with.
type Operand = Value<'static>;

impl Filter {
    /// The filter that every row matches.
    pub fn everything(kind: Kind) -> Self {
        Self { kind, all: All::new() }
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// If it is not one, or is over a limit.
    pub fn parse(filter: &serde_json::Value, kind: Kind) -> Result<Self, InvalidFilter> {
        Ok(Self { kind, all: parse::filter(filter, kind)? })
    }

    /// About how many values a row is compared with; at least one.
    pub fn weight(&self) -> usize {
        weight(&self.all).max(1)
    }

    /// What it is a filter of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a row is wanted.
    pub fn matches(&self, row: &impl Fields) -> bool {
        all_match(&self.all, row)
    }

    /// If every row that matches has one of a few texts in this field, or one of them as a member: these texts, in order and
    /// without repetitions.
    pub fn texts(&self, field: &str) -> Option<Vec<&str>> {
        let mut texts = self.required(field).find_map(|test| match test {
            Test::HasOneOf(members) => Some(members.iter().map(String::as_str).collect()),
            Test::In(operands) => operands
                .iter()
                .map(|operand| match operand {
                    Value::Text(Cow::Owned(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<Option<Vec<&str>>>(),
            _ => None,
        })?;
        texts.sort_unstable();
        texts.dedup();
        Some(texts)
    }

    /// Whether every row that matches has `true` in this field.
    pub fn requires(&self, field: &str) -> bool {
        self.required(field).any(|test| *test == Test::In(vec![Value::Bool(true)]))
    }

    /// The identities that the conditions on `members` name, in order and without repetitions.
    pub fn named_members(&self) -> Vec<&str> {
        let mut named = Vec::new();
        name_members(&self.all, &mut named);
        named.sort_unstable();
        named.dedup();
        named
    }

    /// The conditions on this field that must hold in any case.
    fn required(&self, field: &str) -> impl Iterator<Item = &Test> {
        let mut required = Vec::new();
        require(&self.all, field, &mut required);
        required.into_iter()
    }
}

fn require<'a>(all: &'a [Clause], field: &str, required: &mut Vec<&'a Test>) {
    for clause in all {
        match clause {
            Clause::Condition(condition) if condition.field == field => required.push(&condition.test),
            Clause::And(filters) => filters.iter().for_each(|all| require(all, field, required)),
            Clause::Condition(_) | Clause::Or(_) | Clause::Nor(_) => {}
        }
    }
}

fn name_members<'a>(all: &'a [Clause], named: &mut Vec<&'a str>) {
    for clause in all {
        match clause {
            Clause::Condition(condition) => {
                if let Test::HasOneOf(members) | Test::HasNoneOf(members) = &condition.test {
                    named.extend(members.iter().map(String::as_str));
                }
            }
            Clause::And(filters) | Clause::Or(filters) | Clause::Nor(filters) => {
                filters.iter().for_each(|all| name_members(all, named));
            }
        }
    }
}

fn weight(all: &[Clause]) -> usize {
    let of = |clause: &Clause| match clause {
        Clause::Condition(condition) => match &condition.test {
            Test::In(operands) => operands.len(),
            Test::HasOneOf(members) | Test::HasNoneOf(members) => members.len(),
            // It looks for a word's beginning at many places.
            Test::Autocomplete(_) => 20,
            _ => 1,
        },
        Clause::And(filters) | Clause::Or(filters) | Clause::Nor(filters) => {
            filters.iter().map(|all| weight(all)).sum()
        }
    };
    all.iter().map(of).sum()
}

fn all_match(all: &[Clause], row: &impl Fields) -> bool {
    all.iter().all(|clause| match clause {
        Clause::Condition(condition) => condition.holds(row),
        Clause::And(filters) => filters.iter().all(|all| all_match(all, row)),
        Clause::Or(filters) => filters.iter().any(|all| all_match(all, row)),
        Clause::Nor(filters) => !filters.iter().any(|all| all_match(all, row)),
    })
}

impl Condition {
    fn holds(&self, row: &impl Fields) -> bool {
        let value = row.field(&self.field);
        let is = |operand: &Operand, wanted: fn(Ordering) -> bool| value.compare(operand).is_some_and(wanted);
        let equals = |operand: &Operand| match operand {
            Value::Absent => value == Value::Absent,
            operand => is(operand, Ordering::is_eq),
        };
        match &self.test {
            Test::In(operands) => operands.iter().any(equals),
            Test::NotEqual(operand) => !equals(operand),
            Test::HasOneOf(members) => members.iter().any(|member| row.has_member(member)),
            Test::HasNoneOf(members) => !members.iter().any(|member| row.has_member(member)),
            Test::Greater(operand) => is(operand, Ordering::is_gt),
            Test::GreaterOrEqual(operand) => is(operand, Ordering::is_ge),
            Test::Less(operand) => is(operand, Ordering::is_lt),
            Test::LessOrEqual(operand) => is(operand, Ordering::is_le),
            Test::Exists(wanted) => (value != Value::Absent) == *wanted,
            Test::Autocomplete(beginning) => matches!(&value, Value::Text(text) if beginning.is_in(text)),
        }
    }
}

#[cfg(test)]
mod tests;
