//! Reads filters.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::words::Beginning;
use super::{
    All, Clause, Condition, InvalidFilter, MAX_CONDITIONS, MAX_LEVELS, MAX_NAMED_MEMBERS, MAX_TEXT, MAX_VALUES,
    Operand, Test,
};
use crate::query::fields::{FieldKind, Kind, Value};

/// How many characters of a name errors repeat.
const SHOWN_CHARS: usize = 64;

/// Reads a filter of this kind.
pub(super) fn filter(filter: &Json, kind: Kind) -> Result<All, InvalidFilter> {
    let mut reader = Reader { kind, conditions: 0, named: BTreeSet::new() };
    reader.object(filter, MAX_LEVELS)
}

/// Reads one filter, and counts.
struct Reader {
    kind: Kind,
    conditions: usize,
    /// The identities in conditions on members.
    named: BTreeSet<String>,
}

impl Reader {
    /// `levels`: how many may be used from here on.
    fn object(&mut self, filter: &Json, levels: usize) -> Result<All, InvalidFilter> {
        let Json::Object(filter) = filter else { return Err(InvalidFilter::NotAnObject) };
        let levels = levels.checked_sub(1).ok_or(InvalidFilter::TooDeep)?;
        if filter.is_empty() {
            self.count()?;
        }
        let mut all = All::new();
        for (name, value) in filter {
            match name.as_str() {
                "$and" => all.push(Clause::And(self.list("$and", value, levels)?)),
                "$or" => all.push(Clause::Or(self.list("$or", value, levels)?)),
                "$nor" => all.push(Clause::Nor(self.list("$nor", value, levels)?)),
                operator if operator.starts_with('$') => return Err(unknown(operator)),
                field => self.field(field, value, &mut all)?,
            }
        }
        Ok(all)
    }

    fn list(&mut self, operator: &'static str, list: &Json, levels: usize) -> Result<Vec<All>, InvalidFilter> {
        match list {
            Json::Array(filters) if !filters.is_empty() => {
                filters.iter().map(|filter| self.object(filter, levels)).collect()
            }
            _ => Err(InvalidFilter::NotAList { operator }),
        }
    }

    fn count(&mut self) -> Result<(), InvalidFilter> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS { Err(InvalidFilter::TooManyConditions) } else { Ok(()) }
    }

    /// The conditions on a field: a value that it must equal, or an object with operators.
    fn field(&mut self, field: &str, value: &Json, all: &mut All) -> Result<(), InvalidFilter> {
        if field.len() > MAX_TEXT {
            return Err(InvalidFilter::TooLong { field: shown(field) });
        }
        let operators = match value {
            Json::Object(operators) if operators.is_empty() => {
                return Err(InvalidFilter::NoOperator { field: shown(field) });
            }
            Json::Object(operators) => operators,
            value => &Map::from_iter([("$eq".to_owned(), value.clone())]),
        };
        for (operator, operand) in operators {
            self.count()?;
            let test = Subject { field, kind: self.kind.field(field) }.test(operator, operand)?;
            if let Test::HasOneOf(members) | Test::HasNoneOf(members) = &test {
                self.named.extend(members.iter().cloned());
                if self.named.len() > MAX_NAMED_MEMBERS {
                    return Err(InvalidFilter::TooManyMembers);
                }
            }
            all.push(Clause::Condition(Condition { field: field.to_owned(), test }));
        }
        Ok(())
    }
}

/// The field of a condition.
#[derive(Clone, Copy)]
struct Subject<'a> {
    field: &'a str,
    kind: FieldKind,
}

impl Subject<'_> {
    fn test(self, operator: &str, operand: &Json) -> Result<Test, InvalidFilter> {
        Ok(match operator {
            "$eq" if self.is_members() => Test::HasOneOf(texts(vec![self.operand("$eq", operand)?])),
            "$eq" => Test::In(vec![self.operand("$eq", operand)?]),
            "$ne" if self.is_members() => Test::HasNoneOf(texts(vec![self.operand("$ne", operand)?])),
            "$ne" => Test::NotEqual(self.operand("$ne", operand)?),
            "$in" if self.is_members() => Test::HasOneOf(texts(self.operands(operand)?)),
            "$in" => Test::In(self.operands(operand)?),
            "$gt" => Test::Greater(self.ordered("$gt", operand)?),
            "$gte" => Test::GreaterOrEqual(self.ordered("$gte", operand)?),
            "$lt" => Test::Less(self.ordered("$lt", operand)?),
            "$lte" => Test::LessOrEqual(self.ordered("$lte", operand)?),
            "$exists" => match operand {
                Json::Bool(wanted) => Test::Exists(*wanted),
                _ => return Err(self.value("$exists", "true or false")),
            },
            "$autocomplete" => self.autocomplete(operand)?,
            operator => return Err(unknown(operator)),
        })
    }

    fn is_members(self) -> bool {
        self.kind == FieldKind::Members
    }

    fn operands(self, operands: &Json) -> Result<Vec<Operand>, InvalidFilter> {
        match operands {
            Json::Array(operands) if operands.len() > MAX_VALUES => {
                Err(InvalidFilter::TooManyValues { field: shown(self.field) })
            }
            Json::Array(operands) => operands.iter().map(|operand| self.operand("$in", operand)).collect(),
            _ => Err(self.value("$in", "a list")),
        }
    }

    /// A value for an operator that orders, which has no meaning for members.
    fn ordered(self, operator: &'static str, operand: &Json) -> Result<Operand, InvalidFilter> {
        if self.is_members() {
            return Err(self.not_for(operator));
        }
        self.operand(operator, operand)
    }

    fn operand(self, operator: &'static str, operand: &Json) -> Result<Operand, InvalidFilter> {
        Ok(match operand {
            Json::Null => Value::Absent,
            Json::Bool(operand) => Value::Bool(*operand),
            Json::Number(number) => {
                Value::Number(number.as_f64().ok_or_else(|| self.value(operator, "a finite number"))?)
            }
            Json::String(text) if self.kind == FieldKind::Time => {
                Value::Time(text.parse().map_err(|_| InvalidFilter::NotATime { field: shown(self.field) })?)
            }
            Json::String(text) => Value::Text(self.text(text)?.to_owned().into()),
            Json::Array(_) | Json::Object(_) => {
                return Err(self.value(operator, "a text, a number, true, false or null"));
            }
        })
    }

    fn autocomplete(self, operand: &Json) -> Result<Test, InvalidFilter> {
        match (self.kind, operand) {
            (FieldKind::Text | FieldKind::Custom, Json::String(text)) => {
                Ok(Test::Autocomplete(Beginning::of(self.text(text)?)))
            }
            (FieldKind::Text | FieldKind::Custom, _) => Err(self.value("$autocomplete", "a text")),
            _ => Err(self.not_for("$autocomplete")),
        }
    }

    fn text(self, text: &str) -> Result<&str, InvalidFilter> {
        if text.len() > MAX_TEXT { Err(InvalidFilter::TooLong { field: shown(self.field) }) } else { Ok(text) }
    }

    fn value(self, operator: &'static str, expected: &'static str) -> InvalidFilter {
        InvalidFilter::Value { operator, field: shown(self.field), expected }
    }

    fn not_for(self, operator: &'static str) -> InvalidFilter {
        InvalidFilter::NotForField { operator, field: shown(self.field) }
    }
}

fn unknown(operator: &str) -> InvalidFilter {
    InvalidFilter::UnknownOperator { operator: shown(operator) }
}

/// The texts among some values: nothing else is a member.
fn texts(operands: Vec<Operand>) -> Vec<String> {
    let text = |operand| if let Value::Text(text) = operand { Some(text.into_owned()) } else { None };
    operands.into_iter().filter_map(text).collect()
}

/// As much of a name as an error repeats.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS).collect()
}
