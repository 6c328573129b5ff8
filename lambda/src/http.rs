//! A function behind API Gateway, with the same router as the single process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::response::Response;
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt, service_fn};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::push::message::PushMessage;
use reachability_functions::Source;
use reachability_functions::app::{App, Ports, Settings};
use reachability_infra::credentials::seal::Seal;
use reachability_infra::credentials::vault::SealingVault;
use reachability_infra::dynamodb::DynamoStore;
use reachability_infra::ids::Uuids;
use reachability_infra::services::SharedServices;
use reachability_infra::sqs::SqsQueue;
use reachability_infra::{aws, clock, environment, secrets_manager};
use tower::ServiceExt;

use crate::logs;
use crate::token::Tokens;

/// Internal header with the stage prefix of the URLs that clients use.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Characters that a URI's path must not contain. A path as sent has none of them; one that a gateway has decoded may.
const NOT_IN_PATHS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

/// Runs a function that serves these routes.
///
/// # Errors
/// If a setting is missing, or the auth tokens or the credentials key cannot be read.
pub async fn run(router: fn(App) -> Router) -> Result<(), lambda_runtime::Error> {
    logs::start();
    let config = aws::config().await;
    let store = aws_sdk_dynamodb::Client::new(&config);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let seal = match environment::optional("REACHABILITY_CREDENTIALS_KEY_SECRET") {
        Some(id) => Some(Arc::new(Seal::new(&secrets_manager::read(&secrets, &id).await?))),
        None => None,
    };
    let tokens = Tokens::read(secrets, environment::text("REACHABILITY_AUTH_TOKEN_SECRET")?, clock::now).await?;
    let store = Arc::new(DynamoStore::new(store, environment::text("REACHABILITY_TABLE")?));
    let sqs = aws_sdk_sqs::Client::new(&config);
    // Not every function sends to every queue.
    let url = |name| environment::optional(name).unwrap_or_default();
    let events: Arc<SqsQueue<PresenceMessage>> =
        Arc::new(SqsQueue::new(sqs.clone(), url("REACHABILITY_QUEUE_URL"), clock::now));
    let pushes: Arc<SqsQueue<PushMessage>> =
        Arc::new(SqsQueue::new(sqs, url("REACHABILITY_PUSH_QUEUE_URL"), clock::now));
    let services = Arc::new(SharedServices::new(store.clone(), events.clone(), clock::now));
    let applications = environment::optional("REACHABILITY_PLATFORM_APPLICATIONS").unwrap_or_default();
    let vault = Arc::new(SealingVault::new(seal).with_platform_applications(&applications));
    let ports = Ports { services, ..Ports::of(store, events, pushes, vault, Arc::new(Uuids)) };
    let settings = Settings {
        account_sid: environment::parsed("REACHABILITY_ACCOUNT_SID")?,
        auth_tokens: tokens.subscribe(),
        public_url: environment::optional("REACHABILITY_PUBLIC_URL").map(|url| url.trim_end_matches('/').to_owned()),
        // Each instance would count for itself. API Gateway limits requests, and AWS WAF those of one address.
        failed_authentications_per_minute: None,
        // Sockets are those of an owner's gateway, which have leases.
        lost_within: Duration::ZERO,
        clock: clock::now,
    };
    let app = App::new(ports, settings);
    let router = router(app);
    lambda_http::run(service_fn(async |request: lambda_http::Request| {
        tokens.refresh().await;
        let Ok(response): Result<Response, _> = router.clone().oneshot(as_sent(request)).await;
        Ok::<_, lambda_runtime::Error>(response)
    }))
    .await
}

/// Rebuilds the request as its client sent it. API Gateway serves the API below a stage. The stage is not in the path
/// that the function gets, but it belongs in the URLs that clients get.
fn as_sent(request: lambda_http::Request) -> Request {
    let raw_path = request.raw_http_path();
    let (prefix, address) = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => {
            let prefix = context.path.as_deref().and_then(|path| path.strip_suffix(raw_path)).unwrap_or_default();
            (prefix.to_owned(), context.identity.source_ip.as_deref().and_then(|address| address.parse().ok()))
        }
        _ => (String::new(), None),
    };
    let path: String = utf8_percent_encode(raw_path, NOT_IN_PATHS).collect();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let (mut parts, body) = request.into_parts();
    // An invalid URI matches no route.
    parts.uri = format!("{path}{query}").parse().unwrap_or(Uri::from_static("/"));
    if let Some(address) = address {
        parts.extensions.insert(Source::new(address, Arc::default()));
    }
    // A client must not set the prefix itself.
    parts.headers.remove(&PREFIX);
    parts.headers.remove("x-forwarded-host");
    if let Ok(prefix) = HeaderValue::try_from(prefix)
        && !prefix.is_empty()
    {
        parts.headers.insert(PREFIX, prefix);
    }
    Request::from_parts(parts, Body::from(body.to_vec()))
}

#[cfg(test)]
mod tests {
    use lambda_http::request::from_str;
    use serde_json::json;

    use super::*;

    /// A request as API Gateway's REST API delivers it.
    fn request(path: &str, context_path: &str) -> Request {
        let event = json!({
            "resource": "/{proxy+}", "path": path, "httpMethod": "GET", "body": "ü", "isBase64Encoded": false,
            "headers": { "Host": "id.execute-api.eu-west-1.amazonaws.com", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil" },
            "multiValueHeaders": { "Host": ["id.execute-api.eu-west-1.amazonaws.com"], "X-Forwarded-Host": ["evil.example"], "X-Forwarded-Prefix": ["/evil"] },
            "queryStringParameters": { "PageToken": "a b" }, "multiValueQueryStringParameters": { "PageToken": ["a b"] },
            "pathParameters": {}, "stageVariables": null,
            "requestContext": {
                "identity": { "sourceIp": "192.0.2.1" }, "path": context_path, "stage": "api", "httpMethod": "GET",
                "resourcePath": "/{proxy+}",
            },
        });
        as_sent(from_str(&event.to_string()).unwrap())
    }

    fn prefix(request: &Request) -> Option<&str> {
        request.headers().get(PREFIX).map(|prefix| prefix.to_str().unwrap())
    }

    #[test]
    fn a_path_is_restored_as_sent() {
        for path in
            ["/v1/Users/x%2Fy", "/v1/Users/a%20b", "/v1/Users/p+q", "/v1/Users/%C3%BC", "/v1/Users/%2E%2E/x", "/"]
        {
            let request = request(path, &format!("/api{path}"));
            assert_eq!(request.uri().path(), path);
            assert_eq!(request.uri().query(), Some("PageToken=a+b"));
            assert_eq!(prefix(&request), Some("/api"));
        }
        // A gateway that decoded the path.
        let request = request("/v1/Users/a b/ü?#", "/api/v1/Users/a b/ü?#");
        assert_eq!(request.uri().path(), "/v1/Users/a%20b/%C3%BC%3F%23");
    }

    #[test]
    fn the_address_is_that_which_the_gateway_saw() {
        let request = request("/v1/Users", "/api/v1/Users");
        let source = request.extensions().get::<Source>().map(|source| format!("{source:?}"));
        assert!(source.is_some_and(|source| source.contains("192.0.2.1")));
    }

    #[test]
    fn a_client_cannot_set_the_prefix() {
        let behind_a_domain_name = request("/v1/Users", "/v1/Users");
        assert_eq!(prefix(&behind_a_domain_name), None);
        assert!(!behind_a_domain_name.headers().contains_key("x-forwarded-host"));
    }
}
