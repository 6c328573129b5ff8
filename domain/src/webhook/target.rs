//! Where a webhook is sent.

use crate::directory::service::{WebhookEvent, WebhookMethod, Webhooks};

/// Where a webhook is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookTarget {
    /// The URL, as the owner wrote it.
    pub url: String,
    /// The method.
    pub method: WebhookMethod,
}

impl WebhookTarget {
    /// Where an event is sent: to the service's URL if it has one, or else to the account's, each with the method and the
    /// filters that were set with it. `None` if there is no URL, or if the filters do not name the event: like the vendor,
    /// without filters nothing is sent.
    pub fn of(service: &Webhooks, account: &Webhooks, event: WebhookEvent) -> Option<Self> {
        let webhooks = if service.post_webhook_url.is_some() { service } else { account };
        let url = webhooks.post_webhook_url.clone()?;
        let is_asked_for = webhooks.filters.iter().flatten().any(|name| name == event.name());
        is_asked_for.then(|| Self { url, method: webhooks.method.unwrap_or(WebhookMethod::Post) })
    }

    /// The URL's host and port, for the log: the rest of the URL may be secret.
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(url: Option<&str>, filters: Option<&[&str]>, method: Option<WebhookMethod>) -> Webhooks {
        Webhooks {
            pre_webhook_url: Some("https://pre.example.com".to_owned()),
            post_webhook_url: url.map(str::to_owned),
            filters: filters.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            method,
        }
    }

    #[test]
    fn only_the_host_of_a_url_is_shown() {
        for (url, host) in [
            ("https://example.com", "example.com"),
            ("https://me:secret@example.com:8443/secret?a=b", "example.com:8443"),
            ("http://[::1]:80?secret", "[::1]:80"),
            ("https://example.com#secret@x", "example.com"),
            ("https://a@b@example.com/@", "example.com"),
        ] {
            assert_eq!(WebhookTarget { url: url.to_owned(), method: WebhookMethod::Get }.host(), host);
        }
    }

    #[test]
    fn the_url_of_the_service_replaces_that_of_the_account() {
        use WebhookMethod::{Get, Post};
        const BOTH: Option<&[&str]> = Some(&["onUserAdded", "onUserUpdated"]);
        const ADDED: Option<&[&str]> = Some(&["onMessageAdded", "onUserAdded"]);
        let none = webhooks(None, None, None);
        let service = |filters, method| webhooks(Some("https://service"), filters, method);
        let account = |filters, method| webhooks(Some("https://account"), filters, method);
        for (service, account, added, updated) in [
            (none.clone(), none.clone(), None, None),
            (service(BOTH, None), none.clone(), Some(("https://service", Post)), Some(("https://service", Post))),
            (service(ADDED, Some(Get)), account(BOTH, None), Some(("https://service", Get)), None),
            (none.clone(), account(ADDED, Some(Get)), Some(("https://account", Get)), None),
            // Without a URL, the rest of the service's settings say nothing.
            (webhooks(None, BOTH, Some(Get)), account(ADDED, None), Some(("https://account", Post)), None),
            (service(None, None), account(BOTH, None), None, None),
            (service(Some(&[]), None), none.clone(), None, None),
            (service(Some(&["onuseradded"]), None), none, None, None),
        ] {
            for (event, expected) in [(WebhookEvent::UserAdded, added), (WebhookEvent::UserUpdated, updated)] {
                let expected = expected.map(|(url, method)| WebhookTarget { url: url.to_owned(), method });
                assert_eq!(WebhookTarget::of(&service, &account, event), expected, "{service:?} {account:?}");
            }
        }
    }
}
