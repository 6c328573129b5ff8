//! Parameters of lists.

use serde_json::Value;

use super::{Fixture, LISTS};

#[test]
fn page_sizes_have_a_minimum_and_a_maximum() {
    let fixture = Fixture::new();
    for (path, max) in LISTS {
        let size = |list: &Value| list["meta"]["page_size"].as_u64().or(list["page_size"].as_u64());
        for (asked, expected) in [
            ("", 50.min(*max)),
            ("0", 1),
            ("-1", 1),
            ("1", 1),
            ("100000", *max),
            ("-9000000000", 1),
            ("9223372036854775808", *max),
            ("18446744073709551616", *max),
            (&"9".repeat(1_000), *max),
            (&format!("-{}", "9".repeat(1_000)), 1),
        ] {
            let answer = fixture.get(&format!("{path}?PageSize={asked}"));
            assert_eq!(answer.status, 200, "{path} {asked:?}: {}", answer.body);
            assert_eq!(size(&answer.json()), Some(expected), "{path} {asked:?}");
        }
        for asked in ["abc", "1.5", "%20", "1x", "0x10", "%FF", "99999999999999999999x", "--1"] {
            fixture.get(&format!("{path}?PageSize={asked}")).assert_error(400, 20001, &format!("{path} {asked}"));
        }
        let other = if path.ends_with("Services") { "US" } else { "IS" };
        for token in [
            "x",
            "PT",
            "%C3%BC",
            "PTx",
            "XX{IS}",
            "{IS}",
            &format!("PT{other}00000000000000000000000000000000"),
            &"x".repeat(10_000),
        ] {
            let message = fixture.get(&format!("{path}?PageToken={token}")).assert_error(400, 20001, path);
            assert!(message.contains("PageToken"), "{path} {token}: {message}");
        }
        // The server does not check the page's number.
        for number in ["-1", "x", "99999999999999999999"] {
            assert_eq!(fixture.get(&format!("{path}?Page={number}")).status, 200, "{path} {number}");
        }
    }
    fixture.get("/v1/Services/{IS}/Users?Reachability=maybe").assert_error(400, 20001, "Reachability");
    fixture.end();
}

/// The log of changes has positions and no pages with numbers.
#[test]
fn bad_parameters_of_the_log_of_changes_are_refused() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let (long, user_sid) = ("x".repeat(257), format!("US{}", "0".repeat(32)));
    for (name, values) in [
        ("After", &["", "-1", "x", "1.5", "%20", "1x", "0x10", "18446744073709551616", "%C3%BC"] as &[&str]),
        ("PageSize", &["x", "1.5", "%20"]),
    ] {
        for value in values {
            let path = format!("/v1/Services/{{IS}}/Changes?{name}={value}");
            fixture.get(&path).assert_error(400, 20001, &path);
        }
    }
    for (identity, code) in [(String::new(), 20001), (long, 50207), (user_sid, 50206)] {
        let path = format!("/v1/Services/{{IS}}/Changes?Identity={identity}");
        fixture.get(&path).assert_error(400, code, &path);
    }
    fixture.get("/v1/Services/{IS}/Changes?Identity=a&Identity=b").assert_error(400, 20001, "two users");
    for parameter in ["After", "Identity"] {
        let path = format!("/v1/Services/{{IS}}/Changes?{parameter}=%FF");
        fixture.get(&path).assert_error(400, 20001, &path);
    }
    for position in ["9223372036854775807", "9223372036854775808", "18446744073709551615"] {
        let path = format!("/v1/Services/{{IS}}/Changes?After={position}");
        fixture.get(&path).assert_error(410, 20404, &path);
    }
    for query in ["", "?After=0", "?PageSize=1", "?PageSize=99999999999999999999", "?Identity=nobody", "?Unknown=x"] {
        let path = format!("/v1/Services/{{IS}}/Changes{query}");
        let answer = fixture.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.assert_headers(&path);
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}
