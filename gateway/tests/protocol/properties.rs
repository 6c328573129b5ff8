//! Whatever comes in whatever order: a session is small, can be written down, keeps its promises, and never panics.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use reachability_gateway::twilsock::codec::decode;
use reachability_gateway::twilsock::settings::{MAX_FRAME, MAX_REQUESTS};
use reachability_gateway::twilsock::{Expiry, Input, Opened};
use serde_json::json;

use crate::shell::{Happening, Shell, happening};
use crate::support::{SECOND, Socket, init, message, update};

/// The frames of the corpus: what clients send, and what nobody should.
pub(crate) fn corpus() -> &'static [(String, Vec<u8>)] {
    static CORPUS: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    CORPUS.get_or_init(read_corpus)
}

fn read_corpus() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")).unwrap();
    let mut frames: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect();
    frames.sort();
    assert!(frames.len() > 40);
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_keeps_its_promises(
        is_open in any::<bool>(),
        is_plain in any::<bool>(),
        happenings in vec(happening(), 0..80),
    ) {
        let expiry = if is_plain { Expiry::Socket } else { Expiry::Packet };
        let mut shell = Shell::new(&"i".repeat(256), expiry);
        if is_open {
            shell.happen(Happening::Init);
            shell.happen(Happening::Opened(7));
        }
        for happening in happenings {
            shell.happen(happening);
        }
        shell.fall_silent();
    }

    #[test]
    fn whatever_is_read_as_a_packet_is_a_part_of_it(
        seed in any::<Index>(),
        bytes in vec(any::<(Index, u8)>(), 0..4),
    ) {
        let mut frame = seed.get(corpus()).1.clone();
        for (at, byte) in bytes {
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
        }
        if let Ok(packet) = decode(&frame) {
            prop_assert!(frame.len() <= MAX_FRAME && packet.payload.len() < frame.len());
        }
    }
}

#[test]
fn a_session_takes_the_corpus_at_any_time() {
    for (name, seed) in corpus() {
        println!("{name}");
        for phase in 0..5 {
            let mut shell = Shell::new("alice", Expiry::Packet);
            let before = match phase {
                0 => vec![],
                1 => vec![Happening::Init],
                2 => vec![Happening::Init, Happening::Opened(7)],
                3 => vec![Happening::Init, Happening::Opened(0)],
                _ => vec![Happening::Init, Happening::Opened(7), Happening::Close],
            };
            for happening in before {
                shell.happen(happening);
            }
            shell.frame(seed);
            shell.frame(seed);
            shell.fall_silent();
        }
    }
}

#[test]
fn an_identity_of_the_longest_kind_is_all_that_makes_a_session_larger() {
    let identity = "😀".repeat(256);
    let mut socket = Socket::new();
    socket.frame(&init("TM1"));
    let opened =
        Opened { grant: socket.grant(&identity, 60 * SECOND), continuation_token: "x".repeat(1_000), reissued: true };
    let mut session = socket.session;
    session.step(&socket.settings, Input::Opened(Ok(opened)), socket.now);
    let id = "x".repeat(64);
    session.step(&socket.settings, Input::Frame(&update(&id)), socket.now);
    let body = json!({"action": "establish", "correlation_id": u64::MAX, "requests": []}).to_string();
    for _ in 0..MAX_REQUESTS {
        let frame = message(&id, "POST", "/v4/Subscriptions", &body);
        session.step(&socket.settings, Input::Frame(&frame), socket.now);
    }
    assert_eq!(session.requests(), MAX_REQUESTS);
    let written = postcard::to_stdvec(&session).unwrap();
    assert!(written.len() - identity.len() < 1024 - 256, "{} bytes", written.len());
}
