//! An event belongs to the generation of reachability in which it was accepted, whenever it is handled.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::collections::BTreeMap;

use reachability_domain::directory::configuration::Generation;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, PresenceMessage};
use reachability_domain::queue::Queue;
use reachability_tests::changes::shown;
use reachability_tests::client::Client;
use reachability_tests::events::event;
use reachability_tests::queues::event_queue;
use reachability_tests::server::Server;
use reachability_tests::wait::wait;
use serde_json::{Value, json};

async fn switch(client: &Client, service: &str, on: bool) {
    client.post(&format!("/v1/Services/{service}/Configuration"), format!("ReachabilityEnabled={on}")).await;
}

fn message(service: &str, identity: &str, kind: &str, acceptance: Option<Acceptance>) -> PresenceMessage {
    let event = Event::parse(event(service, identity, kind).to_string().as_bytes()).unwrap();
    PresenceMessage::Event(Accepted::new(event, acceptance))
}

/// A service that was switched on this often, and is now on or off.
async fn service(client: &Client, times: u32, on: bool) -> String {
    let service = client.enabled_service().await;
    for _ in 1..times {
        switch(client, &service, false).await;
        switch(client, &service, true).await;
    }
    if !on {
        switch(client, &service, false).await;
    }
    service
}

/// Messages wait while no server runs, with the stamps of earlier times.
#[tokio::test]
async fn the_stamp_decides() {
    const OFF: Option<Acceptance> = Some(Acceptance::Off);
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let services = [service(&client, 1, true).await, service(&client, 2, true).await, service(&client, 2, false).await];
    assert!(server.stop().0.success());
    let accepted_in = |generation| Some(Acceptance::In(Generation(generation)));
    for (service, generation) in services.iter().zip([1, 2, 2]) {
        let connect = |identity, acceptance| message(service, identity, "connect", acceptance);
        let mut messages = vec![
            connect("off", OFF),
            connect("one", accepted_in(1)),
            message(service, "renewed", "renew", accepted_in(1)),
            message(service, "only-ended", "disconnect", accepted_in(1)),
            connect("ended-while-off", accepted_in(1)),
            message(service, "ended-while-off", "disconnect", OFF),
            connect("unstamped", None),
        ];
        if generation == 2 {
            // In whatever order they are handled, the latest generation counts.
            messages.push(message(service, "both", "renew", accepted_in(2)));
            messages.push(connect("both", accepted_in(1)));
            messages.push(connect("two", accepted_in(2)));
        }
        messages.push(connect("last", OFF));
        event_queue(directory.path()).await.send(&messages).await.unwrap();
    }
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    let (yes, no, unknown) = (Some(true), Some(false), None);
    let first = [("one", yes), ("renewed", yes), ("ended-while-off", no), ("unstamped", yes)];
    let second = [
        ("one", unknown),
        ("renewed", unknown),
        ("ended-while-off", unknown),
        ("unstamped", yes),
        ("both", yes),
        ("two", yes),
    ];
    let off = second.map(|(identity, _)| (identity, unknown));
    for (service, expected) in services.iter().zip([&first[..], &second, &off]) {
        let all = async || Some(client.everybody(service).await).filter(|users| users.contains_key("last"));
        let mut expected: BTreeMap<String, Option<bool>> =
            expected.iter().map(|(identity, online)| ((*identity).to_owned(), *online)).collect();
        expected.extend(["off", "last"].map(|identity| (identity.to_owned(), unknown)));
        assert_eq!(wait("all is handled", all).await, expected);
    }

    // A renewal that is accepted now counts, of the same connection too.
    let path = format!("/v1/Services/{}/Events", services[1]);
    client.post(&path, event(&services[1], "off", "renew").to_string()).await;
    let online = async || client.everybody(&services[1]).await["off"];
    assert!(wait("the renewal is handled", online).await);
    assert!(server.stop().0.success());
}

/// Many events wait, while reachability is switched.
#[tokio::test]
async fn events_that_wait_at_a_switch_belong_to_the_time_before_it() {
    const COUNT: usize = 6_000;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let client = Client::of(&server);
    for was_on in [false, true] {
        let service = client.enabled_service().await;
        switch(&client, &service, was_on).await;
        let events: Vec<Value> = (0..COUNT).map(|n| event(&service, &format!("user-{n}"), "connect")).collect();
        let path = format!("/v1/Services/{service}/Events");
        let answer = client.post(&path, Value::from(events).to_string()).await;
        assert_eq!((&answer["accepted"], &answer["reachability_enabled"]), (&json!(COUNT), &json!(was_on)));
        switch(&client, &service, false).await;
        switch(&client, &service, true).await;
        let handled_before = shown(&client, &service).await.len();
        let all = async || Some(shown(&client, &service).await).filter(|users| users.len() == COUNT);
        let users = wait("all exist", all).await;
        println!("{handled_before} of {COUNT} events were handled before the switch");
        assert!(users.values().all(|value| *value == json!([null, null])), "was on: {was_on}");
        // From now on they count.
        client.post(&path, event(&service, "user-0", "renew").to_string()).await;
        wait("user-0 is online", async || client.everybody(&service).await["user-0"].filter(|online| *online)).await;
    }
}
