//! The queues of a deployment.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use reachability_domain::presence::event::EventKind;
use reachability_domain::push::message::{PushMessage, ScanServices};
use reachability_domain::queue::Queue;
use reachability_infra::clock;
use reachability_infra::sqs::SqsQueue;
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::generate::{START, event_of, service};
use reachability_tests::harness::unstamped;

use crate::MACHINE;

/// By the group, SQS is fair to services. What is about no service has none.
#[tokio::test]
async fn a_message_has_its_service_as_its_group() {
    let _share = MACHINE.read().await;
    let client = Client::new(&reachability_tests::aws::config(&MiniStack::shared().url()).await);
    let url = client.create_queue().queue_name("groups").send().await.unwrap().queue_url.unwrap();
    let event = event_of("alice", "c", START, EventKind::Connect { lease: None, device: None });
    SqsQueue::new(client.clone(), url.clone(), clock::now).send(&[unstamped(&event)]).await.unwrap();
    let scan = PushMessage::ScanServices(ScanServices { after: None });
    SqsQueue::new(client.clone(), url.clone(), clock::now).send(&[scan]).await.unwrap();
    let mut groups = vec![];
    while groups.len() < 2 {
        let receive = client.receive_message().queue_url(&url).wait_time_seconds(1).max_number_of_messages(10);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::MessageGroupId);
        for message in receive.send().await.unwrap().messages.unwrap_or_default() {
            let attributes = message.attributes.unwrap_or_default();
            groups.push(attributes.get(&MessageSystemAttributeName::MessageGroupId).cloned());
            client
                .delete_message()
                .queue_url(&url)
                .receipt_handle(message.receipt_handle.unwrap())
                .send()
                .await
                .unwrap();
        }
    }
    groups.sort();
    assert_eq!(groups, [None, Some(service(1).to_string())]);
}
