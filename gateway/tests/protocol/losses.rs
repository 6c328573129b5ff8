//! Clients that are lost without a word, in simulated time: each is found within the stated bound, and who lives is left alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use reachability_domain::time::Timestamp;
use reachability_gateway::session::Timing;
use reachability_gateway::twilsock::{Action, Input, Opened, Session, Settings};

use crate::support::{MINUTE, SECOND, Socket, bare, init};

const LOST: usize = 5_000;
const LIVING: usize = 2_000;

/// Something that happens to a client at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Its answer to a ping arrives.
    Answer,
    /// Its session's timer is due.
    Due,
}

/// Numbers that seem random, the same in each run.
struct Random(u64);

impl Random {
    fn duration(&mut self, below: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % u64::try_from(below.as_millis()).unwrap())
    }
}

struct Client {
    session: Session,
    /// Nothing comes from it after this.
    lost_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
}

/// What happened to many clients in so much time.
struct Outcome {
    clients: Vec<Client>,
    time: Duration,
    /// How many frames those who live were sent, and sent.
    frames: usize,
    /// How long the steps of all took.
    took: Duration,
    steps: u32,
}

fn simulate(settings: &Settings, random: &mut Random) -> Outcome {
    let socket = Socket::new();
    let start = socket.now;
    let time = settings.timing.silence() * 4;
    let end = start.plus(time);
    let (mut clients, mut events) = (vec![], BinaryHeap::new());
    for n in 0..LOST + LIVING {
        let began = start.plus(random.duration(settings.timing.silence()));
        let mut session = Session::new(began);
        session.step(settings, Input::Frame(&init("TM0")), began);
        let grant = socket.grant(&format!("user-{n}"), 60 * MINUTE);
        let opened = Opened { grant, continuation_token: String::new(), reissued: true };
        session.step(settings, Input::Opened(Ok(opened)), began);
        let lost_at =
            (n < LOST).then(|| start.plus(settings.timing.silence() + random.duration(settings.timing.silence())));
        events.push(Reverse((session.due_at(settings), n, Event::Due)));
        clients.push(Client { session, lost_at, closed_at: None });
    }
    let (mut frames, mut steps, started) = (0, 0, Instant::now());
    while let Some(Reverse((now, n, event))) = events.pop() {
        if now > end {
            break;
        }
        let client = &mut clients[n];
        let is_lost = client.lost_at.is_some_and(|lost_at| lost_at < now);
        let actions = match event {
            Event::Answer if is_lost => continue,
            Event::Answer => {
                frames += usize::from(client.lost_at.is_none());
                client.session.step(settings, Input::Frame(&bare("reply", "TM1")), now)
            }
            // It was moved on.
            Event::Due if client.session.due_at(settings) > now => continue,
            Event::Due => client.session.step(settings, Input::Tick, now),
        };
        steps += 1;
        for action in actions {
            match action {
                // A ping.
                Action::Send(_) => {
                    frames += usize::from(client.lost_at.is_none());
                    // Some are as slow as they may be.
                    let answers_at = now.plus(random.duration(settings.timing.answer));
                    events.push(Reverse((answers_at, n, Event::Answer)));
                }
                Action::Close { code: 1001, reason: "no-answer-to-ping" } => client.closed_at = Some(now),
                other => panic!("{other:?}"),
            }
        }
        if client.closed_at.is_none() {
            events.push(Reverse((client.session.due_at(settings), n, Event::Due)));
        }
    }
    Outcome { clients, time, frames, took: started.elapsed(), steps }
}

#[test]
fn every_lost_client_is_found_in_time_and_no_other() {
    let mut random = Random(14);
    for (ping, grace, bound) in [(4, 4, 10), (14, 10, 30), (90, 20, 120)] {
        let settings = Settings { timing: Timing::with_ping(ping * SECOND), ..Settings::default() };
        let Outcome { clients, time, frames, took, steps } = simulate(&settings, &mut random);
        let mut longest = Duration::ZERO;
        for (n, client) in clients.iter().enumerate() {
            let Some(lost_at) = client.lost_at else {
                assert_eq!(client.closed_at, None, "client {n} lives");
                continue;
            };
            let closed_at = client.closed_at.unwrap_or_else(|| panic!("client {n} is a ghost"));
            // Its user is offline when the grace period is over as well.
            longest = longest.max(closed_at.since(lost_at) + grace * SECOND);
        }
        assert!(longest <= bound * SECOND, "{longest:?} is longer than {bound} s");
        let minutes = time.as_secs_f64() / 60.0 * LIVING as f64;
        println!(
            "bound {bound} s: {LOST} lost clients were offline after {longest:?} at most; {:.1} frames a minute and client, {:?} a step",
            frames as f64 / minutes,
            took / steps,
        );
    }
}
