//! Flags and environment variables.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reqwest::Method;

use super::listen::BAD_ADDRESSES;
use super::replay::event;
use super::{ACCOUNT, TOKEN, serve, stop};

/// Every setting of `serve`: its variable, its flag, a good value, and bad ones.
const SETTINGS: &[(&str, &str, &str, &[&str])] = &[
    ("REACHABILITY_LISTEN", "--listen", "127.0.0.1:0", BAD_ADDRESSES),
    ("REACHABILITY_DATA_DIR", "--data-dir", "data", &[]),
    ("REACHABILITY_CREDENTIALS_KEY_FILE", "--credentials-key-file", "key", &[]),
    ("REACHABILITY_ACCOUNT_SID", "--account-sid", ACCOUNT, &["AC", "x", "SK00000000000000000000000000000001"]),
    ("REACHABILITY_AUTH_TOKEN", "--auth-token", TOKEN, &["too-short", "with spaces in between", "schlüsselschlüssel"]),
    ("REACHABILITY_SECONDARY_AUTH_TOKEN", "--secondary-auth-token", TOKEN, &["too-short", "with spaces in between"]),
    ("REACHABILITY_PUBLIC_URL", "--public-url", "http://x.test", &["x.test", "/x", "ftp://x.test", "http://x.test/?a"]),
    ("REACHABILITY_GRACE_SECONDS", "--grace-seconds", "1", &["-1", "1.5", "x", "4294967296"]),
    ("REACHABILITY_CHANGE_LOG_HOURS", "--change-log-hours", "24", &["-1", "1.5", "x", "4294967296"]),
    ("REACHABILITY_CHANGE_LOG_ROWS", "--change-log-rows", "1000", &["-1", "1.5", "x", "4294967296"]),
    (
        "REACHABILITY_MAX_WAITING_EVENTS_PER_SERVICE",
        "--max-waiting-events-per-service",
        "1000",
        &["0", "-1", "1.5", "x"],
    ),
    ("REACHABILITY_MAX_WAITING_EVENTS", "--max-waiting-events", "1000", &["0", "-1", "1.5", "x", "4294967296"]),
    ("REACHABILITY_WEBHOOK_PRIVATE_ADDRESSES", "--webhook-private-addresses", "false", &["no", "0", "x"]),
    ("REACHABILITY_STOP_DELAY_SECONDS", "--stop-delay-seconds", "5", &["-1", "1.5", "x", "61"]),
    ("REACHABILITY_PING_SECONDS", "--ping-seconds", "14", &["0", "-1", "1.5", "x", "3601"]),
    ("REACHABILITY_RESTART_GRACE_SECONDS", "--restart-grace-seconds", "30", &["-1", "1.5", "x", "4294967296"]),
    ("REACHABILITY_TOKEN_EXPIRY", "--token-expiry", "socket", &["", "never", "Packet"]),
    ("REACHABILITY_MAX_SOCKETS", "--max-sockets", "1000", &["0", "-1", "1.5", "x", "4294967296"]),
    ("REACHABILITY_MAX_SOCKETS_PER_SERVICE", "--max-sockets-per-service", "1000", &["-1", "1.5", "x"]),
    ("REACHABILITY_MAX_SOCKETS_PER_ADDRESS", "--max-sockets-per-address", "1000", &["-1", "1.5", "x"]),
    ("REACHABILITY_TRUSTED_PROXIES", "--trusted-proxies", "10.0.0.0/8,::1", &["", "x", "10.0.0.0/33", "10.0.0.1,"]),
    ("REACHABILITY_MAX_CONNECTIONS_PER_ADDRESS", "--max-connections-per-address", "100", &["-1", "1.5", "x"]),
    ("REACHABILITY_MAX_FAILED_AUTHENTICATIONS", "--max-failed-authentications", "10", &["-1", "1.5", "x"]),
    ("REACHABILITY_LEASE_SECONDS", "--lease-seconds", "60", &["0", "-1", "1.5", "x", "4294967296"]),
];

#[tokio::test]
async fn settings_are_flags_or_variables_and_flags_win() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (by_flag, by_variable) = (path("flag"), path("variable"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let other_account = "AC00000000000000000000000000000000";
    let other_token = "a-token-that-is-not-used";

    let flags = [
        ("--listen", "127.0.0.1:0"),
        ("--data-dir", &by_flag),
        ("--account-sid", ACCOUNT),
        ("--auth-token", TOKEN),
        ("--public-url", "https://flag.test"),
    ];
    let flags: Vec<&str> = flags.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    let variables = |listen, account, token, url| {
        [
            ("REACHABILITY_LISTEN", listen),
            ("REACHABILITY_DATA_DIR", by_variable.as_str()),
            ("REACHABILITY_ACCOUNT_SID", account),
            ("REACHABILITY_AUTH_TOKEN", token),
            ("REACHABILITY_PUBLIC_URL", url),
        ]
    };
    let used = variables("127.0.0.1:0", ACCOUNT, TOKEN, "https://variable.test");
    let overridden = variables(&taken, other_account, other_token, "https://overridden.test");
    for (data, arguments, variables, url) in [
        (&by_flag, flags.clone(), &[] as &[_], "https://flag.test"),
        (&by_flag, flags.clone(), &overridden, "https://flag.test"),
        (&by_flag, [&["serve"], flags.as_slice()].concat(), &overridden, "https://flag.test"),
        (&by_variable, vec![], &used, "https://variable.test"),
        (&by_variable, vec!["serve"], &used, "https://variable.test"),
    ] {
        let what = format!("{arguments:?} {variables:?}");
        let server = serve(Path::new(data), &arguments, variables);
        assert!(server.greeting.contains(ACCOUNT), "{what}: {}", server.greeting);
        assert!(server.greeting.contains(data.as_str()), "{what}: {}", server.greeting);
        let list = async |account, token| {
            let client = Client::of(&server).with_credentials(account, token);
            client.send(Method::GET, "/v1/Services", &[]).await
        };
        let (status, services) = list(ACCOUNT, TOKEN).await;
        assert_eq!(status, 200, "{what}");
        assert!(services["meta"]["url"].as_str().unwrap().starts_with(url), "{what}: {services}");
        // The account file has the settings in force.
        assert_eq!((server.account.as_str(), server.token.as_str()), (ACCOUNT, TOKEN), "{what}");
        for (account, token) in [(ACCOUNT, other_token), (other_account, TOKEN)] {
            assert_eq!(list(account, token).await.0, 401, "{what}: {account}");
        }
        // The owner knows the token already.
        assert!(!server.greeting.contains(TOKEN), "{what}: {}", server.greeting);
        assert!(!stop(server).contains(TOKEN), "{what}");
        if data == &by_flag {
            assert!(!Path::new(&by_variable).exists(), "{what}");
        }
    }
}

#[test]
fn bad_settings_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |command: &mut Command, flag: &str| {
        let outcome = run(command.current_dir(directory.path()), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{command:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(flag), "{command:?}: {}", outcome.stderr);
    };
    for (variable, flag, _, bad) in SETTINGS {
        for value in *bad {
            let argument = format!("{flag}={value}");
            refused(&mut reachability(&[&argument]), flag);
            refused(&mut reachability(&["serve", &argument]), flag);
            refused(reachability(&[]).env(variable, value), flag);
            refused(reachability(&["serve"]).env(variable, value), flag);
        }
        refused(&mut reachability(&[flag]), flag);
        refused(&mut reachability(&[&format!("{flag}x"), "1"]), flag);
    }
    for arguments in [&["replay"] as &[&str], &["replay", "a", "b"], &["replay", "a", "--at", "noon"], &["nonsense"]] {
        refused(&mut reachability(arguments), "");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_negative_number_is_refused_by_name() {
    for flag in ["--grace-seconds", "--lease-seconds"] {
        for arguments in [&[flag, "-1"] as &[&str], &["serve", flag, "-1"], &["replay", "x", flag, "-1"]] {
            let outcome = run(&mut reachability(arguments), b"");
            assert_eq!(outcome.code, Some(2), "{arguments:?}");
            assert!(outcome.stderr.contains(flag), "{arguments:?}: {}", outcome.stderr);
        }
    }
}

#[test]
fn a_token_that_is_refused_is_not_shown() {
    for token in ["too-short", "with spaces in between", "schlüsselschlüssel"] {
        for (arguments, variable) in [(vec!["--auth-token", token], ""), (vec![], token), (vec!["replay", "x"], token)]
        {
            let mut command = reachability(&arguments);
            if !variable.is_empty() {
                command.env("REACHABILITY_AUTH_TOKEN", variable);
            }
            let outcome = run(&mut command, b"");
            assert!(!outcome.stderr.contains(token), "{}", outcome.stderr);
        }
    }
}

#[test]
fn variables_of_serve_do_not_affect_other_commands() {
    let directory = tempfile::tempdir().unwrap();
    let variables = SETTINGS.iter().map(|(variable, _, value, _)| (variable, value));
    let log = format!("{}\n", event("connect", "alice", "c-1", "10:00:00"));
    for (arguments, expected) in [
        (&["replay", "-"] as &[&str], "alice"),
        (&["--version"], "reachability "),
        (&["--help"], "REACHABILITY_LISTEN"),
        (&["replay", "--help"], "--at"),
    ] {
        let outcome =
            run(reachability(arguments).envs(variables.clone()).current_dir(directory.path()), log.as_bytes());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(outcome.stdout.contains(expected), "{arguments:?}: {}", outcome.stdout);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn help_shows_every_setting_and_no_secret() {
    for (arguments, words) in [
        (
            &["--help"] as &[&str],
            &["serve", "replay", "dead-letters", "backup", "check", "Usage:", "--version", "RUST_LOG"] as &[&str],
        ),
        (&["-h"], &["serve", "replay"]),
        (&["help"], &["serve", "replay"]),
        (&["serve", "--help"], &["127.0.0.1:8080", "./data", "10", "120", "24", "100000", "/v1/Services/{IS}/Changes"]),
        (&["help", "serve"], &[]),
        (&["replay", "--help"], &["FILE", "gzip", "--at", "--grace-seconds", "--lease-seconds", "RFC 3339"]),
    ] {
        let outcome = run(reachability(arguments).env("REACHABILITY_AUTH_TOKEN", TOKEN), b"");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let serve = SETTINGS.iter().flat_map(|(variable, flag, ..)| [*variable, *flag]);
        let of_serve = !arguments.contains(&"replay");
        for word in words.iter().copied().chain(serve.filter(|_| of_serve)) {
            assert!(outcome.stdout.contains(word), "{arguments:?} has no {word}: {}", outcome.stdout);
        }
        assert!(!outcome.stdout.contains(TOKEN), "{arguments:?}: {}", outcome.stdout);
    }
    let outcome = run(&mut reachability(&["--version"]), b"");
    assert_eq!((outcome.code, outcome.stdout.split_whitespace().count()), (Some(0), 2), "{outcome:?}");
}
