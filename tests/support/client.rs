//! An HTTP client of a server.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::server::Server;

/// Speaks to a server as its owner.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    account: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    /// Of this server.
    pub fn of(server: &Server) -> Self {
        Self::new(&server.url, &server.account, &server.token)
    }

    /// Of the API at this URL.
    pub fn new(url: &str, account: &str, token: &str) -> Self {
        Self { url: url.to_owned(), account: account.to_owned(), token: token.to_owned(), http: reqwest::Client::new() }
    }

    /// Posts a body, which must be welcome. `None` if no answer came.
    pub async fn try_post(&self, path: &str, body: String) -> Option<Value> {
        let (status, answer) = self.answer(path, body).await?;
        assert!((200..300).contains(&status), "{path}: {status}, {answer}");
        Some(answer)
    }

    /// Posts a body. Returns the status and the body of the answer; `None` if none came.
    pub async fn answer(&self, path: &str, body: String) -> Option<(u16, Value)> {
        let request = self.http.post(format!("{}{path}", self.url)).basic_auth(&self.account, Some(&self.token));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// Posts a body, to which an answer must come.
    pub async fn post(&self, path: &str, body: impl Into<String>) -> Value {
        self.try_post(path, body.into()).await.expect("an answer")
    }

    /// Gets a path, or an absolute URL.
    pub async fn get(&self, path: &str) -> Value {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        let request = self.http.get(url).basic_auth(&self.account, Some(&self.token));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Deletes what is at a path.
    pub async fn delete(&self, path: &str) {
        let request = self.http.delete(format!("{}{path}", self.url)).basic_auth(&self.account, Some(&self.token));
        assert_eq!(request.send().await.unwrap().status(), 204, "{path}");
    }

    /// Makes a service and switches its reachability on. Returns its sid.
    pub async fn enabled_service(&self) -> String {
        let service = self.post("/v1/Services", "FriendlyName=test").await;
        let sid = service["sid"].as_str().unwrap().to_owned();
        self.post(&format!("/v1/Services/{sid}/Configuration"), "ReachabilityEnabled=true").await;
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
