//! Keys as push providers give them out, for tests. The `openssl` command makes them when a test needs them, so that
//! the sources contain none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it runs in tests only")]

use std::io::Write;
use std::process::{Command, Stdio};

/// A P-256 key as PKCS #8 in PEM, such as Apple's `.p8` files.
pub fn p256() -> String {
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "")
}

/// An RSA key as PKCS #8 in PEM.
pub fn rsa() -> String {
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "")
}

/// A certificate of a key, valid for 30 days from now, with a subject such as `/UID=com.example.app`.
pub fn certificate(key: &str, subject: &str) -> String {
    openssl(&["req", "-x509", "-new", "-key", "/dev/stdin", "-days", "30", "-subj", subject], key)
}

/// The JSON of a service account with this key.
pub fn service_account(key: &str) -> String {
    serde_json::json!({
        "type": "service_account",
        "project_id": "example-1",
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": key,
        "client_email": "push@example-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
    .to_string()
}

/// Runs `openssl` with this input. Returns its output.
pub fn openssl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the openssl command can be run");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
