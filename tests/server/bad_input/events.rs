//! Events.

use std::time::Duration;

use reachability_infra::clock;
use reachability_tests::events::event;
use serde_json::json;

use super::{Fixture, NO_SERVICE, wait_until};

const EVENTS: &str = "/v1/Services/{IS}/Events";

/// Asserts that nothing in this body is accepted, for these reasons.
#[track_caller]
fn assert_all_refused(fixture: &Fixture, body: &str, reasons: &[&str]) {
    let what = format!("{body:.300}");
    let answer = fixture.post(EVENTS, body);
    let members = ["accepted", "code", "message", "more_info", "refused", "status"];
    answer.assert_error_with(400, 20001, &members, &what);
    let body = answer.json();
    assert_eq!(body["accepted"], 0, "{what}");
    let refused = body["refused"].as_array().unwrap();
    assert_eq!(refused.len(), reasons.len(), "{what}: {refused:?}");
    for (index, (refused, reason)) in refused.iter().zip(reasons).enumerate() {
        assert_eq!(refused["index"], index, "{what}");
        assert!(refused["reason"].as_str().unwrap().contains(reason), "{what}: {refused} has no {reason:?}");
    }
}

#[test]
fn bad_events_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for (kind, fields) in [
        ("connect", &["type", "service_sid", "identity", "connection_id", "occurred_at"] as &[&str]),
        ("renew", &["type", "service_sid", "identity", "connection_id", "occurred_at"]),
        ("disconnect", &["type", "service_sid", "identity", "connection_id", "occurred_at", "reason"]),
    ] {
        for field in fields {
            let good = event(&fixture.service, "mallory", kind);
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(*field);
            assert_all_refused(&fixture, &bad.to_string(), &[&format!("missing field: {field}")]);
            for value in [json!(null), json!(7), json!(true), json!(["x"]), json!({"x": 1}), json!("")] {
                let mut bad = good.clone();
                bad[*field] = value;
                assert_all_refused(&fixture, &bad.to_string(), &[""]);
                assert_all_refused(&fixture, &json!([bad]).to_string(), &[""]);
            }
        }
    }
    let ahead = clock::now().plus(Duration::from_secs(301 + 60)).to_string();
    let user_sid = format!("US{}", "0".repeat(32));
    for (field, value, reason) in [
        ("type", json!("check"), "unknown type"),
        ("type", json!("Connect"), "unknown type"),
        ("type", json!("binding"), "unknown type"),
        ("service_sid", json!("IS1"), "service_sid"),
        ("service_sid", json!(NO_SERVICE), "service_sid"),
        ("service_sid", json!(fixture.other_service), "service_sid"),
        ("identity", json!("x".repeat(257)), "identity is longer"),
        ("identity", json!(user_sid), "identity looks like a user sid"),
        ("connection_id", json!("x".repeat(129)), "connection_id is longer"),
        ("occurred_at", json!("yesterday"), "occurred_at"),
        ("occurred_at", json!("2026-11-20"), "occurred_at"),
        ("occurred_at", json!("2026-11-20T10:00:00"), "occurred_at"),
        ("occurred_at", json!("2026-13-20T10:00:00Z"), "occurred_at"),
        ("occurred_at", json!("1795171200"), "occurred_at"),
        // Before the year 1, by the offset.
        ("occurred_at", json!("0000-01-01T00:00:00+00:01"), "occurred_at is not a time: expected RFC 3339"),
        ("occurred_at", json!("0001-01-01T00:00:00+00:01"), "occurred_at is not a time: expected RFC 3339"),
        ("occurred_at", json!(1_795_171_200), ""),
        ("occurred_at", json!(ahead), "in the future"),
        ("occurred_at", json!("9999-01-01T00:00:00Z"), "in the future"),
        ("lease_seconds", json!(0), "lease_seconds"),
        ("lease_seconds", json!(-1), "lease_seconds"),
        ("lease_seconds", json!(1.5), "lease_seconds"),
        ("lease_seconds", json!(4_294_967_296_u64), "lease_seconds"),
        ("lease_seconds", json!("60"), ""),
        ("device", json!("x".repeat(257)), "device"),
        ("device", json!(7), ""),
    ] {
        let mut bad = event(&fixture.service, "mallory", "connect");
        bad[field] = value;
        assert_all_refused(&fixture, &bad.to_string(), &[reason]);
    }
    let mut bad = event(&fixture.service, "mallory", "disconnect");
    bad["reason"] = json!("bored");
    assert_all_refused(&fixture, &bad.to_string(), &["unknown reason"]);
    let good = event(&fixture.service, "mallory", "connect").to_string();
    for bad in ["x", "7", "null", "\"connect\"", "{", "{}", "{}{}", &good[1..], &format!("{good}x"), &good[..50]] {
        assert_all_refused(&fixture, bad, &[""]);
    }
    // A field that occurs twice is ambiguous.
    assert_all_refused(&fixture, &good.replacen('{', "{\"identity\":\"bob\",", 1), &["identity"]);
    assert_all_refused(&fixture, "[1, null, \"x\", [], {}]", &["", "", "", "", "missing field"]);
    assert_all_refused(&fixture, "x\n\n{}\r\n", &["malformed JSON", "missing field: type"]);
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn a_malformed_array_of_events_is_refused_as_a_whole() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let good = event(&fixture.service, "mallory", "connect").to_string();
    for body in [
        "[".to_owned(),
        format!("[{good}"),
        format!("[{good},]"),
        format!("[{good} {good}]"),
        format!("[{good}]]"),
        format!("[{good}]\n{good}"),
        format!("[{good},x]"),
    ] {
        let message = fixture.post(EVENTS, &body).assert_error(400, 20001, &body);
        assert!(message.contains("malformed JSON"), "{message}");
    }
    let broken = [b"[\"", good.as_bytes(), b"\xFF\"]"].concat();
    assert_eq!(fixture.ask("POST", EVENTS, broken).status, 400);
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn the_answer_to_many_bad_events_is_not_much_larger_than_they_are() {
    let fixture = Fixture::new();
    for body in ["x\n".repeat(1 << 19), format!("[{}1]", "1,".repeat(1 << 19))] {
        let answer = fixture.post(EVENTS, &body);
        assert!([400, 413].contains(&answer.status), "{}", answer.status);
        let (asked, answered) = (body.len(), answer.body.len());
        assert!(answered < 4 * asked, "{answered} bytes are the answer to {asked}");
    }
    fixture.end();
}

#[test]
fn good_events_are_accepted_beside_bad_ones() {
    let fixture = Fixture::new();
    let online =
        |identity: &str| fixture.get(&format!("/v1/Services/{{IS}}/Users/{identity}")).json()["is_online"].clone();
    let event = |identity: &str| event(&fixture.service, identity, "connect");
    let mut stranger = event("mallory");
    stranger["service_sid"] = json!(fixture.other_service);
    let mut unknown_fields = event("bob");
    unknown_fields["zone"] = json!({"a": [1, {"b": null}]});
    unknown_fields["is_online"] = json!(false);

    let lines = format!("{}\nnonsense\n\n  {}\r\n{stranger}\n{unknown_fields}", event("alice"), event("carol"));
    let array = format!("[{},\"nonsense\",{},{stranger},{unknown_fields}]", event("dave"), event("erin"));
    for (body, identities) in [(lines, ["alice", "carol", "bob"]), (array, ["dave", "erin", "bob"])] {
        let answer = fixture.post(EVENTS, &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.assert_headers(&body);
        let taken = answer.json();
        assert_eq!(taken["accepted"], 3, "{taken}");
        let refused = taken["refused"].as_array().unwrap();
        assert_eq!(refused.iter().map(|refused| &refused["index"]).collect::<Vec<_>>(), [1, 3], "{taken}");
        assert!(refused[0]["reason"].as_str().unwrap().contains("malformed JSON"), "{taken}");
        assert_eq!(refused[1]["reason"], "service_sid is not the service in the path");
        for identity in identities {
            wait_until(identity, || online(identity) == true);
        }
    }
    assert_eq!(fixture.get("/v1/Services/{IS}/Users/mallory").status, 404);
    assert_eq!(fixture.get(&format!("/v1/Services/{}/Users/mallory", fixture.other_service)).status, 404);
    fixture.end();
}

/// Reachability of a new service is off. The answer has to say so, since its events are accepted but nobody comes
/// online.
#[test]
fn the_answer_says_whether_reachability_is_on() {
    let fixture = Fixture::new();
    for (service, enabled) in [(&fixture.service, true), (&fixture.other_service, false)] {
        for body in [event(service, "alice", "connect").to_string(), "[]".to_owned()] {
            let answer = fixture.post(&format!("/v1/Services/{service}/Events"), &body);
            assert_eq!(answer.status, 202, "{}", answer.body);
            assert_eq!(answer.json()["reachability_enabled"], enabled, "{}", answer.body);
        }
    }
    fixture.end();
}

#[test]
fn a_body_without_events_is_accepted() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for body in ["", "\n", " \r\n \n", "[]", " [ ] "] {
        let answer = fixture.post(EVENTS, body);
        let none = json!({ "accepted": 0, "refused": [], "reachability_enabled": true });
        assert_eq!((answer.status, answer.json()), (202, none), "{body:?}");
        answer.assert_headers(body);
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn events_of_an_unknown_service_are_refused() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let path = format!("/v1/Services/{NO_SERVICE}/Events");
    for body in [event(NO_SERVICE, "mallory", "connect").to_string(), String::new(), "x".to_owned()] {
        fixture.post(&path, &body).assert_error(404, 20404, &body);
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}
