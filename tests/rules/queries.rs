//! Filters, sorts and cursors, against a plain evaluation of the same JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use reachability_domain::query::Query;
use reachability_domain::query::cursor::Position;
use reachability_domain::query::fields::{FieldKind, Fields, Kind, Value};
use reachability_domain::query::filter::Filter;
use reachability_domain::query::page::{Found, Selection};
use reachability_domain::query::sort::Sort;
use reachability_domain::time::Timestamp;
use serde_json::{Value as Json, json};

/// A user as a JSON object. Times are texts, as in filters.
#[derive(Debug, Clone, PartialEq)]
struct Row(Json);

impl Fields for Row {
    fn field(&self, name: &str) -> Value<'_> {
        let value = &self.0[name];
        match (Kind::Users.field(name), value) {
            (FieldKind::Time, Json::String(text)) => Value::Time(text.parse().unwrap()),
            _ => value.into(),
        }
    }
}

fn time(second: i64) -> Json {
    Timestamp::from_millis(1_795_132_800_000 + 1_000 * second).to_string().into()
}

fn text() -> impl Strategy<Value = Json> {
    prop_oneof![Just("a"), Just("ab"), Just("b a"), Just("A-b"), Just(""), Just("ä")].prop_map(Json::from)
}

/// A value of any kind, or none: few, so that they are often equal.
fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        2 => Just(Json::Null),
        2 => any::<bool>().prop_map(Json::from),
        2 => (-2..3i64).prop_map(Json::from),
        1 => prop_oneof![Just(0.5), Just(-0.0), Just(1e300)].prop_map(Json::from),
        4 => text(),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let time = proptest::option::of(0..4i64).prop_map(|second| second.map_or(Json::Null, time));
    let custom = prop_oneof![5 => value(), 1 => Just(json!(["a"]))];
    let row = (text(), proptest::option::of(any::<bool>()), time, custom.clone(), custom);
    vec(row, 0..30).prop_map(|rows| {
        let row = |(n, (name, online, last_active, x, y))| {
            Row(json!({"id": format!("u{n}"), "name": name, "online": online, "last_active": last_active, "x": x, "y": y}))
        };
        rows.into_iter().enumerate().map(row).collect()
    })
}

const COMPARISONS: [&str; 7] = ["", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte"];

fn condition() -> impl Strategy<Value = Json> {
    let field =
        prop_oneof![Just("id"), Just("name"), Just("online"), Just("last_active"), Just("x"), Just("y"), Just("z")];
    let operand = |field: &'static str| match field {
        "last_active" => prop_oneof![(0..4i64).prop_map(time), Just(Json::Null)].boxed(),
        "id" => (0..30).prop_map(|n| json!(format!("u{n}"))).boxed(),
        _ => value().boxed(),
    };
    field.prop_flat_map(move |field| {
        let compare = (prop::sample::select(COMPARISONS.as_slice()), operand(field)).prop_map(move |(operator, operand)| {
            if operator.is_empty() { json!({field: operand}) } else { json!({field: {operator: operand}}) }
        });
        let is_in = vec(operand(field), 0..4).prop_map(move |operands| json!({field: {"$in": operands}}));
        let exists = any::<bool>().prop_map(move |wanted| json!({field: {"$exists": wanted}}));
        let complete = text().prop_map(move |text| json!({field: {"$autocomplete": text}}));
        let completes = !["online", "last_active"].contains(&field);
        prop_oneof![6 => compare, 2 => is_in, 1 => exists.clone(), 2 => if completes { complete.boxed() } else { exists.boxed() }]
    })
}

fn filter() -> impl Strategy<Value = Json> {
    let all = |conditions: Vec<Json>| {
        let objects = conditions.into_iter().filter_map(|condition| condition.as_object().cloned());
        Json::Object(objects.flatten().collect())
    };
    let leaf = vec(condition(), 0..3).prop_map(all);
    leaf.prop_recursive(3, 16, 3, |inner| {
        let operator = prop_oneof![Just("$and"), Just("$or"), Just("$nor")];
        (operator, vec(inner, 1..4), condition(), any::<bool>()).prop_map(|(operator, filters, condition, more)| {
            let mut object = json!({operator: filters});
            if more {
                object.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
            }
            object
        })
    })
}

fn sort() -> impl Strategy<Value = Json> {
    let field =
        prop_oneof![Just("id"), Just("name"), Just("online"), Just("last_active"), Just("x"), Just("y"), Just("z")];
    vec((field, prop_oneof![Just(1), Just(-1)]), 0..=3)
        .prop_map(|fields| fields.into_iter().map(|(field, direction)| json!({field: direction})).collect())
}

/// The same filter, evaluated on JSON as its description says.
fn naive(filter: &Json, row: &Json) -> bool {
    filter.as_object().unwrap().iter().all(|(name, value)| {
        let mut filters = value.as_array().into_iter().flatten();
        match name.as_str() {
            "$and" => filters.all(|filter| naive(filter, row)),
            "$or" => filters.any(|filter| naive(filter, row)),
            "$nor" => !filters.any(|filter| naive(filter, row)),
            field => match value {
                Json::Object(tests) => {
                    tests.iter().all(|(operator, operand)| naive_test(operator, &row[field], operand))
                }
                operand => naive_test("$eq", &row[field], operand),
            },
        }
    })
}

fn naive_test(operator: &str, value: &Json, operand: &Json) -> bool {
    let order = naive_order(value, operand);
    match operator {
        "$eq" => order == Some(Ordering::Equal) || (value.is_null() && operand.is_null()),
        "$ne" => !naive_test("$eq", value, operand),
        "$in" => operand.as_array().unwrap().iter().any(|operand| naive_test("$eq", value, operand)),
        "$gt" => order == Some(Ordering::Greater),
        "$gte" => order.is_some_and(Ordering::is_ge),
        "$lt" => order == Some(Ordering::Less),
        "$lte" => order.is_some_and(Ordering::is_le),
        "$exists" => value.is_null() != operand.as_bool().unwrap(),
        "$autocomplete" => value.as_str().is_some_and(|text| {
            let (text, wanted) = (text.to_lowercase(), operand.as_str().unwrap().to_lowercase());
            let starts = |at: usize| {
                let before = text[..at].chars().next_back();
                at == 0 || (!before.unwrap().is_alphanumeric() && text[at..].starts_with(char::is_alphanumeric))
            };
            text.match_indices(&wanted).any(|(at, _)| starts(at))
        }),
        _ => unreachable!(),
    }
}

/// All times of a test have the same form, so their texts have their order.
fn naive_order(one: &Json, other: &Json) -> Option<Ordering> {
    match (one, other) {
        (Json::Bool(one), Json::Bool(other)) => Some(one.cmp(other)),
        (Json::Number(one), Json::Number(other)) => one.as_f64().partial_cmp(&other.as_f64()),
        (Json::String(one), Json::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// By kind first, and what has no order last.
fn naive_rank(value: &Json) -> u8 {
    match value {
        Json::Bool(_) => 0,
        Json::Number(_) => 1,
        Json::String(_) => 2,
        _ => 3,
    }
}

fn naive_sort(sort: &Json, one: &Json, other: &Json) -> Ordering {
    let by = |by: &Json| {
        let (field, direction) = by.as_object().unwrap().iter().next().unwrap();
        let (one, other) = (&one[field], &other[field]);
        let (one_rank, other_rank) = (naive_rank(one), naive_rank(other));
        if one_rank == 3 || other_rank == 3 {
            return (one_rank == 3).cmp(&(other_rank == 3));
        }
        let order = one_rank.cmp(&other_rank).then_with(|| naive_order(one, other).unwrap());
        if *direction == json!(1) { order } else { order.reverse() }
    };
    let unequal = sort.as_array().unwrap().iter().map(by).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| one["id"].as_str().cmp(&other["id"].as_str()))
}

fn query(filter: &Json, sort: &Json, limit: usize, cursor: Option<&str>) -> Query {
    let filter = Filter::parse(filter, Kind::Users).unwrap();
    let sort = Sort::parse(sort, Kind::Users).unwrap();
    let after = cursor.map(|cursor| Position::parse(cursor, &sort).unwrap());
    Query { filter, sort, limit, after }
}

fn page(query: &Query, rows: &[Row]) -> Found<Row> {
    let mut selection = Selection::of(query);
    rows.iter().for_each(|row| selection.offer(row.clone()));
    selection.page()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_filter_matches_what_its_description_says((filter, rows) in (filter(), rows())) {
        let parsed = Filter::parse(&filter, Kind::Users).unwrap();
        for Row(row) in &rows {
            prop_assert_eq!(parsed.matches(&Row(row.clone())), naive(&filter, row), "{} {}", filter, row);
        }
        // What an index would read has all that matches.
        let wanted = rows.iter().filter(|row| parsed.matches(*row));
        for Row(row) in wanted {
            if let Some(ids) = parsed.texts("id") {
                prop_assert!(ids.contains(&row["id"].as_str().unwrap()), "{} {}", filter, row);
            }
            prop_assert!(!parsed.requires("online") || row["online"] == json!(true), "{} {}", filter, row);
        }
    }

    #[test]
    fn pages_have_every_row_once((filter, sort, rows) in (filter(), sort(), rows().prop_shuffle()), limit in 1..8usize) {
        let mut expected: Vec<Row> = rows.iter().filter(|Row(row)| naive(&filter, row)).cloned().collect();
        expected.sort_by(|Row(one), Row(other)| naive_sort(&sort, one, other));
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = page(&query(&filter, &sort, limit, cursor.as_deref()), &rows);
            prop_assert!(page.rows.len() <= limit);
            prop_assert!(page.cursor.is_none() || page.rows.len() == limit);
            found.extend(page.rows);
            cursor = page.cursor;
            if cursor.is_none() { break }
        }
        prop_assert_eq!(found, expected, "{} by {}", filter, sort);
    }

    /// Rows that come and go between two pages change nothing for the others.
    #[test]
    fn pages_have_every_row_that_stays_once((sort, rows) in (sort(), rows()), kept in vec(any::<bool>(), 30), limit in 1..4usize) {
        let staying: Vec<Row> = rows.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(row, _)| row.clone()).collect();
        let (mut found, mut cursor, mut all) = (Vec::new(), None::<String>, true);
        loop {
            let page = page(&query(&json!({}), &sort, limit, cursor.as_deref()), if all { &rows } else { &staying });
            found.extend(page.rows);
            (cursor, all) = (page.cursor, !all);
            if cursor.is_none() { break }
        }
        found.retain(|row| staying.contains(row));
        let mut expected = staying;
        expected.sort_by(|Row(one), Row(other)| naive_sort(&sort, one, other));
        prop_assert_eq!(found, expected, "by {}", sort);
    }

    /// Whatever a client sends is read or refused, with an answer of a few bytes.
    #[test]
    fn nothing_that_is_sent_is_too_much(sent in anything(), rows in rows()) {
        for kind in [Kind::Users, Kind::Channels] {
            match Filter::parse(&sent, kind) {
                Ok(filter) => rows.iter().for_each(|row| {
                    let _ = filter.matches(row);
                }),
                Err(error) => prop_assert!(error.to_string().len() < 500),
            }
            match Sort::parse(&sent, kind) {
                Ok(sort) => {
                    for row in &rows {
                        let position = sort.position(row);
                        let cursor = position.cursor(&sort);
                        prop_assert_eq!(Position::parse(&cursor, &sort), Ok(position));
                    }
                    let _ = Position::parse(&sent.to_string(), &sort);
                }
                Err(error) => prop_assert!(error.to_string().len() < 2_000),
            }
        }
    }
}

/// Any JSON, with many names that mean something.
fn anything() -> impl Strategy<Value = Json> {
    let names = [
        "$and",
        "$or",
        "$nor",
        "$not",
        "$eq",
        "$ne",
        "$in",
        "$gt",
        "$gte",
        "$lt",
        "$lte",
        "$exists",
        "$autocomplete",
        "$",
        "",
        "id",
        "cid",
        "type",
        "name",
        "online",
        "members",
        "created_at",
        "x",
    ];
    let name = prop_oneof![4 => prop::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => ".*"];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        prop_oneof![Just(1.0), Just(-1.0), any::<f64>()].prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        ".*".prop_map(Json::from),
        "[a-z]{1,3}".prop_map(|unit| Json::from(unit.repeat(1_000))),
        (0..4i64).prop_map(time),
    ];
    leaf.prop_recursive(8, 200, 60, move |inner| {
        let object =
            vec((name.clone(), inner.clone()), 0..6).prop_map(|fields| Json::Object(fields.into_iter().collect()));
        prop_oneof![vec(inner, 0..8).prop_map(Json::from), object.clone(), object]
    })
}
