//! One service floods the queue of events: with more renewals than may wait, of users with more connections than a record
//! holds.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reachability_tests::events::event;
use serde_json::Value;

use crate::world::{SERVICES, World};

/// How many events a request has.
const EVENTS: usize = 5_000;

/// How many requests are sent at a time.
const AT_ONCE: usize = 6;

/// How many users they are about.
const USERS: usize = 50;

/// How many connections each of them has.
const CONNECTIONS: usize = 300;

/// Floods the queue for so long.
pub(crate) async fn flood(world: &World, lasts: Duration) {
    let service = &world.services[SERVICES];
    let path = format!("/v1/Services/{service}/Events");
    let until = Instant::now() + lasts;
    let shout = async |number: usize| {
        let renewal = |n: usize| {
            let n = number * EVENTS + n;
            let mut event = event(service, &format!("loud-{}", n % USERS), "renew");
            event["connection_id"] = format!("c-{}", n / USERS % CONNECTIONS).into();
            event
        };
        while Instant::now() < until {
            let body = Value::from((0..EVENTS).map(renewal).collect::<Vec<_>>()).to_string();
            match world.owner.answer(&path, body).await {
                Some((202, _)) => world.count("events of the flood accepted", EVENTS as u64),
                Some((429 | 503, _)) => world.count("requests of the flood refused", 1),
                Some((status, answer)) => world.complain(format!("the flood is answered with {status}: {answer}")),
                None => {}
            }
            // Others use this thread.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    join_all((0..AT_ONCE).map(shout)).await;
}
