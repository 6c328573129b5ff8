//! How a client is set up.

use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;

/// How a client connects. [`Options::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address of the socket: `wss://host/v1/Socket`, or `ws://host:port/v1/Socket`.
    pub url: String,
    /// Where its access tokens come from.
    pub token: TokenProvider,
    /// What it says of its user.
    pub user: ConnectUser,
    /// The name of the device, shown to the owner; at most 64 bytes.
    pub device: Option<String>,
    /// How it comes back when it loses its connection; `None`: it does not.
    pub reconnect: Option<Backoff>,
    /// How long it waits for a connection, an answer, or a token.
    pub request_timeout: Duration,
    /// How many events a reader may be behind, at least 1. Their memory is taken at the start, about 60 bytes each.
    pub event_capacity: usize,
}

impl Options {
    /// With this address and this token.
    pub fn new(url: impl Into<String>, token: impl Into<TokenProvider>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            user: ConnectUser::default(),
            device: None,
            reconnect: Some(Backoff::default()),
            request_timeout: Duration::from_secs(15),
            event_capacity: 256,
        }
    }
}

/// What a client says of its user when it first connects.
#[derive(Debug, Clone, Default)]
pub struct ConnectUser {
    /// Who it has to be; the token says who it is. `None`: whoever it is.
    pub id: Option<String>,
    /// What it says it is doing, at most 256 bytes. `None` leaves it as it is, an empty one clears it.
    pub status: Option<String>,
    /// Whether it appears offline to others. `None` leaves it as it is.
    pub invisible: Option<bool>,
}

/// What to change of the own user.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// What it says it is doing, at most 256 bytes. `None` leaves it as it is, an empty one clears it.
    pub status: Option<String>,
    /// Whether it appears offline to others. `None` leaves it as it is.
    pub invisible: Option<bool>,
}

/// How a query is answered.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// Whether to watch who is found.
    pub presence: bool,
    /// How many to find at most; `None`: as many as the server does by default.
    pub limit: Option<u32>,
    /// Where to go on: the cursor of the page before.
    pub cursor: Option<String>,
}

/// How long a client waits before it comes back: a random time up to `first`, doubled with each attempt that fails, up to
/// `most`. A connection that lasted less than `most` counts as an attempt that failed, unless the server stopped.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The most it waits before the first attempt.
    pub first: Duration,
    /// The most it ever waits, unless the server wants more.
    pub most: Duration,
}

impl Default for Backoff {
    /// One second, up to 15: a server that was restarted shows who is not back after 30 seconds as offline, and may refuse an
    /// attempt while everybody comes back at once.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(15) }
    }
}

impl Backoff {
    /// How long to wait after so many failed attempts.
    pub(crate) fn delay(&self, failed: u32) -> Duration {
        let most = self.first.saturating_mul(1_u32.checked_shl(failed).unwrap_or(u32::MAX)).min(self.most);
        most.mul_f64(fastrand::f64())
    }
}

/// What an application's token function fails with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A token that is on its way.
pub(crate) type TokenFuture = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// Where access tokens come from.
#[derive(Clone)]
pub struct TokenProvider(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<str>),
    Asked(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenProvider {
    /// From this function, which is called for the first token, when one is about to expire, and when the server refuses one.
    /// A token that was just fetched and is refused ends the client.
    pub fn new<F, Fut, E>(fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Source::Asked(Arc::new(move || {
            let token = fetch();
            Box::pin(async move { token.await.map_err(|error| Error::Token(error.into())) })
        })))
    }

    /// Whether there can be another token than the first.
    pub(crate) fn is_renewable(&self) -> bool {
        matches!(self.0, Source::Asked(_))
    }

    /// A token.
    pub(crate) async fn fetch(&self) -> Result<String, Error> {
        match &self.0 {
            Source::Fixed(token) => Ok(token.to_string()),
            Source::Asked(fetch) => fetch().await,
        }
    }
}

/// Always this token: the client ends when it expires.
impl From<String> for TokenProvider {
    fn from(token: String) -> Self {
        Self(Source::Fixed(token.into()))
    }
}

/// Always this token: the client ends when it expires.
impl From<&str> for TokenProvider {
    fn from(token: &str) -> Self {
        Self(Source::Fixed(token.into()))
    }
}

/// Without the token, which is secret.
impl Debug for TokenProvider {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProvider")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_most_and_is_random_all_the_way_down() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(30) };
        for (failed, most) in [(0, 1), (1, 2), (4, 16), (5, 30), (6, 30), (31, 30), (32, 30), (u32::MAX, 30)] {
            let delays: Vec<Duration> = (0..1_000).map(|_| backoff.delay(failed)).collect();
            let most = Duration::from_secs(most);
            assert!(delays.iter().all(|&delay| delay <= most), "{failed}");
            assert!(delays.iter().any(|&delay| delay < most / 4), "{failed}");
            assert!(delays.iter().any(|&delay| delay > most * 3 / 4), "{failed}");
        }
    }

    #[test]
    fn no_token_is_in_what_is_printed() {
        let options = Options::new("ws://localhost", "a.secret.token");
        assert!(!format!("{options:?}").contains("secret"));
    }
}
