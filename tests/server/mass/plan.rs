//! What the clients of a random test do, and what is done to them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Milliseconds.
pub(super) type Millis = u64;

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leave {
    Goodbye,
    /// As a page that is left.
    Close,
    /// As a process that is killed.
    Cut,
    /// As a device without a network. It then goes on where it was, if the server is still there for it, or else is cut.
    Freeze {
        lasts: Millis,
        thaws: bool,
    },
    /// Not at all: it stays for the next visit.
    Stay,
}

/// What a client does before it leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Nothing,
    /// Watches one more user of its service.
    Watch(usize),
    Rename,
    Register,
    Unregister,
}

/// With which token a client comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    Lasting,
    /// One that expires after so many seconds, at which the server ends the session.
    Expiring {
        after: u64,
    },
    /// The same, with another one in its place at once.
    Renewed {
        after: u64,
    },
}

/// One visit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) after: Millis,
    /// Whether it goes on with the session it had.
    pub(super) continues: bool,
    pub(super) token: Token,
    pub(super) stays: Millis,
    pub(super) does: Deed,
    pub(super) leaves: Leave,
}

/// What is done to a server with clients.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blow {
    /// Reachability of this service is switched off, and on again after so long.
    Switch { service: usize, off: Millis },
    /// It is ended by SIGTERM, and started again.
    Stop,
    /// It is ended by SIGKILL, and started again.
    Kill,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The visits of each client, again and again.
    pub(super) clients: Vec<Vec<Visit>>,
    /// The connections of each user that a gateway reports, again and again: the time before each, and how long it stays.
    pub(super) reported: Vec<Vec<(Millis, Millis)>>,
    /// Each with the time before it.
    pub(super) blows: Vec<(Millis, Blow)>,
}

/// How many there are of each.
pub(super) struct Sizes {
    pub(super) clients: usize,
    pub(super) services: usize,
    /// In each service.
    pub(super) users: usize,
    /// Users with connections that a gateway reports.
    pub(super) reported: usize,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn of(seed: u64, sizes: &Sizes, grace: Millis, lost: Millis) -> Self {
        let Sizes { clients, services, users, reported } = *sizes;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let clients = vec(vec(visit(users, grace, lost), 30), clients);
        let reported = vec(vec((0..2 * grace, 0..2 * grace), 30), reported);
        // One stop and one kill, and switches before, between and after them.
        let switch = (500..2_500_u64, (0..services, 100..3_000_u64))
            .prop_map(|(after, (service, off))| (after, Blow::Switch { service, off }));
        let blows =
            (vec(switch.clone(), 1..3), vec(switch.clone(), 1..3), vec(switch, 0..2), any::<bool>(), 1_000..4_000_u64)
                .prop_map(|(before, between, after, stops_first, wait)| {
                    let (first, second) = if stops_first { (Blow::Stop, Blow::Kill) } else { (Blow::Kill, Blow::Stop) };
                    [before, vec![(wait, first)], between, vec![(wait, second)], after].concat()
                });
        let (clients, reported, blows) = (clients, reported, blows).new_tree(&mut runner).unwrap().current();
        Self { clients, reported, blows }
    }
}

fn visit(users: usize, grace: Millis, lost: Millis) -> impl Strategy<Value = Visit> {
    let leave = prop_oneof![
        3 => Just(Leave::Goodbye),
        2 => Just(Leave::Close),
        4 => Just(Leave::Cut),
        3 => (100..lost + 2_000, any::<bool>()).prop_map(|(lasts, thaws)| Leave::Freeze { lasts, thaws }),
        2 => Just(Leave::Stay),
    ];
    let deed = prop_oneof![
        3 => Just(Deed::Nothing),
        3 => (0..users).prop_map(Deed::Watch),
        1 => Just(Deed::Rename),
        1 => Just(Deed::Register),
        1 => Just(Deed::Unregister),
    ];
    // Most come back before they are missed.
    let after = prop_oneof![2 => Just(0), 5 => 1..grace, 2 => grace..2 * grace, 2 => 2 * grace..2 * lost];
    let token = prop_oneof![
        4 => Just(Token::Lasting),
        // Some expire during the visit.
        2 => (2..5_u64).prop_map(|after| Token::Expiring { after }),
        1 => (2..5_u64).prop_map(|after| Token::Renewed { after }),
    ];
    (after, prop::bool::weighted(0.7), token, 0..3_000_u64, deed, leave).prop_map(
        |(after, continues, token, stays, does, leaves)| Visit { after, continues, token, stays, does, leaves },
    )
}
