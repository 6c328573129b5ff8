//! The URLs in answers.

use reachability_tests::client::{Client, answer_to};
use reachability_tests::server::Server;
use reqwest::Method;
use serde_json::Value;

use super::stop;

/// Every URL in an answer.
fn urls(answer: &Value) -> Vec<&str> {
    match answer {
        Value::String(text) if text.contains("://") => vec![text],
        Value::Array(items) => items.iter().flat_map(urls).collect(),
        Value::Object(members) => members.values().flat_map(urls).collect(),
        _ => vec![],
    }
}

#[tokio::test]
async fn urls_begin_with_the_address_that_the_client_used() {
    let behind_proxy = [("host", "inner.test"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer.test")];
    for (public_url, headers, expected) in [
        ("", &[] as &[_], ""),
        ("", &[("host", "chat.test")], "http://chat.test/v"),
        ("", &[("host", "chat.test:8080")], "http://chat.test:8080/v"),
        ("", &[("host", "chat.test"), ("x-forwarded-proto", "https")], "https://chat.test/v"),
        ("", &[("host", "chat.test"), ("x-forwarded-proto", "gopher")], "http://chat.test/v"),
        ("", &behind_proxy, "https://outer.test/v"),
        ("", &[("x-forwarded-host", "first.test, second.test")], "http://first.test/v"),
        ("", &[("host", "chat.test"), ("x-forwarded-proto", "https, http")], "https://chat.test/v"),
        ("https://public.test", &behind_proxy, "https://public.test/v"),
        ("https://public.test/", &[], "https://public.test/v"),
        ("http://public.test:8080/base", &[], "http://public.test:8080/base/v"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start_with(directory.path(), &[], |command| {
            if !public_url.is_empty() {
                command.env("REACHABILITY_PUBLIC_URL", public_url);
            }
        });
        let own = format!("{}/v", server.url);
        let expected = if expected.is_empty() { &own } else { expected };
        let client = Client::of(&server);
        let service = client.enabled_service().await;
        client.enabled_service().await;
        for (path, count) in [
            ("/v1/Services?PageSize=1", 11),
            ("/v2/Services?PageSize=1", 8),
            (&format!("/v1/Services/{service}"), 8),
            (&format!("/v1/Services/{service}/Configuration"), 3),
            (&format!("/v1/Services/{service}/Configuration/Webhooks"), 1),
            ("/v1/Configuration", 3),
            ("/v1/Users", 2),
        ] {
            let request = client.request(Method::GET, path);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let (status, answer) = answer_to(request).await.unwrap();
            assert_eq!(status, 200, "{path}");
            let urls = urls(&answer);
            assert!(urls.len() >= count, "{path}: {urls:?}");
            for url in urls {
                assert!(url.starts_with(expected), "{path}: {url} does not begin with {expected}");
            }
        }
        stop(server);
    }
}
