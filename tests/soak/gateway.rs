//! Gateways of the owner, which report connections over REST: in batches, some events twice and in any order.

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use reachability_tests::events;
use serde_json::Value;
use tokio::time::sleep;

use crate::ledger::{Key, Person};
use crate::owner::{STARS, star};
use crate::world::{LEASE, World};

/// How many gateways of a service report new users all the time. One more reports the stars.
const GATEWAYS: usize = 2;

/// How many users a gateway has at a time.
const USERS: usize = 8;

/// The lease of a connection that outlives the soak, in seconds.
const DAY: u64 = 86_400;

/// Between two requests of a gateway, in milliseconds, at most.
const PAUSE: u64 = 250;

/// Lets the gateways of a service report.
pub(crate) async fn report(world: &World, service: usize) {
    let new_users = (0..GATEWAYS).map(|number| Gateway::of_new_users(world, service, number));
    join_all(new_users.chain([Gateway::of_stars(world, service)]).map(Gateway::report)).await;
}

/// A user of a gateway, and the connection that it has or had last.
struct Course {
    key: Key,
    connection: u64,
    /// Until when the connection is open, and its lease if that is not the usual one; `None`: it has ended.
    open: Option<(Instant, Option<u64>)>,
    /// How many events there will be of this user.
    left: u64,
}

struct Gateway<'a> {
    world: &'a World,
    service: usize,
    /// The name of its users; `None`: they are the stars, who stay the same, and of whom everything is reported until it is
    /// acknowledged.
    name: Option<String>,
    next_user: u64,
    courses: Vec<Course>,
    dice: Rng,
}

impl<'a> Gateway<'a> {
    fn of_new_users(world: &'a World, service: usize, number: usize) -> Self {
        let name = format!("user-{service}-{number}");
        let dice = world.dice(&name);
        let mut gateway = Self { world, service, name: Some(name), next_user: 0, courses: vec![], dice };
        for _ in 0..USERS {
            let course = gateway.next_course();
            gateway.courses.push(course);
        }
        gateway
    }

    fn of_stars(world: &'a World, service: usize) -> Self {
        let course = |number| Course { key: (service, star(number)), connection: 0, open: None, left: u64::MAX };
        let dice = world.dice(&format!("stars-{service}"));
        Self { world, service, name: None, next_user: 0, courses: (0..STARS).map(course).collect(), dice }
    }

    fn next_course(&mut self) -> Course {
        self.next_user += 1;
        let identity = format!("{}-{}", self.name.as_deref().unwrap_or_default(), self.next_user);
        Course { key: (self.service, identity), connection: 0, open: None, left: self.dice.u64(1..8) }
    }

    async fn report(mut self) {
        while !self.world.is_over.get() {
            let mut batch: Vec<(usize, Value)> = vec![];
            for number in 0..self.courses.len() {
                for _ in 0..self.dice.usize(0..3) {
                    if self.courses[number].left > 0 {
                        let event = self.event(number);
                        batch.push((number, event));
                    }
                }
            }
            if !batch.is_empty() {
                self.send(batch).await;
            }
            for number in 0..self.courses.len() {
                if self.courses[number].left == 0 {
                    self.courses[number] = self.next_course();
                }
            }
            let pause = self.dice.u64(0..PAUSE);
            self.world.pause(pause).await;
        }
    }

    /// What a user does next.
    fn event(&mut self, number: usize) -> Value {
        let (service, course) = (&self.world.services[self.service], &mut self.courses[number]);
        course.left -= 1;
        // What may have ended is not renewed.
        let open = course.open.filter(|(until, _)| Instant::now() < *until);
        let (kind, lease) = match open {
            None => {
                course.connection += 1;
                ("connect", self.dice.bool().then_some(DAY))
            }
            Some((_, lease)) if self.dice.u8(0..4) == 0 => ("renew", lease),
            Some(_) => ("disconnect", None),
        };
        let mut event = events::event(service, &course.key.1, kind);
        event["connection_id"] = format!("c-{}", course.connection).into();
        if let Some(lease) = lease {
            event["lease_seconds"] = lease.into();
        }
        if kind == "disconnect" {
            let reasons = ["client_closed", "client_closed", "connection_lost", "server_closed"];
            event["reason"] = self.dice.choice(reasons).unwrap().into();
            course.open = None;
        } else {
            let until = Instant::now() + Duration::from_secs(lease.unwrap_or(LEASE)) - Duration::from_secs(5);
            course.open = Some((until, lease));
        }
        event
    }

    /// Sends events until they are accepted, or gives them up: then they may have been accepted, and nothing more is reported
    /// of their users.
    async fn send(&mut self, batch: Vec<(usize, Value)>) {
        let world = self.world;
        let mut body = vec![];
        for (number, event) in &batch {
            let (kind, connection) = (event["type"].as_str().unwrap(), event["connection_id"].as_str().unwrap());
            let how = event.get("reason").or_else(|| event.get("lease_seconds")).map(Value::to_string);
            let what = format!("{kind} {connection} {}", how.unwrap_or_default());
            world.ledger.note(&self.courses[*number].key, what, |person| person.event_sent(event));
            body.push(event.clone());
            if self.dice.u8(0..10) == 0 {
                body.push(event.clone());
            }
        }
        self.dice.shuffle(&mut body);
        let (count, body) = (body.len(), Value::from(body).to_string());
        world.count("events sent", count as u64);
        let path = format!("/v1/Services/{}/Events", world.services[self.service]);
        let is_accepted = loop {
            match world.owner.answer(&path, body.clone()).await {
                Some((202, answer)) => {
                    if answer["accepted"] != count {
                        world.complain(format!("events are refused: {answer}"));
                    }
                    break true;
                }
                Some((503, _)) => world.count("requests answered with 503", 1),
                Some((status, answer)) => world.complain(format!("events are answered with {status}: {answer}")),
                None => world.count("requests without an answer", 1),
            }
            // Of the stars, everything is acknowledged in the end.
            if self.name.is_some() && self.dice.u8(0..3) == 0 {
                break false;
            }
            sleep(Duration::from_millis(self.dice.u64(20..300))).await;
        };
        for (number, _) in batch {
            let course = &mut self.courses[number];
            if is_accepted {
                world.ledger.note(&course.key, "accepted", Person::events_accepted);
            } else {
                course.left = 0;
                world.ledger.note(&course.key, "given up", |_| ());
            }
        }
        world.count(if is_accepted { "events accepted" } else { "events given up" }, count as u64);
    }
}
