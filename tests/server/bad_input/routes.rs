//! Paths, methods and credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reachability_tests::raw::{FORM, basic, encode};

use super::{Fixture, GOOD_FORM, NO_CREDENTIAL, NO_SERVICE, ROUTES};

#[test]
fn every_route_requires_valid_credentials() {
    let fixture = Fixture::new();
    let (account, token) = (&fixture.server.account, &fixture.server.token);
    let deleted = fixture.post("/2010-04-01/Accounts/{AC}/Keys.json", "").json();
    let deleted_sid = deleted["sid"].as_str().unwrap();
    assert_eq!(fixture.ask("DELETE", &format!("/2010-04-01/Accounts/{{AC}}/Keys/{deleted_sid}.json"), "").status, 204);
    let before = fixture.everything();

    let encoded = STANDARD.encode(format!("{account}:{token}"));
    let bad = [
        ("nothing", String::new()),
        ("an empty value", "Authorization:".to_owned()),
        ("no more than a scheme", "Authorization: Basic".to_owned()),
        ("an empty password and name", format!("Authorization: Basic {}", STANDARD.encode(":"))),
        ("no base64", "Authorization: Basic !!!".to_owned()),
        ("no colon", format!("Authorization: Basic {}", STANDARD.encode(account))),
        ("no UTF-8", format!("Authorization: Basic {}", STANDARD.encode(b"\xFF\xFE:\xFF"))),
        ("no scheme", format!("Authorization: {encoded}")),
        ("another scheme", format!("Authorization: Bearer {encoded}")),
        ("the token as a bearer's", format!("Authorization: Bearer {token}")),
        ("a digest", format!("Authorization: Digest username=\"{account}\"")),
        ("a wrong token", basic(account, "00000000000000000000000000000000")),
        ("the beginning of the token", basic(account, &token[..31])),
        ("the token and more", basic(account, &format!("{token}0"))),
        ("the token in capitals", basic(account, &format!("{}X", token.to_uppercase()))),
        ("no token", basic(account, "")),
        ("no name", basic("", token)),
        ("another account", basic("AC00000000000000000000000000000000", token)),
        ("an account in small letters", basic(&account.to_lowercase(), token)),
        ("a service as the name", basic(&fixture.service, token)),
        ("an unknown key", basic("SK00000000000000000000000000000000", &fixture.key_secret)),
        ("a deleted key", basic(deleted_sid, deleted["secret"].as_str().unwrap())),
        ("a key with a wrong secret", basic(&fixture.key, "00000000000000000000000000000000")),
        ("a key with the account's token", basic(&fixture.key, token)),
        ("the account with a key's secret", basic(account, &fixture.key_secret)),
    ];
    for (path, methods) in ROUTES {
        for method in *methods {
            for (name, header) in &bad {
                let headers: Vec<&str> =
                    [FORM, header.as_str()].into_iter().filter(|header| !header.is_empty()).collect();
                let body = if *method == "POST" { GOOD_FORM } else { "" };
                let answer = fixture.send(method, path, &headers, body);
                let message = answer.assert_error(401, 20003, &format!("{method} {path} with {name}"));
                assert_eq!(message, "Authenticate");
            }
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn unknown_paths_require_credentials_too() {
    let fixture = Fixture::new();
    for (method, path) in [("GET", "/v1/Nothing"), ("PUT", "/v1/Services"), ("GET", "/v1/Services/%FF")] {
        fixture.send(method, path, &[], "").assert_error(401, 20003, path);
    }
    fixture.end();
}

#[test]
fn only_the_accounts_token_manages_keys() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let key = basic(&fixture.key, &fixture.key_secret);
    assert_eq!(fixture.send("GET", "/v1/Services", &[&key], "").status, 200, "the key works elsewhere");
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("/Keys")) {
        for method in *methods {
            fixture.send(method, path, &[&key, FORM], "").assert_error(403, 20403, &format!("{method} {path}"));
            let strange = path.replace("{AC}", "AC00000000000000000000000000000000");
            fixture.ask(method, &strange, "").assert_error(404, 20404, &format!("{method} {strange}"));
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn wrong_methods_are_refused_with_the_allowed_ones() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for (path, methods) in ROUTES {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if methods.contains(&method) || (method == "HEAD" && methods.contains(&"GET")) {
                continue;
            }
            let what = format!("{method} {path}");
            let answer = fixture.ask(method, path, "");
            if method == "HEAD" {
                assert_eq!(answer.status, 405, "{what}");
                answer.assert_headers(&what);
            } else {
                assert_eq!(answer.assert_error(405, 20004, &what), "Method not allowed");
            }
            let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            allowed.retain(|method| *method != "HEAD");
            allowed.sort_unstable();
            let mut expected = methods.to_vec();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{what}");
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn the_health_check_refuses_wrong_methods_too() {
    let fixture = Fixture::new();
    for method in ["POST", "PUT", "DELETE"] {
        fixture.ask(method, "/healthz", "").assert_error(405, 20004, method);
    }
    fixture.end();
}

#[test]
fn unknown_paths_are_not_found() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    // The message names the path without its version and its query.
    for (path, resource) in [
        ("/", "/"),
        ("/index.html", "/index.html"),
        ("/v1/", "/"),
        ("/v1/Nothing", "/Nothing"),
        ("/v1/Nothing?Identity=alice", "/Nothing"),
        ("/v1/Services/", "/Services/"),
        ("/v1/services", "/services"),
        ("/v1//Services", "//Services"),
        ("/v3/Services", "/v3/Services"),
        ("/v2/Configuration", "/Configuration"),
        ("/v1/Services/{IS}/Nothing", "/Services/{IS}/Nothing"),
        ("/v1/Services/{IS}/Users/", "/Services/{IS}/Users/"),
        ("/v1/Services/{IS}/Users/alice/Channels", "/Services/{IS}/Users/alice/Channels"),
        ("/v1/Services/{IS}/Channels/messaging", "/Services/{IS}/Channels/messaging"),
        ("/v2/Services/{IS}/Presence", "/Services/{IS}/Presence"),
        ("/v1/Services/{IS}/Conversations/CH0", "/Services/{IS}/Conversations/CH0"),
        ("/v1/ConversationWithParticipants", "/ConversationWithParticipants"),
        ("/v2/Roles", "/Roles"),
        ("/v2/Services/{IS}/Conversations", "/Services/{IS}/Conversations"),
        ("/v2/Services/{IS}/Configuration", "/Services/{IS}/Configuration"),
        ("/v2/Services/{IS}/Events", "/Services/{IS}/Events"),
        ("/v1/Changes", "/Changes"),
        ("/v2/Services/{IS}/Changes", "/Services/{IS}/Changes"),
        ("/v1/Bindings", "/Bindings"),
        ("/v1/Services/{IS}/Credentials", "/Services/{IS}/Credentials"),
        ("/v1/Services/{IS}/Users/alice/Bindings", "/Services/{IS}/Users/alice/Bindings"),
        ("/v2/Services/{IS}/Notifications", "/Services/{IS}/Notifications"),
        ("/v2/Services/{IS}/Users/alice/Nothing", "/Services/{IS}/Users/alice/Nothing"),
        ("/v2/Services/{IS}/Users/a%20b/Nothing", "/Services/{IS}/Users/a%20b/Nothing"),
        ("/2010-04-01/Accounts/{AC}.json", "/2010-04-01/Accounts/{AC}.json"),
        ("/healthz/more", "/healthz/more"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let message = fixture.ask(method, path, "").assert_error(404, 20404, &format!("{method} {path}"));
            assert_eq!(message, format!("The requested resource {} was not found", fixture.path(resource)));
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn a_version_is_a_whole_path_segment() {
    let fixture = Fixture::new();
    for path in ["/v10/Services", "/v1Services"] {
        let message = fixture.get(path).assert_error(404, 20404, path);
        assert_eq!(message, format!("The requested resource {path} was not found"));
    }
    fixture.end();
}

#[test]
fn malformed_and_unknown_sids_are_not_found() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    let digits = &fixture.service[2..];
    let services = [
        "IS".to_owned(),
        digits.to_owned(),
        format!("IS{}", &digits[1..]),
        format!("IS{digits}0"),
        format!("IS{}g", &digits[1..]),
        format!("IS+{}", &digits[1..]),
        format!("US{digits}"),
        format!("is{digits}"),
        format!("%20IS{digits}"),
        format!("IS{}%C3%BC", &digits[1..]),
        "alice".to_owned(),
        NO_SERVICE.to_owned(),
    ];
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("{IS}")) {
        for (method, sid) in methods.iter().flat_map(|method| services.iter().map(move |sid| (method, sid))) {
            let path = path.replace("{IS}", sid);
            let message = fixture.ask(method, &path, GOOD_FORM).assert_error(404, 20404, &format!("{method} {path}"));
            assert_eq!(message, format!("The requested resource {} was not found", &fixture.path(&path)[3..]));
        }
    }
    let users =
        ["nobody", "Alice", "US00000000000000000000000000000000", "US", "alice%20", "alice%00", &"x".repeat(257)];
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("/alice")) {
        for (method, user) in methods.iter().flat_map(|method| users.iter().map(move |user| (method, user))) {
            let path = path.replace("alice", user);
            fixture.ask(method, &path, GOOD_FORM).assert_error(404, 20404, &format!("{method} {path}"));
        }
    }
    // A user of one service does not exist in another, neither by identity nor by sid.
    let alice = fixture.get("/v1/Services/{IS}/Users/alice").json()["sid"].as_str().unwrap().to_owned();
    for name in [alice.as_str(), "alice"] {
        fixture.get(&format!("/v1/Services/{}/Users/{name}", fixture.other_service)).assert_error(404, 20404, name);
    }
    // The same holds for bindings and notifications, and for the bindings of another user.
    assert_eq!(fixture.everything(), before);
    fixture.post("/v2/Services/{IS}/Users", "Identity=bob");
    let before = fixture.everything();
    for (path, methods) in ROUTES.iter().filter(|(path, _)| path.contains("{CR}") || path.contains("{BS}")) {
        for method in *methods {
            for sid in ["x", "BS", "CR", "{IS}", NO_CREDENTIAL, "BS00000000000000000000000000000000"] {
                let path = path.replace("{CR}", sid).replace("{BS}", sid);
                fixture.ask(method, &path, GOOD_FORM).assert_error(404, 20404, &format!("{method} {path}"));
            }
            for (name, other) in [("{IS}", &*fixture.other_service), ("alice", "bob")] {
                if path.contains("{BS}") && path.contains(name) {
                    let path = path.replace(name, other);
                    fixture.ask(method, &path, "").assert_error(404, 20404, &format!("{method} {path}"));
                }
            }
        }
    }
    for (path, _) in ROUTES.iter().filter(|(path, _)| path.contains("RL}")) {
        for sid in ["x", "RL", "{IS}", "RL00000000000000000000000000000000"] {
            let path = path.replace("{RL}", sid).replace("{defaultRL}", sid);
            fixture.get(&path).assert_error(404, 20404, &path);
        }
        // A role belongs to one service.
        let path = path.replace("{IS}", &fixture.other_service).replace("{defaultRL}", &fixture.role);
        fixture.get(&path).assert_error(404, 20404, &path);
    }
    for sid in ["x", "NT", "{BS}", "NT00000000000000000000000000000000"] {
        for path in ["/v1/Services/{IS}/Notifications/{NT}", "/v1/Services/{IS}/Notifications/{NT}/Deliveries"] {
            for path in [path.replace("{NT}", sid), path.replace("{IS}", &fixture.other_service)] {
                fixture.get(&path).assert_error(404, 20404, &path);
            }
        }
    }
    for key in ["SK", "SKx.json", "SK00000000000000000000000000000000.json", "{IS}.json", "{SK}.xml", ".json"] {
        for method in ["GET", "POST", "DELETE"] {
            let path = format!("/2010-04-01/Accounts/{{AC}}/Keys/{key}");
            fixture.ask(method, &path, "").assert_error(404, 20404, &format!("{method} {path}"));
        }
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn a_path_that_is_not_utf_8_is_not_found() {
    let fixture = Fixture::new();
    let before = fixture.everything();
    for path in [
        "/v1/Services/%FF",
        "/v1/Services/%FF/Configuration",
        "/v1/Services/{IS}/Users/%FF",
        "/v1/Services/{IS}/Users/a%C3",
        "/v1/Users/%C3%28",
        "/v2/Services/{IS}/Users/%FF",
        "/2010-04-01/Accounts/%FF/Keys.json",
        "/2010-04-01/Accounts/{AC}/Keys/%FF.json",
        "/%FF",
        // An incomplete encoding is ordinary text.
        "/v1/Users/%",
        "/v1/Users/%4",
        "/v1/Users/%zz",
    ] {
        fixture.get(path).assert_error(404, 20404, path);
    }
    for method in ["POST", "DELETE"] {
        fixture.ask(method, "/v1/Services/{IS}/Users/%FF", GOOD_FORM).assert_error(404, 20404, method);
    }
    fixture.get("/v1/Services?PageToken=%FF").assert_error(400, 20001, "a query");
    assert_eq!(fixture.everything(), before);
    fixture.end();
}

#[test]
fn names_in_paths_are_decoded_once() {
    let fixture = Fixture::new();
    let identities = ["x/y", "x%2Fy", "p+q", "p%2Bq", "a b", "ü", "100%", "100%25", "%FF"];
    for identity in identities {
        let user = fixture.post("/v1/Services/{IS}/Users", &format!("Identity={}", encode(identity)));
        assert_eq!(user.json()["identity"], identity);
    }
    for identity in identities {
        let path = format!("/v1/Services/{{IS}}/Users/{}", encode(identity));
        assert_eq!(fixture.get(&path).json()["identity"], identity, "{path}");
    }
    // A plus in a path is a plus, encoded or not.
    assert_eq!(fixture.get("/v1/Services/{IS}/Users/p+q").json()["identity"], "p+q");
    let before = fixture.everything();
    for method in ["GET", "POST", "DELETE"] {
        fixture.ask(method, "/v1/Services/{IS}/Users/x/y", "").assert_error(404, 20404, method);
        fixture.ask(method, "/v1/Services/{IS}/Users/p+q/r", "").assert_error(404, 20404, method);
        fixture.ask(method, "/v1/Services/{IS}/Users/a+b", "").assert_error(404, 20404, method);
    }
    assert_eq!(fixture.everything(), before);
    fixture.end();
}
