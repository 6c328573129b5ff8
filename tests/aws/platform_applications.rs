//! Platform applications of SNS: a registration with its endpoint in every state. MiniStack has endpoints and their
//! states, but it delivers nothing, so it never refuses a delivery.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_sns::Client;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::credential::{Credential, Health, Method, RegistrationCheck};
use reachability_domain::push::message::{Feedback, PushMessage};
use reachability_domain::push::outcome::{Fault, PushOutcome};
use reachability_domain::push::payload::{Content, Push, PushKind};
use reachability_domain::push::provider::PushProvider;
use reachability_infra::clock;
use reachability_infra::push::platform_applications::{PlatformApplications, classify};
use reachability_tests::aws;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::providers::Apple;
use reachability_tests::push_harness::PushHarness;
use reachability_worker::Envelope;

/// A harness whose FCM credential is a platform application, with a device of alice, which was checked.
struct Scene {
    harness: PushHarness,
    client: Client,
    application: String,
    device: Binding,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let client = Client::new(&aws::config(&MiniStack::shared().url()).await);
        let create = client.create_platform_application().name(name).platform("GCM");
        let application = create.attributes("PlatformCredential", "{}").send().await.unwrap();
        let application = application.platform_application_arn.unwrap();
        let applications = PlatformApplications::new(client.clone(), clock::now);
        let harness = PushHarness::with_platform_applications(Some(Arc::new(applications))).await;
        let known = harness.store.credential(PushHarness::credential_sid(Channel::Fcm)).await.unwrap().unwrap();
        let method = Method::PlatformApplication { arn: application.clone() };
        // Only SNS is asked, not Google.
        let credential = Credential { method, sealed: None, check: RegistrationCheck::None, ..known };
        harness.store.replace_credential(&credential).await.unwrap();
        let device = harness.register("alice", Channel::Fcm, "token").await;
        assert!(harness.check(&device).await.is_empty());
        Self { harness, client, application, device }
    }

    async fn endpoint(&self) -> (String, HashMap<String, String>) {
        let request = self.client.list_endpoints_by_platform_application();
        let listed = request.platform_application_arn(&self.application).send().await;
        let arn = match listed {
            Ok(listed) => listed.endpoints.unwrap().remove(0).endpoint_arn.unwrap(),
            // MiniStack cannot list endpoints. The error for a duplicate names the existing one.
            Err(_) => {
                let again = self.client.create_platform_endpoint().platform_application_arn(&self.application);
                let error = again.token("token").custom_user_data("?").send().await.unwrap_err();
                let message = format!("{error:?}");
                let start = message.find("arn:aws:sns").unwrap();
                message[start..].split([' ', '"']).next().unwrap().to_owned()
            }
        };
        let attributes = self.client.get_endpoint_attributes().endpoint_arn(&arn).send().await.unwrap();
        (arn, attributes.attributes.unwrap())
    }

    async fn set(&self, attributes: &[(&str, &str)]) {
        let mut request = self.client.set_endpoint_attributes().endpoint_arn(self.endpoint().await.0);
        for (name, value) in attributes {
            request = request.attributes(*name, *value);
        }
        request.send().await.unwrap();
    }

    async fn status(&self) -> (&'static str, Option<bool>) {
        let binding = self.harness.binding(self.device.sid).await.unwrap();
        (binding.status(), self.harness.notifiable("alice").await)
    }
}

#[tokio::test]
async fn an_endpoint_that_is_enabled_is_good() {
    let scene = Scene::new("enabled").await;
    assert_eq!(scene.status().await, ("confirmed", Some(true)));
    let (_, attributes) = scene.endpoint().await;
    assert_eq!((attributes["Token"].as_str(), attributes["Enabled"].as_str()), ("token", "true"));
    assert!(attributes["CustomUserData"].contains(&scene.device.sid.to_string()));
    assert_eq!(scene.harness.health(Channel::Fcm).await, Health::Accepted);
    // A second registration has the same endpoint.
    let (before, _) = scene.endpoint().await;
    scene.harness.check(&scene.device).await;
    assert_eq!(scene.endpoint().await.0, before);
}

#[tokio::test]
async fn an_endpoint_that_was_disabled_is_dead_until_it_is_registered_again() {
    let scene = Scene::new("disabled").await;
    scene.set(&[("Enabled", "false")]).await;
    scene.harness.check(&scene.device).await;
    assert_eq!(scene.status().await, ("dead", Some(false)));
    let death = scene.harness.binding(scene.device.sid).await.unwrap().death.unwrap();
    assert_eq!(death.reason.as_str(), "EndpointDisabled");
    // The endpoint was disabled during the earlier registration. The new one enables it.
    let again = scene.harness.register("alice", Channel::Fcm, "token").await;
    scene.harness.check(&again).await;
    assert_eq!(scene.status().await, ("confirmed", Some(true)));
    assert_eq!(scene.endpoint().await.1["Enabled"], "true");
}

/// The endpoint belongs to another user, or was changed by hand.
#[tokio::test]
async fn an_endpoint_is_taken_over() {
    let scene = Scene::new("taken").await;
    for attributes in [
        &[("CustomUserData", "somebody else's"), ("Enabled", "false")][..],
        // Google has given the device another token, which the device has not registered yet.
        &[("Token", "token"), ("CustomUserData", ""), ("Enabled", "true")],
    ] {
        scene.set(attributes).await;
        scene.harness.check(&scene.device).await;
        assert_eq!(scene.status().await, ("confirmed", Some(true)));
        let (_, attributes) = scene.endpoint().await;
        assert!(attributes["CustomUserData"].contains(&scene.device.sid.to_string()));
        assert_eq!(attributes["Enabled"], "true");
    }
    // A device that changes its user keeps its endpoint.
    let his = scene.harness.register("bob", Channel::Fcm, "token").await;
    scene.harness.check(&his).await;
    assert_eq!(scene.harness.binding(his.sid).await.unwrap().status(), "confirmed");
    assert!(scene.endpoint().await.1["CustomUserData"].contains(&his.sid.to_string()));
}

#[tokio::test]
async fn a_deleted_endpoint_is_recreated() {
    let scene = Scene::new("deleted").await;
    let (arn, _) = scene.endpoint().await;
    scene.client.delete_endpoint().endpoint_arn(&arn).send().await.unwrap();
    scene.harness.check(&scene.device).await;
    assert_eq!(scene.status().await, ("confirmed", Some(true)));
    assert_ne!(scene.endpoint().await.0, arn);
}

#[tokio::test]
async fn a_missing_application_rejects_the_credential() {
    let scene = Scene::new("gone").await;
    let delete = scene.client.delete_platform_application().platform_application_arn(&scene.application);
    delete.send().await.unwrap();
    let again = scene.harness.register("alice", Channel::Fcm, "token").await;
    assert!(scene.harness.check(&again).await.is_empty());
    assert_eq!(scene.harness.notifiable("alice").await, Some(true));
    assert!(
        matches!(scene.harness.health(Channel::Fcm).await, Health::Rejected { reason, .. } if reason.as_str() == "NotFound")
    );
}

/// An event that SNS sends by itself triggers a check.
#[tokio::test]
async fn feedback_triggers_a_check() {
    let scene = Scene::new("feedback").await;
    scene.set(&[("Enabled", "false")]).await;
    let (arn, _) = scene.endpoint().await;
    let body = format!(
        r#"{{"EndpointArn":"{arn}","EventType":"DeliveryFailure","FailureType":"InvalidPlatformToken","Service":"SNS","Resource":"{}"}}"#,
        scene.application
    );
    let envelope = Envelope { id: "1".to_owned(), body, attempts: 0, accepted_at: None };
    assert!(scene.harness.pusher.handle(&[envelope]).await.is_empty());
    let asked = scene.harness.queue.take();
    assert!(matches!(&asked[..], [PushMessage::Probe(probe)] if probe.binding == scene.device.sid), "{asked:?}");
    scene.harness.handle(asked).await;
    assert_eq!(scene.status().await, ("dead", Some(false)));
    // Events about unknown endpoints and about unregistered devices are ignored.
    let feedback = |endpoint: &str| PushMessage::Feedback(Feedback { endpoint_arn: endpoint.to_owned() });
    assert!(scene.harness.handle(vec![feedback(&format!("{arn}0"))]).await.is_empty());
    let unregister = BindingCommand::Unregister(scene.device.sid);
    scene
        .harness
        .store
        .apply(scene.harness.service, scene.device.device(), &unregister, None, clock::now())
        .await
        .unwrap();
    let asked = scene.harness.handle(vec![feedback(&arn)]).await;
    assert!(scene.harness.handle(asked).await.is_empty());
}

#[tokio::test]
async fn notifications_go_to_the_endpoint() {
    let scene = Scene::new("published").await;
    let content = Content { title: Some("Title".to_owned()), ..Content::default() };
    let deliver = scene.harness.notification(&["alice"], content, Some(60)).await;
    let messages = scene.harness.handle(vec![PushMessage::Deliver(deliver.clone())]).await;
    assert!(scene.harness.handle(messages).await.is_empty());
    let deliveries = scene.harness.deliveries(deliver.notification).await;
    assert_eq!(deliveries[0].status.as_str(), "accepted");
}

/// SNS that cannot be reached is an outage, as with the other providers.
#[tokio::test]
async fn an_outage_of_sns_is_shown_on_the_credential() {
    // An untrusted certificate, a closed port, and a server that never answers.
    let untrusted = Apple::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (url, reason) in [
        (untrusted.url(), "CertificateRefused"),
        ("http://127.0.0.1:9".to_owned(), "NotConnected"),
        (format!("http://{}", silent.local_addr().unwrap()), "TimedOut"),
    ] {
        let client = Client::new(&aws::config_of_functions(&url).await);
        let applications = PlatformApplications::new(client, clock::now);
        let harness = PushHarness::with_platform_applications(Some(Arc::new(applications.clone()))).await;
        let method = Method::PlatformApplication { arn: "arn:aws:sns:us-east-1:000000000000:app/GCM/app".to_owned() };
        let known = harness.stored(Channel::Fcm).await;
        harness.store.replace_credential(&Credential { method, sealed: None, ..known }).await.unwrap();
        let device = harness.register("alice", Channel::Fcm, "token-of-a-device").await;
        let later = harness.check(&device).await;
        assert_eq!(later.len(), 1, "it is asked again");
        let credential = harness.stored(Channel::Fcm).await;
        assert_eq!(credential.health, Health::Unproven);
        assert_eq!(credential.outage.as_ref().unwrap().reason.as_str(), reason, "{url}");
        let push = Push { id: 1, collapse_id: "1".to_owned(), expires_at: None, kind: PushKind::DryRun };
        let outcome = applications.push(&credential, &device, &push).await;
        let PushOutcome::Unavailable { cause: Some(cause), .. } = outcome else { panic!("{outcome:?}") };
        assert!(cause.starts_with("SNS: ") && !cause.contains("token-of-a-device"), "{cause}");
    }
}

/// Every documented error code of the actions that the product uses.
#[test]
fn every_refusal_is_classified() {
    for (code, status, fault) in [
        ("EndpointDisabled", 400, Some(Fault::Token { since: None })),
        ("PlatformApplicationDisabled", 400, Some(Fault::Credential)),
        ("NotFound", 404, Some(Fault::Credential)),
        ("AuthorizationError", 403, Some(Fault::Credential)),
        ("InvalidSecurity", 403, Some(Fault::Credential)),
        ("AccessDenied", 403, Some(Fault::Credential)),
        ("InvalidParameter", 400, Some(Fault::Push)),
        ("InvalidParameterValue", 400, Some(Fault::Push)),
        ("ValidationException", 400, Some(Fault::Push)),
        ("Throttling", 400, None),
        ("ThrottledException", 429, None),
        ("InternalError", 500, None),
    ] {
        match (classify(Some(code), status), fault) {
            (PushOutcome::Rejected(rejection), Some(fault)) => {
                assert_eq!((rejection.reason.as_str(), rejection.fault), (code, fault));
            }
            (PushOutcome::Unavailable { .. }, None) => {}
            (outcome, _) => panic!("{code}: {outcome:?}"),
        }
    }
    assert!(matches!(classify(None, 503), PushOutcome::Unavailable { .. }));
}
