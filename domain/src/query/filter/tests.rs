use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::query::fields::FieldKind;

/// A channel that has every kind of field. The app's own fields are in `custom`.
struct Row {
    custom: BTreeMap<&'static str, Json>,
    is_new: bool,
}

impl Fields for Row {
    fn field(&self, name: &str) -> Value<'_> {
        match Kind::Channels.field(name) {
            FieldKind::Custom => self.custom.get(name).map_or(Value::Absent, Value::from),
            FieldKind::Members => Value::Other,
            FieldKind::Number => Value::Number(2.0),
            FieldKind::Time if self.is_new => Value::Absent,
            FieldKind::Time => Value::Time("2026-11-20T10:00:00Z".parse().unwrap()),
            FieldKind::Text | FieldKind::Bool => Value::text((!self.is_new).then_some("general")),
        }
    }

    fn has_member(&self, identity: &str) -> bool {
        ["john", "jack"].contains(&identity)
    }
}

fn row() -> Row {
    let custom = [
        ("text", json!("Green Tea")),
        ("number", json!(-1.5)),
        ("bool", json!(false)),
        ("null", json!(null)),
        ("list", json!(["a"])),
        ("object", json!({"a": 1})),
    ];
    Row { custom: custom.into(), is_new: false }
}

fn matches(filter: &Json, row: &Row) -> bool {
    Filter::parse(filter, Kind::Channels).unwrap_or_else(|error| panic!("{filter}: {error}")).matches(row)
}

/// A field, and which values of a list match `$eq`, `$gt` and `$lt` of it, by their numbers.
type Matching = (&'static str, &'static [usize], &'static [usize], &'static [usize]);

/// Each operator with each kind of field, with values of each kind: which of them match.
#[test]
fn every_operator_with_every_kind_of_field() {
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(-2),
        json!(-1.5),
        json!(2),
        json!(3),
        json!("Green Tea"),
        json!("general"),
        json!("john"),
        json!("2026-11-20T10:00:00.000Z"),
        json!("2026-11-20T11:00:01+01:00"),
    ];
    // The other operators follow from these.
    let rows: [Matching; 11] = [
        ("id", &[8], &[7, 10, 11], &[9]),
        ("text", &[7], &[10, 11], &[8, 9]),
        ("number", &[4], &[3], &[5, 6]),
        ("member_count", &[5], &[3, 4], &[6]),
        ("bool", &[2], &[], &[1]),
        ("null", &[0], &[], &[]),
        ("absent", &[0], &[], &[]),
        ("list", &[], &[], &[]),
        ("object", &[], &[], &[]),
        ("created_at", &[10], &[], &[11]),
        ("members", &[9], &[], &[]),
    ];
    for (field, equal, greater, less) in rows {
        let kind = Kind::Channels.field(field);
        for (n, value) in values.iter().enumerate() {
            let (is_time, is_text) = (n >= 10, value.is_string());
            if kind == FieldKind::Time && is_text && !is_time {
                let error = Filter::parse(&json!({field: value}), Kind::Channels);
                assert_eq!(error, Err(InvalidFilter::NotATime { field: field.to_owned() }));
                continue;
            }
            let case = |operator: &str| json!({field: {operator: value}});
            let (is, is_greater, is_less) = (equal.contains(&n), greater.contains(&n), less.contains(&n));
            assert_eq!(matches(&json!({field: value}), &row()), is, "{field}: {value}");
            assert_eq!(matches(&case("$eq"), &row()), is, "{}", case("$eq"));
            assert_eq!(matches(&case("$ne"), &row()), !is, "{}", case("$ne"));
            assert_eq!(matches(&json!({field: {"$in": [value]}}), &row()), is, "$in {field}: {value}");
            assert_eq!(matches(&json!({"$nor": [{field: value}]}), &row()), !is, "$nor {field}: {value}");
            let is_ordered_equal = is && !value.is_null();
            for (operator, expected) in [
                ("$gt", is_greater),
                ("$gte", is_greater || is_ordered_equal),
                ("$lt", is_less),
                ("$lte", is_less || is_ordered_equal),
            ] {
                if kind == FieldKind::Members {
                    let error = Filter::parse(&case(operator), Kind::Channels).unwrap_err();
                    assert_eq!(error.to_string(), format!("{operator} does not apply to members"));
                } else {
                    assert_eq!(matches(&case(operator), &row()), expected, "{}", case(operator));
                }
            }
        }
        let exists = !["null", "absent"].contains(&field);
        assert_eq!(matches(&json!({field: {"$exists": true}}), &row()), exists, "{field}");
        assert_eq!(matches(&json!({field: {"$exists": false}}), &row()), !exists, "{field}");
        let autocomplete = json!({field: {"$autocomplete": "TE"}});
        if matches!(kind, FieldKind::Text | FieldKind::Custom) {
            assert_eq!(matches(&autocomplete, &row()), field == "text", "{field}");
        } else {
            let error = Filter::parse(&autocomplete, Kind::Channels).unwrap_err();
            assert_eq!(error.to_string(), format!("$autocomplete does not apply to {field}"));
        }
    }
}

#[test]
fn conditions_are_combined() {
    for (filter, expected) in [
        (json!({}), true),
        (json!({"bool": false, "number": {"$gt": -2, "$lt": 0}}), true),
        (json!({"bool": false, "number": {"$gt": -2, "$lt": -1.5}}), false),
        (json!({"members": {"$in": ["nobody", "jack"], "$ne": "jill"}}), true),
        (json!({"members": {"$in": []}}), false),
        (json!({"$and": [{"members": "john"}, {"members": "jack"}]}), true),
        (json!({"$and": [{"members": "john"}, {"members": "jill"}]}), false),
        (json!({"$or": [{"members": "jill"}, {"bool": false}]}), true),
        (json!({"$or": [{"members": "jill"}, {"bool": true}]}), false),
        (json!({"$nor": [{"members": "jill"}, {"bool": true}]}), true),
        (json!({"$nor": [{"members": "jill"}, {"bool": false}]}), false),
        (json!({"$nor": [{}]}), false),
        (json!({"$or": [{"x": 1}, {"$and": [{"bool": false}, {"$nor": [{"text": "x"}]}]}]}), true),
        (json!({"created_at": {"$gt": "2026-11-20T09:59:59.999Z", "$lte": "2026-11-20T11:00:00+01:00"}}), true),
        (json!({"null": {"$in": [1, null]}, "absent": {"$in": [null]}}), true),
    ] {
        assert_eq!(matches(&filter, &row()), expected, "{filter}");
    }
    let new = Row { is_new: true, ..row() };
    assert!(matches(&json!({"last_message_at": null, "created_by": {"$exists": false}}), &new));
    assert!(!matches(&json!({"last_message_at": {"$lt": "2100-01-01T00:00:00Z"}}), &new));
}

#[test]
fn errors_name_the_field_or_the_operator() {
    let nested = |levels: usize| (1..levels).fold(json!({"a": 1}), |filter, _| json!({"$and": [filter]}));
    let conditions = |n: usize| Json::from_iter((0..n).map(|n| (format!("f{n}"), json!(n))));
    let values = |n: usize| json!({"f": {"$in": Json::from_iter(0..n)}});
    for valid in
        [nested(MAX_LEVELS), conditions(MAX_CONDITIONS), values(MAX_VALUES), json!({"f": "x".repeat(MAX_TEXT)})]
    {
        assert!(Filter::parse(&valid, Kind::Users).is_ok(), "{valid:.100}");
    }
    let members = |from: usize| Vec::from_iter((from..from + 60).map(|n| format!("m{n}")));
    let two_lists =
        |from: usize| json!({"$or": [{"members": {"$in": members(0)}}, {"members": {"$in": members(from)}}]});
    assert!(Filter::parse(&two_lists(40), Kind::Channels).is_ok());
    for (filter, message) in [
        (json!(null), "a filter must be an object"),
        (json!([]), "a filter must be an object"),
        (json!({"$and": [1]}), "a filter must be an object"),
        (json!({"$and": {}}), "$and takes a list of at least one filter"),
        (json!({"$or": []}), "$or takes a list of at least one filter"),
        (json!({"$nor": null}), "$nor takes a list of at least one filter"),
        (json!({"$not": {}}), "there is no operator $not"),
        (json!({"id": {"$regex": "x"}}), "there is no operator $regex"),
        (json!({"id": {"x": 1}}), "there is no operator x"),
        (json!({"id": {"$eq": "a", "": 1}}), "there is no operator "),
        (json!({"id": {}}), "the condition on id has no operator"),
        (json!({"id": []}), "$eq of id takes a text, a number, true, false or null"),
        (json!({"id": {"$gt": {}}}), "$gt of id takes a text, a number, true, false or null"),
        (json!({"id": {"$in": "a"}}), "$in of id takes a list"),
        (json!({"id": {"$in": [["a"]]}}), "$in of id takes a text, a number, true, false or null"),
        (json!({"id": {"$exists": 1}}), "$exists of id takes true or false"),
        (json!({"id": {"$autocomplete": 1}}), "$autocomplete of id takes a text"),
        (
            json!({"created_at": {"$gt": "yesterday"}}),
            "created_at is a time: expected RFC 3339 with an offset, such as 2026-11-20T10:00:00.000Z",
        ),
        (nested(MAX_LEVELS + 1), "the filter has more than 5 levels"),
        (conditions(MAX_CONDITIONS + 1), "the filter has more than 50 conditions"),
        (json!({"$or": vec![json!({}); MAX_CONDITIONS + 1]}), "the filter has more than 50 conditions"),
        (values(MAX_VALUES + 1), "$in of f has more than 100 values"),
        (two_lists(41), "the conditions on members name more than 100 identities"),
        (json!({"f": "x".repeat(MAX_TEXT + 1)}), "a text of f has more than 1024 bytes"),
        (json!({"é".repeat(MAX_TEXT): 1}), &format!("a text of {} has more than 1024 bytes", "é".repeat(64))),
    ] {
        let error = Filter::parse(&filter, Kind::Channels).unwrap_err();
        assert_eq!(error.to_string(), message, "{filter:.100}");
    }
}

#[test]
fn the_members_that_are_named_are_known() {
    let filter = json!({"members": {"$in": ["john", "jack"]}, "$or": [{"members": {"$ne": "jill"}}, {"x": "y"}]});
    let named = |kind| Filter::parse(&filter, kind).unwrap().named_members().join(" ");
    assert_eq!(named(Kind::Channels), "jack jill john");
    assert_eq!(named(Kind::Users), "", "of a user it is the app's own");
}
