//! The vendor's signature of webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reachability_domain::secret::Secret;
use ring::hmac;

/// The value of `X-Twilio-Signature`: a hash of the URL as it is called and of the parameters in the body, with the account's
/// auth token as the key.
pub(super) fn sign(token: &Secret, url: &str, body: &[(&'static str, String)]) -> String {
    let mut sorted: Vec<_> = body.iter().collect();
    sorted.sort();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(url.as_bytes());
    for (name, value) in sorted {
        context.update(name.as_bytes());
        context.update(value.as_bytes());
    }
    STANDARD.encode(context.sign())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_vendor() {
        // The example in the vendor's documentation.
        let parameters = [
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Caller", "+14158675309"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        let parameters = parameters.map(|(name, value)| (name, value.to_owned()));
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(sign(&Secret::new("12345"), url, &parameters), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    #[test]
    fn names_that_differ_in_case_only_are_in_the_order_of_their_bytes() {
        let one = [("isOnline", "true".to_owned()), ("IsOnline", "true".to_owned())];
        let other = [("IsOnline", "true".to_owned()), ("isOnline", "true".to_owned())];
        let token = Secret::new("12345");
        assert_eq!(sign(&token, "https://a", &one), sign(&token, "https://a", &other));
        assert_eq!(sign(&token, "https://aIsOnlinetrueisOnlinetrue", &[]), sign(&token, "https://a", &one));
    }
}
