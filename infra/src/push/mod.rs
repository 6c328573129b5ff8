//! Push providers: APNs and FCM over HTTP/2, and SNS platform applications. [`providers`] combines them.

pub mod apns;
pub mod fcm;
pub mod http;
pub mod jwt;
#[cfg(feature = "aws")]
pub mod platform_applications;
pub mod providers;

use std::time::{Duration, UNIX_EPOCH};

use ::http::Uri;
use ::http::header::{HeaderMap, RETRY_AFTER};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::push::outcome::{PushOutcome, Trouble};
use reachability_domain::push::reason::Reason;
use reachability_domain::time::Timestamp;

use self::http::HttpError;

/// The longest pause that a provider can ask for. A longer one is treated as an error and shortened.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// The minimum age of a rejected token before it is renewed. A younger one was not rejected for its age.
const MIN_REFUSED_AGE: Duration = Duration::from_secs(60);

/// How far the clock may be set back before an existing token counts as issued in the future and is replaced.
const CLOCK_STEP: Duration = Duration::from_secs(60);

/// Maximum length of a failure's cause in the log, in characters: a certificate may have many names.
const MAX_CAUSE: usize = 500;

/// URLs of the providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderUrls {
    /// APNs, for released apps.
    pub apns: String,
    /// APNs, for apps in development.
    pub apns_sandbox: String,
    /// FCM.
    pub fcm: String,
    /// Google's endpoint for access tokens.
    pub fcm_token: String,
}

impl Default for ProviderUrls {
    fn default() -> Self {
        Self {
            apns: "https://api.push.apple.com".to_owned(),
            apns_sandbox: "https://api.sandbox.push.apple.com".to_owned(),
            fcm: "https://fcm.googleapis.com".to_owned(),
            fcm_token: "https://oauth2.googleapis.com/token".to_owned(),
        }
    }
}

#[cfg(feature = "aws")]
impl ProviderUrls {
    /// The real URLs, or those in a function's environment: for a proxy, or another port.
    pub fn from_environment() -> Self {
        use crate::environment::optional;
        let real = Self::default();
        Self {
            apns: optional("REACHABILITY_APNS_URL").unwrap_or(real.apns),
            apns_sandbox: optional("REACHABILITY_APNS_SANDBOX_URL").unwrap_or(real.apns_sandbox),
            fcm: optional("REACHABILITY_FCM_URL").unwrap_or(real.fcm),
            fcm_token: optional("REACHABILITY_FCM_TOKEN_URL").unwrap_or(real.fcm_token),
        }
    }
}

/// Why a provider's client cannot be created. Never contains secrets.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key is unusable.
    #[error(transparent)]
    Key(#[from] jwt::InvalidKey),
    /// A certificate or the root certificates are unusable.
    #[error(transparent)]
    Tls(#[from] http::TlsError),
    /// The bundle id is not printable ASCII.
    #[error("not an app's bundle id")]
    Topic,
    /// The project's id has other characters than letters, digits and a few signs.
    #[error("not a project's id")]
    ProjectId,
    /// The URL is malformed.
    #[error("not the URL of a provider")]
    Url(#[source] ::http::uri::InvalidUri),
}

/// The outcome of a request without a response. Only the URL's host is logged: the path may contain a device token.
fn no_answer(uri: &Uri, error: &HttpError) -> PushOutcome {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    unreachable(error.reason(), error.trouble(), format!("{host}: {}", ErrorChain(error)))
}

/// The outcome for an unreachable provider, with a reason and details for the log.
fn unreachable(reason: &str, trouble: Trouble, cause: String) -> PushOutcome {
    let cause = cause.chars().take(MAX_CAUSE).collect::<String>();
    PushOutcome::Unavailable { reason: Reason::new(reason), trouble, retry_after: None, cause: Some(cause.into()) }
}

/// The pause that a response asks for, in seconds or until a date; no longer than the longest. `None` if it asks for none, or
/// the value is invalid.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp, longest: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Timestamp::from_millis(0).plus(since_epoch).since(now)
        }
    };
    Some(asked.min(longest))
}

/// Whole seconds since the epoch.
fn seconds(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        for (text, pause) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86400", Some(900)),
            ("18446744073709551615", Some(900)),
            ("Fri, 20 Nov 2026 10:00:30 GMT", Some(30)),
            ("Friday, 20-Nov-26 10:00:30 GMT", Some(30)),
            ("Fri, 20 Nov 2026 09:00:00 GMT", Some(0)),
            ("Fri, 20 Nov 2099 10:00:00 GMT", Some(900)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now, MAX_RETRY_AFTER), pause.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now, MAX_RETRY_AFTER), None);
    }
}
