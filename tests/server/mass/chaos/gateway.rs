//! The owner's own gateway, which reports connections over REST.

use std::time::Duration;

use reachability_tests::events::event;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::truth::End;
use super::SERVICES;
use super::world::{World, identity};

/// Reports one connection of a user after the other, each after so long and for so long.
pub(super) async fn report(world: &World, user: usize, stays: &[(u64, u64)]) {
    for (n, (after, stays)) in stays.iter().cycle().enumerate() {
        world.pause(*after).await;
        if world.is_over.get() {
            return;
        }
        let connection = format!("reported-{user}-{n}");
        let number = world.truth.borrow_mut().begin_reported(user);
        accepted(world, user, &connection, "connect").await;
        world.truth.borrow_mut().joined(number);
        world.pause(*stays).await;
        world.truth.borrow_mut().ended(number, End::Goodbye);
        accepted(world, user, &connection, "disconnect").await;
    }
}

/// Sends an event until it is accepted: a server that stops may have accepted it without an answer.
async fn accepted(world: &World, user: usize, connection: &str, kind: &str) {
    let service = &world.services[user % SERVICES];
    let mut event = event(service, &identity(user), kind);
    event["connection_id"] = connection.into();
    let body = Value::from(vec![event]).to_string();
    loop {
        let owner = world.owner.borrow().clone();
        match owner.answer(&format!("/v1/Services/{service}/Events"), body.clone()).await {
            Some((202, answer)) => {
                assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(1), &json!([])), "{answer}");
                return;
            }
            // It stops.
            None | Some((503, _)) => sleep(Duration::from_millis(50)).await,
            other => panic!("{other:?}"),
        }
    }
}
