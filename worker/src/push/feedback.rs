//! Feedback that push providers send on their own.

use reachability_domain::push::message::{Feedback, Probe, ProbeCause, PushMessage};
use reachability_domain::queue::{InvalidMessage, Message};
use serde::Deserialize;

use super::{FollowUps, Pusher};

/// An event of an SNS endpoint: a delivery has failed permanently, or the endpoint has changed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointEvent {
    endpoint_arn: String,
}

/// Parses a message of the push queue, which may be an SNS event.
pub(super) fn parse(body: &[u8]) -> Result<PushMessage, InvalidMessage> {
    PushMessage::parse(body).or_else(|error| match serde_json::from_slice(body) {
        Ok(EndpointEvent { endpoint_arn }) => Ok(PushMessage::Feedback(Feedback { endpoint_arn })),
        Err(_) => Err(error),
    })
}

impl Pusher {
    /// Asks the provider about the device. The content of the feedback is not used, since it may be outdated.
    pub(super) async fn follow(&self, feedback: Feedback) -> FollowUps {
        let found = self.ports.provider.binding_at(&feedback.endpoint_arn).await?;
        let asked_at = (self.clock)();
        let probe = |(service, binding)| {
            PushMessage::Probe(Probe {
                service,
                binding,
                asked_at,
                attempts: 0,
                due_at: None,
                cause: ProbeCause::Feedback,
            })
        };
        Ok(found.map(probe).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sns_event_names_its_endpoint() {
        let arn = "arn:aws:sns:eu-west-1:123456789012:endpoint/GCM/app/0a1b";
        let event = format!(
            r#"{{"DeliveryAttempts":1,"EndpointArn":"{arn}","EventType":"DeliveryFailure","FailureType":"InvalidPlatformToken"}}"#
        );
        let feedback = PushMessage::Feedback(Feedback { endpoint_arn: arn.to_owned() });
        assert_eq!(parse(event.as_bytes()).unwrap(), feedback);
        assert_eq!(parse(feedback.to_json().as_bytes()).unwrap(), feedback);
        for body in ["", "{}", r#"{"EndpointArn":7}"#, r#"{"type":"nonsense"}"#] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
