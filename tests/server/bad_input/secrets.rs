//! No request makes the server show a secret.

use reachability_tests::raw::{CLOSE, Connection, FORM, basic, encode, request};
use reachability_tests::server::Server;

use super::{Material, material};

/// With a device's token anyone can reach the device, and with a credential's key anyone can act as the app's owner.
#[test]
fn secrets_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let owner = basic(&server.account, &server.token);
    let mut answers = server.greeting.clone();
    let token = "0123456789abcdef".repeat(4);
    // A registration's answer repeats the token, as the vendor's does, and nothing else shows it.
    let (echo, mut echoes) = (format!("\"address\":\"{token}\""), 0);
    let mut ask = |method: &str, path: &str, form: &str| {
        let mut connection = Connection::open(&address);
        connection.send(request(method, path, &[&owner, FORM, CLOSE], form.as_bytes()));
        let answer = connection.receive(method).unwrap();
        let is_registration = method == "POST" && path.ends_with("/Bindings");
        let shown = if is_registration { answer.body.replacen(&echo, "", 1) } else { answer.body.clone() };
        echoes += usize::from(shown != answer.body);
        answers += &shown;
        answer.json()["sid"].as_str().unwrap_or_default().to_owned()
    };
    let Material { key, certificate, service_account } = material();
    let service = ask("POST", "/v1/Services", "FriendlyName=x");
    let bindings = format!("/v1/Services/{service}/Bindings");
    for (form, other_form) in [
        (format!("Type=fcm&Secret={}", encode(service_account)), format!("ApiKey={}", encode(key))),
        (
            format!("Type=apn&Certificate={}&PrivateKey={}", encode(certificate), encode(key)),
            format!("Certificate={}&PrivateKey={}", encode(key), encode(service_account)),
        ),
    ] {
        // Nothing is sent to a provider either.
        let sid = ask("POST", "/v1/Credentials", &format!("{form}&RegistrationCheck=none"));
        assert!(sid.starts_with("CR"), "{sid}");
        ask("POST", &format!("/v1/Credentials/{sid}"), &form);
        ask("POST", &format!("/v2/Credentials/{sid}"), &other_form);
        ask("GET", &format!("/v2/Credentials/{sid}"), "");
    }
    for path in ["/v1/Credentials", "/v2/Credentials", &bindings] {
        ask("GET", path, "");
    }
    for kind in ["apn", "fcm"] {
        let sid = ask("POST", &bindings, &format!("Identity=alice&BindingType={kind}&Address={token}"));
        ask("GET", &format!("{bindings}/{sid}"), "");
        ask("POST", &bindings, &format!("Identity=alice&BindingType={kind}&Address={token}%20x"));
    }
    ask("GET", &bindings, "");
    assert_eq!(echoes, 2);
    let (_, logs) = server.stop();
    let sealing = std::fs::read_to_string(directory.path().join("credentials.key")).unwrap();
    assert_eq!(sealing.trim_end().len(), 64);
    let secret_lines = key.lines().chain(service_account.split("\\n")).filter(|line| line.len() == 64);
    let secret_lines: Vec<&str> = secret_lines.chain([sealing.trim_end(), &token, "PRIVATE KEY"]).collect();
    assert!(secret_lines.len() > 20, "{}", secret_lines.len());
    for secret in secret_lines {
        assert!(!answers.contains(secret) && !logs.contains(secret), "{secret}");
    }
    // The stored secrets cannot be read either.
    let stored = ["reachability.db", "reachability.db-wal"].map(|name| std::fs::read(directory.path().join(name)));
    for bytes in stored.into_iter().flatten() {
        assert!(!bytes.windows(11).any(|text| text == b"PRIVATE KEY"));
    }
}
