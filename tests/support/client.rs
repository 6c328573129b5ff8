//! A well-behaved HTTP client of an API. For requests that an HTTP library refuses to send, or that depend on what
//! exactly happens on the connection, there is [`crate::raw`].

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::server::{PATIENCE, Server};

/// How long a request to a deployment may take, which may have to start a function first.
const PATIENCE_WITH_DEPLOYMENTS: Duration = Duration::from_secs(300);

/// Sends requests with the credentials of the account's owner, or with those of somebody else.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    name: String,
    password: String,
    http: reqwest::Client,
}

impl Client {
    /// Of this server, as its owner.
    pub fn of(server: &Server) -> Self {
        Self::with(&server.url, &server.account, &server.token, PATIENCE)
    }

    /// Of the API at this URL, as its owner.
    pub fn new(url: &str, account: &str, token: &str) -> Self {
        Self::with(url, account, token, PATIENCE_WITH_DEPLOYMENTS)
    }

    fn with(url: &str, name: &str, password: &str, patience: Duration) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(patience).build().unwrap();
        Self { url: url.to_owned(), name: name.to_owned(), password: password.to_owned(), http }
    }

    /// Of the same API, with other credentials.
    pub fn with_credentials(&self, name: &str, password: &str) -> Self {
        Self { name: name.to_owned(), password: password.to_owned(), ..self.clone() }
    }

    /// A request for a path or an absolute URL, with the credentials.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        self.http.request(method, url).basic_auth(&self.name, Some(&self.password))
    }

    /// Sends a request with this method, and with this form if it is a `POST`. Returns the status and the body.
    pub async fn send(&self, method: Method, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let request = self.request(method.clone(), path);
        answer_to(if method == Method::POST { request.form(form) } else { request }).await.expect("an answer")
    }

    /// Posts a body, which must be accepted. `None` if no answer came.
    pub async fn try_post(&self, path: &str, body: String) -> Option<Value> {
        let (status, answer) = self.answer(path, body).await?;
        assert!((200..300).contains(&status), "{path}: {status}, {answer}");
        Some(answer)
    }

    /// Posts a body. Returns the status and the body of the answer; `None` if none came.
    pub async fn answer(&self, path: &str, body: String) -> Option<(u16, Value)> {
        let request = self.request(Method::POST, path);
        answer_to(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    /// Posts a body, which must be answered and accepted.
    pub async fn post(&self, path: &str, body: impl Into<String>) -> Value {
        self.try_post(path, body.into()).await.expect("an answer")
    }

    /// Gets a path, or an absolute URL.
    pub async fn get(&self, path: &str) -> Value {
        self.request(Method::GET, path).send().await.unwrap().json().await.unwrap()
    }

    /// Deletes what is at a path.
    pub async fn delete(&self, path: &str) {
        assert_eq!(self.request(Method::DELETE, path).send().await.unwrap().status(), 204, "{path}");
    }

    /// Creates a service and switches its reachability on. Returns its sid.
    pub async fn enabled_service(&self) -> String {
        let (status, service) = self.send(Method::POST, "/v1/Services", &[("FriendlyName", "test")]).await;
        assert_eq!(status, 201, "{service}");
        let sid = service["sid"].as_str().unwrap().to_owned();
        let configuration = self.post(&format!("/v1/Services/{sid}/Configuration"), "ReachabilityEnabled=true").await;
        assert_eq!(configuration["reachability_enabled"], true);
        sid
    }

    /// Who is online in a service, by the list that shows it.
    pub async fn everybody(&self, service: &str) -> BTreeMap<String, Option<bool>> {
        let mut everybody = BTreeMap::new();
        let mut url = Value::from(format!("/v1/Services/{service}/Users?Reachability=true"));
        while let Some(next) = url.as_str() {
            let page = self.get(next).await;
            for user in page["users"].as_array().unwrap() {
                everybody.insert(user["identity"].as_str().unwrap().to_owned(), user["is_online"].as_bool());
            }
            url = page["meta"]["next_page_url"].clone();
        }
        everybody
    }
}

/// Sends a request. Returns the status and the body, which is JSON or empty; `None` if no answer came.
pub async fn answer_to(request: RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let body = answer.text().await.ok()?;
    let json = |body: &str| serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {status} {body:?}"));
    Some((status, if body.is_empty() { Value::Null } else { json(&body) }))
}
