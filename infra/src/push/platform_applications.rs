//! SNS platform applications: APNs and FCM, with secrets and feedback managed by AWS.
//!
//! Each device is an SNS endpoint. SNS disables it when the provider reports a dead token. The endpoint's user data
//! names the binding and its registration time. So an endpoint that was disabled under an earlier registration is
//! enabled again, and one that was disabled since then is not.

use std::error::Error;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sns::types::MessageAttributeValue;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::credential::{Credential, Method};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::outcome::{Fault, PushOutcome, Trouble};
use reachability_domain::push::payload::{Push, PushKind};
use reachability_domain::push::provider::{PushProvider, Unreachable};
use reachability_domain::sid::{BindingSid, ServiceSid};
use reachability_domain::time::Timestamp;
use serde_json::json;

use super::http::tls_reason;
use super::{apns, fcm, unreachable};

/// The platform applications of an AWS account.
#[derive(Debug, Clone)]
pub struct PlatformApplications {
    client: Client,
    clock: fn() -> Timestamp,
}

/// An SNS endpoint.
struct Endpoint {
    arn: String,
    is_enabled: bool,
}

impl PlatformApplications {
    /// Uses the platform applications that this client has access to.
    pub fn new(client: Client, clock: fn() -> Timestamp) -> Self {
        Self { client, clock }
    }

    /// The endpoint of a device. Creates it, or takes it over from an earlier registration.
    async fn endpoint(&self, application: &str, device: &Binding) -> Result<Endpoint, PushOutcome> {
        let mark = mark(device);
        let token = device.address.as_str();
        let request = self.client.create_platform_endpoint().platform_application_arn(application);
        let arn = match request.token(token).custom_user_data(&mark).send().await {
            Ok(created) => created.endpoint_arn.ok_or_else(|| PushOutcome::unavailable("NoEndpoint", None))?,
            Err(error) => existing_endpoint(error.message()).ok_or_else(|| refused(&error))?,
        };
        let attributes = self.client.get_endpoint_attributes().endpoint_arn(&arn).send().await;
        let attributes = attributes.map_err(|error| of_endpoint(refused(&error)))?.attributes.unwrap_or_default();
        let is = |name: &str, value: &str| attributes.get(name).is_some_and(|known| known == value);
        if is("CustomUserData", &mark) && is("Token", token) {
            return Ok(Endpoint { arn, is_enabled: !is("Enabled", "false") });
        }
        // The endpoint belongs to another registration, so its disabled state no longer applies.
        let request = self.client.set_endpoint_attributes().endpoint_arn(&arn).attributes("Token", token);
        let request = request.attributes("CustomUserData", mark).attributes("Enabled", "true");
        request.send().await.map_err(|error| of_endpoint(refused(&error)))?;
        Ok(Endpoint { arn, is_enabled: true })
    }

    async fn publish(&self, application: &str, endpoint: &str, push: &Push) -> PushOutcome {
        let platform = platform(application);
        let message = match message(platform, push, (self.clock)()) {
            Ok(message) => message,
            Err(outcome) => return outcome,
        };
        let mut request = self.client.publish().target_arn(endpoint).message_structure("json").message(message);
        for (name, value) in attributes(platform, push, (self.clock)()) {
            let attribute = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            match attribute {
                Ok(attribute) => request = request.message_attributes(name, attribute),
                Err(_) => return PushOutcome::rejected("BadMessage", Fault::Push),
            }
        }
        match request.send().await {
            Ok(published) => PushOutcome::Accepted { id: published.message_id },
            Err(error) => refused(&error),
        }
    }
}

#[async_trait]
impl PushProvider for PlatformApplications {
    async fn push(&self, credential: &Credential, device: &Binding, push: &Push) -> PushOutcome {
        let Method::PlatformApplication { arn } = &credential.method else {
            return PushOutcome::rejected("NoPlatformApplication", Fault::Credential);
        };
        match self.endpoint(arn, device).await {
            Err(outcome) => outcome.of_preparation(),
            Ok(endpoint) if !endpoint.is_enabled => disabled(),
            Ok(_) if push.kind == PushKind::DryRun => PushOutcome::Accepted { id: None },
            Ok(endpoint) => self.publish(arn, &endpoint.arn, push).await,
        }
    }

    /// The caller keeps the outages.
    fn outage(&self, _: &Credential) -> Option<Outage> {
        None
    }

    async fn binding_at(&self, endpoint: &str) -> Result<Option<(ServiceSid, BindingSid)>, Unreachable> {
        match self.client.get_endpoint_attributes().endpoint_arn(endpoint).send().await {
            Ok(answer) => {
                let attributes = answer.attributes.unwrap_or_default();
                Ok(attributes.get("CustomUserData").and_then(|mark| read_mark(mark)))
            }
            // Not an endpoint, or deleted.
            Err(error) if matches!(error.code(), Some("NotFound" | "InvalidParameter")) => Ok(None),
            Err(error) => Err(Unreachable(error.into())),
        }
    }
}

/// The endpoint's user data: the binding and its registration time.
fn mark(device: &Binding) -> String {
    format!("{} {} {}", device.service_sid, device.sid, device.registered_at.as_millis())
}

fn read_mark(mark: &str) -> Option<(ServiceSid, BindingSid)> {
    let mut words = mark.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The platform of an application: the second part of `app/APNS/name`.
fn platform(application: &str) -> &str {
    application.rsplit(':').next().and_then(|resource| resource.split('/').nth(1)).unwrap_or_default()
}

/// The ARN in SNS's error for a token that already has an endpoint.
fn existing_endpoint(message: Option<&str>) -> Option<String> {
    let (_, rest) = message?.split_once("Endpoint ")?;
    let (arn, rest) = rest.split_once(' ')?;
    (arn.starts_with("arn:") && rest.starts_with("already exists")).then(|| arn.to_owned())
}

/// An SNS message for one platform.
fn message(platform: &str, push: &Push, now: Timestamp) -> Result<String, PushOutcome> {
    let payload = match platform {
        "GCM" => json!({ "fcmV1Message": { "message": fcm::message(push, now) } }).to_string(),
        _ => apns::payload(push)?,
    };
    Ok(json!({ "default": "", platform: payload }).to_string())
}

/// SNS message attributes: the parameters of a push that are not in the message.
fn attributes(platform: &str, push: &Push, now: Timestamp) -> Vec<(String, String)> {
    if platform == "GCM" {
        return vec![];
    }
    let options = apns::options(push);
    let mut attributes = vec![("AWS.SNS.MOBILE.APNS.COLLAPSE_ID".to_owned(), push.collapse_id.clone())];
    if let Some(push_type) = options.apns_push_type {
        attributes.push(("AWS.SNS.MOBILE.APNS.PUSH_TYPE".to_owned(), push_type.to_string()));
    }
    if let Some(priority) = options.apns_priority {
        attributes.push(("AWS.SNS.MOBILE.APNS.PRIORITY".to_owned(), priority.to_string()));
    }
    if let Some(expires_at) = push.expires_at {
        let seconds = expires_at.since(now).as_secs();
        attributes.push((format!("AWS.SNS.MOBILE.{platform}.TTL"), seconds.to_string()));
    }
    attributes
}

/// If SNS reports that an existing endpoint is gone, the credential is not at fault.
fn of_endpoint(outcome: PushOutcome) -> PushOutcome {
    match outcome {
        PushOutcome::Rejected(rejection) if rejection.reason.as_str() == "NotFound" => {
            PushOutcome::unavailable("EndpointGone", None)
        }
        outcome => outcome,
    }
}

fn disabled() -> PushOutcome {
    PushOutcome::rejected("EndpointDisabled", Fault::Token { since: None })
}

fn refused<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> PushOutcome {
    let (reason, trouble) = match error {
        SdkError::ServiceError(answer) => return classify(error.code(), answer.raw().status().as_u16()),
        SdkError::TimeoutError(_) => ("TimedOut", Trouble::Unanswered),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => ("TimedOut", Trouble::Unanswered),
        _ => (tls_reason(error).unwrap_or("NotConnected"), Trouble::NotSent),
    };
    unreachable(reason, trouble, format!("SNS: {}", ErrorChain(error)))
}

/// The outcome of an SNS error.
pub fn classify(code: Option<&str>, status: u16) -> PushOutcome {
    match code {
        // Disabled after the provider's answer, or by the owner.
        Some("EndpointDisabled") => disabled(),
        // The application, or the permission to use it.
        Some(
            code @ ("PlatformApplicationDisabled"
            | "NotFound"
            | "AuthorizationError"
            | "InvalidSecurity"
            | "AccessDenied"
            | "AccessDeniedException"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"),
        ) => PushOutcome::rejected(code.trim_end_matches("Exception"), Fault::Credential),
        Some(code) if (400..429).contains(&status) && !code.contains("Throttl") => {
            PushOutcome::rejected(code, Fault::Push)
        }
        code => PushOutcome::unavailable(code.unwrap_or("Unavailable"), None),
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::push::payload::Content;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_endpoint_that_exists_is_named_in_the_error() {
        let arn = "arn:aws:sns:eu-west-1:123456789012:endpoint/GCM/app/0a1b";
        for message in [
            format!(
                "Invalid parameter: Token Reason: Endpoint {arn} already exists with the same Token, but different attributes."
            ),
            format!("Endpoint {arn} already exists with the same Token, but different attributes."),
        ] {
            assert_eq!(existing_endpoint(Some(&message)).as_deref(), Some(arn));
        }
        for message in ["", "Endpoint ", "Invalid parameter: Token", "Endpoint x already exists"] {
            assert_eq!(existing_endpoint(Some(message)), None, "{message}");
        }
        assert_eq!(existing_endpoint(None), None);
    }

    /// What the request has of its own goes through SNS as well, and the type of the push follows from it.
    #[test]
    fn a_notification_is_sent_as_the_provider_would_get_it() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let content = Content {
            data: object(json!({ "room": 7 })),
            collapse_id: Some("room-7".to_owned()),
            apn: object(json!({ "aps": { "badge": 3 } })),
            fcm: object(json!({ "android": { "notification": { "channel_id": "c" } } })),
            ..Content::default()
        };
        let kind = PushKind::Alert(content);
        let push = Push { id: 1, collapse_id: "room-7".to_owned(), expires_at: None, kind };
        let now = Timestamp::default();
        let payload = |platform: &str| {
            let message: Value = serde_json::from_str(&message(platform, &push, now).unwrap()).unwrap();
            serde_json::from_str::<Value>(message[platform].as_str().unwrap()).unwrap()
        };
        assert_eq!(payload("APNS"), json!({ "aps": { "badge": 3 }, "room": 7 }));
        let sent = attributes("APNS", &push, now);
        for (name, value) in [("COLLAPSE_ID", "room-7"), ("PUSH_TYPE", "alert"), ("PRIORITY", "10")] {
            assert!(sent.contains(&(format!("AWS.SNS.MOBILE.APNS.{name}"), value.to_owned())), "{sent:?}");
        }
        let fcm = &payload("GCM")["fcmV1Message"]["message"];
        assert_eq!(fcm["android"]["notification"], json!({ "channel_id": "c", "tag": "room-7" }));
        assert_eq!((&fcm["android"]["collapse_key"], &fcm["data"]), (&json!("room-7"), &json!({ "room": "7" })));
    }

    #[test]
    fn an_arn_names_its_platform() {
        assert_eq!(platform("arn:aws:sns:eu-west-1:123456789012:app/APNS_SANDBOX/name"), "APNS_SANDBOX");
        assert_eq!(platform("arn:aws:sns:eu-west-1:123456789012:app/GCM/name"), "GCM");
        assert_eq!(platform("nonsense"), "");
    }
}
