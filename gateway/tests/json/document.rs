//! `docs/socket.md` says what the code does. Its examples are played in `play`.

use std::collections::BTreeSet;

use reachability_domain::channel::data::MAX_CUSTOM;
use reachability_domain::presence::status::Status;
use reachability_domain::query::fields::{FieldKind, Kind};
use reachability_domain::query::filter::{Filter, MAX_CONDITIONS, MAX_LEVELS, MAX_VALUES};
use reachability_domain::query::sort::{MAX_FIELDS, Sort};
use reachability_gateway::json::kinds::{ClientKind, ServerKind};
use reachability_gateway::json::settings::*;
use reachability_gateway::json::{Action, Closing, FIELDS, Word};
use serde_json::{Value, json};

use crate::errors::all_errors;
use crate::life::all_closes;
use crate::people::{general, jane};
use crate::play::{DOCUMENT, Example, examples};
use crate::support::{MINUTE, Socket};

struct Table {
    section: &'static str,
    head: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

fn cells(line: &'static str) -> Option<Vec<&'static str>> {
    let line = line.strip_prefix('|')?.strip_suffix('|').unwrap();
    Some(line.split('|').map(str::trim).collect())
}

fn tables() -> Vec<Table> {
    let (mut section, mut tables) = ("", vec![]);
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            section = line.trim_start_matches('#').trim().trim_matches('`');
        }
        if let Some(head) = cells(line) {
            let rows: Vec<_> = lines.by_ref().map_while(cells).skip(1).collect();
            assert!(rows.iter().all(|row| row.len() == head.len()), "{section}");
            tables.push(Table { section, head, rows });
        }
    }
    tables
}

fn table(section: &str, head: &[&str]) -> Table {
    let mut found = tables().into_iter().filter(|table| table.section == section && table.head == head);
    let table = found.next().unwrap_or_else(|| panic!("{section} has no table {head:?}"));
    assert!(found.next().is_none());
    table
}

/// What is written as code in a cell.
fn codes(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// What is written as code in the first cells.
fn names(table: &Table) -> Vec<&'static str> {
    table.rows.iter().flat_map(|row| codes(row[0])).collect()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_document_has_every_message() {
    let examples = examples();
    let has = |is_client, kind: &str| {
        examples.iter().any(|example| example.is_client == is_client && example.message["type"] == kind)
    };
    for kind in ClientKind::ALL {
        assert!(has(true, kind.as_str()), "{kind:?}");
        let section = format!("### `{}`\n", kind.as_str());
        assert!(kind == ClientKind::Pong || DOCUMENT.contains(&section), "{section}");
    }
    for kind in ServerKind::ALL {
        assert!(has(false, kind.as_str()), "{kind:?}");
    }
    let is_event = |kind: &ServerKind| {
        use ServerKind::{Connected, Error, Ok, Part, Pong};
        !matches!(kind, Connected | Ok | Part | Error | Pong)
    };
    let events: BTreeSet<_> = ServerKind::ALL.iter().filter(|kind| is_event(kind)).map(|kind| kind.as_str()).collect();
    assert_eq!(names(&table("Events", &["type", ""])).into_iter().collect::<BTreeSet<_>>(), events);
    // Whatever an example of the server has is told of in the text.
    for Example { message, .. } in examples.iter().filter(|example| !example.is_client) {
        for key in keys(message) {
            assert!(DOCUMENT.contains(&format!("`{key}`")), "{key}");
        }
    }
}

/// What a client's message leads to, on a socket on which it belongs.
fn taken(message: &Value) -> Vec<Action> {
    let mut socket = if message["type"] == "connect" { Socket::new() } else { Socket::open() };
    let mut message = message.clone();
    if message.get("id").is_some() {
        message["id"] = 100.into();
    }
    socket.send(&message)
}

/// The error that a client's message leads to.
fn error(actions: &[Action]) -> Option<Value> {
    let [Action::Send(bytes)] = actions else { return None };
    Some(serde_json::from_slice(bytes).unwrap()).filter(|message: &Value| message["type"] == "error")
}

#[test]
fn the_document_has_every_field_of_the_client() {
    let mut seen: BTreeSet<_> = ["type", "id"].into();
    for kind in ClientKind::ALL.map(ClientKind::as_str) {
        let example =
            |example: &Example| example.is_client && example.section == kind && example.message["type"] == kind;
        let Some(Example { message, .. }) = examples().into_iter().find(example) else {
            // It has no section of its own, since it has no fields.
            assert_eq!(kind, "pong");
            continue;
        };
        let as_shown = taken(&message);
        assert_eq!(error(&as_shown), None, "{message}");

        let has_fields =
            tables().iter().any(|table| table.section == kind && table.head[0] == "field" && table.head.len() == 3);
        let rows = if has_fields { table(kind, &["field", "value", ""]).rows } else { vec![] };
        let mut fields = BTreeSet::new();
        for row in rows {
            let field = codes(row[0]).next().unwrap();
            fields.insert(field);
            let mut without = message.clone();
            without.as_object_mut().unwrap().remove(field);
            let mut with_null = message.clone();
            with_null[field] = Value::Null;
            for message in [without, with_null] {
                let missing = error(&taken(&message)).map(|error| error["message"].clone());
                let expected = row[2].starts_with("required").then(|| json!(format!("`{field}` is missing")));
                assert_eq!(missing, expected, "{message}");
            }
            if row[1].starts_with('[') {
                // Filters and sorts are the domain's to read.
                continue;
            }
            let mut wrong = message.clone();
            wrong[field] = if row[1] == "whole number" { json!("5") } else { json!(5) };
            let error = error(&taken(&wrong)).unwrap_or_else(|| panic!("{wrong}"));
            assert_eq!(error["code"], "invalid_message", "{wrong}");
            let text = error["message"].as_str().unwrap();
            assert!(text.starts_with(&format!("`{field}` must be ")) && text.contains(row[1]), "{error}");
        }
        // All other fields have no effect.
        for field in FIELDS {
            if !["type", "id"].contains(&field) && !fields.contains(field) {
                for value in [json!(5), json!("x"), json!({})] {
                    let mut more = message.clone();
                    more[field] = value;
                    assert_eq!(taken(&more), as_shown, "{more}");
                }
            }
        }
        seen.extend(fields);
    }
    assert_eq!(seen, FIELDS.into());
}

#[test]
fn the_document_has_every_field_of_the_server() {
    let user = serde_json::to_value(jane("", true, "10:00:00", 1)).unwrap();
    assert_eq!(names(&table("Users", &["field", ""])).into_iter().collect::<BTreeSet<_>>(), keys(&user));
    let channel = serde_json::to_value(general()).unwrap();
    let documented = names(&table("query_channels", &["field of a channel", ""]));
    assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), keys(&channel));

    let examples = examples();
    let connected = &examples.iter().find(|example| example.message["type"] == "connected").unwrap().message;
    let mut documented: BTreeSet<_> = names(&table("connect", &["field", ""])).into_iter().collect();
    documented.extend(["type", "id"]);
    assert_eq!(documented, keys(connected));
}

#[test]
fn the_document_has_every_error() {
    let Table { rows, .. } = table("Errors", &["code", "when", "with"]);
    let documented: Vec<_> = rows.iter().flat_map(|row| codes(row[0])).collect();
    assert_eq!(documented, Word::ALL.map(Word::as_str));
    let errors = all_errors();
    for row in &rows {
        let code = codes(row[0]).next().unwrap();
        let mut with = BTreeSet::new();
        for error in errors.iter().filter(|error| error["code"] == code) {
            assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
            let more: Vec<_> =
                keys(error).into_iter().filter(|key| !["type", "id", "code", "message"].contains(key)).collect();
            assert!(more.len() <= 1, "{error}");
            with.extend(more.iter().map(|key| (*key).to_owned()).chain(more.is_empty().then(|| "nothing".to_owned())));
        }
        let mut expected: BTreeSet<_> = codes(row[2]).map(str::to_owned).collect();
        if expected.is_empty() {
            expected.insert("nothing".to_owned());
        }
        assert_eq!(with, expected, "{code}");
    }
    assert!(errors.iter().all(|error| documented.contains(&error["code"].as_str().unwrap())));
}

#[test]
fn the_document_has_every_close() {
    let Table { rows, .. } = table("Closes", &["code", "reason", "when", "the client"]);
    let documented: Vec<_> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1].trim_matches('`'))).collect();
    assert_eq!(documented, Closing::ALL.map(|closing| (closing.code(), closing.reason())));
    let produced: BTreeSet<_> = all_closes().into_iter().collect();
    assert_eq!(produced, documented.into_iter().collect());
}

#[test]
fn the_document_has_filters_that_are_some() {
    let examples = names(&table("Filters", &["", ""]));
    let filters: Vec<_> = examples.into_iter().filter(|text| !text.contains('…')).collect();
    assert!(filters.len() >= 5);
    for filter in &filters {
        let filter = serde_json::from_str(filter).unwrap();
        assert_eq!(Filter::parse(&filter, Kind::Users).err(), None, "{filter}");
    }
    let (_, section) = DOCUMENT.split_once("\n## Filters\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let operators = ["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "autocomplete", "and", "or", "nor"];
    for operator in operators {
        assert!(section.contains(&format!("${operator}")), "{operator}");
    }
    let sort = section.split_once("A sort is an object such as `").unwrap().1.split_once('`').unwrap().0;
    assert!(Sort::parse(&serde_json::from_str(sort).unwrap(), Kind::Users).is_ok());
    assert_eq!(MAX_FIELDS, 3, "the document says: three");

    // The fields that are no one's own.
    let (users, channels) = section.split_once("Users have ").unwrap().1.split_once("Channels have ").unwrap();
    let channels = channels.split_once("Values are").unwrap().0;
    for (kind, text) in [(Kind::Users, users), (Kind::Channels, channels)] {
        let fields: Vec<_> = codes(text).filter(|field| *field != "custom" && !field.starts_with('$')).collect();
        assert!(fields.iter().all(|field| kind.field(field) != FieldKind::Custom), "{fields:?}");
        assert_eq!(fields.len(), if kind == Kind::Users { 5 } else { 9 });
    }
}

#[test]
fn the_document_has_the_limits() {
    let Settings { timing, users_per_watch, watched_users } = Settings::default();
    for row in [
        format!("| time until `connect` | {} s |", timing.init_within.as_secs()),
        format!("| message | {MAX_MESSAGE} bytes |"),
        format!("at most {MAX_MESSAGE} bytes, a `restore` {MAX_RESTORE}"),
        format!("before `connected` that is {MAX_MESSAGE} bytes"),
        format!("| `restore` | {MAX_RESTORE} bytes |"),
        format!("parts of messages | {MESSAGES_AT_ONCE} at once, then {MESSAGES_PER_SECOND} a second |"),
        format!(
            "| requests of a socket, without `ping`, `token` and `unwatch` | {REQUESTS_AT_ONCE} at once, then {REQUESTS_PER_SECOND} a second. One more for each {LOOKED_AT_PER_REQUEST} users, channels and members"
        ),
        format!("| requests of a socket under way | {MAX_REQUESTS}, and one new token |"),
        format!("| watches of a socket | {MAX_WATCHES} |"),
        format!("| users of a watch | {users_per_watch}, a setting |"),
        format!("| watched users of a socket | {watched_users}, a setting |"),
        format!("| channels of a watch | {MAX_CHANNELS} |"),
        format!("| users in an answer without `presence` | {MAX_USERS} |"),
        format!("all of them with `presence`, up to {MAX_USERS} without"),
        format!("| members that a request adds or removes | {MAX_MEMBERS} |"),
        format!("up to {MAX_LEVELS} levels deep, with up to {MAX_CONDITIONS} conditions"),
        format!("up to {MAX_VALUES} values in one `$in`"),
        format!("up to {MAX_CUSTOM} bytes of JSON"),
        format!("| status | {} bytes |", Status::MAX_BYTES),
        format!("at most {} bytes; `null` or empty: none", Status::MAX_BYTES),
        format!("| device | {MAX_DEVICE} bytes |"),
        format!("beside the connection; at most {MAX_DEVICE} bytes |"),
        format!("from 1 to {MAX_USERS}, with `presence` to `users_per_watch`; {DEFAULT_USERS} if it is missing"),
        format!("from 1 to {MAX_CHANNELS}; {DEFAULT_CHANNELS} if it is missing"),
        format!("required. At most {MAX_MEMBERS} |"),
        format!("at most {USERS_IN_PART} users or {MEMBERS_IN_PART}"),
        format!("when it is longer than {PART_SIZE} bytes"),
        format!("If they are more than {MEMBERS_IN_CHANNEL}, they come in parts"),
        format!("without `presence`, only the first {MEMBERS_IN_CHANNEL} are told"),
        format!("`connect` within {} s is closed", timing.init_within.as_secs()),
        format!("the session waits up to {} s for that", UPDATE_WITHIN.as_secs()),
    ] {
        let row = row.replace(char::is_whitespace, "");
        assert!(DOCUMENT.replace(char::is_whitespace, "").contains(&row), "docs/socket.md does not say: {row}");
    }
    assert_eq!(MAX_REQUESTS, 4, "the document says: Four");
    assert_eq!(EXPIRES_SOON, 3 * MINUTE);
    assert_eq!(MAX_NUMBER, 1 << 53);
}
