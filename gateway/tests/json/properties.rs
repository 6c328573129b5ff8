//! Whatever comes in whatever order: a session is small, can be written down, keeps its promises, and never panics.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use reachability_domain::sid::Sid;
use reachability_gateway::json::settings::{MAX_NUMBER, MAX_REQUESTS};
use reachability_gateway::json::{Connected, Input, Session};
use serde_json::json;

use crate::happening::{Happening, happening, mutated};
use crate::people::jane;
use crate::play::examples;
use crate::shell::Shell;
use crate::support::{MINUTE, Socket, connect, only};

/// What clients send, and what nobody should: the corpus, and the examples of the document.
pub(crate) fn corpus() -> &'static [(String, Vec<u8>)] {
    static CORPUS: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    CORPUS.get_or_init(read_corpus)
}

fn read_corpus() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-json")).unwrap();
    let mut messages: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect();
    messages.sort();
    assert!(messages.len() > 70);
    let shown = examples().into_iter().filter(|example| example.is_client);
    messages.extend(shown.map(|example| (example.section.to_owned(), example.message.to_string().into_bytes())));
    messages
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_keeps_its_promises(
        is_open in any::<bool>(),
        is_small in any::<bool>(),
        happenings in vec(happening(), 0..80),
    ) {
        let mut shell = Shell::new(&"i".repeat(256), is_small);
        if is_open {
            shell.open();
        }
        for happening in happenings {
            shell.happen(happening);
        }
        shell.fall_silent();
    }

    #[test]
    fn a_message_is_taken_or_refused(
        seed in any::<Index>(),
        bytes in vec(any::<(Index, u8)>(), 0..4),
        cut in option::of(any::<Index>()),
        text in option::of("\\PC{0,200}"),
    ) {
        let mut shell = Shell::new("jane", false);
        shell.open();
        shell.text(&mutated(&seed.get(corpus()).1, &bytes, cut));
        if let Some(text) = text {
            shell.text(text.as_bytes());
        }
    }

    #[test]
    fn a_number_is_answered_once(numbers in vec(0..20_u64, 1..40)) {
        let mut socket = Socket::open();
        let (mut last, mut sent) = (1, vec![]);
        for number in numbers {
            let answer = only(&socket.send(&json!({"type": "ping", "id": number})));
            if number > last {
                last = number;
                sent.push(number);
                prop_assert_eq!(answer, json!({"type": "pong", "id": number}));
            } else {
                prop_assert!(answer["id"].is_null());
            }
        }
        prop_assert!(sent.is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn a_session_takes_the_corpus_at_any_time() {
    for (name, seed) in corpus() {
        println!("{name}");
        for phase in 0..5 {
            let mut shell = Shell::new("jane", false);
            match phase {
                0 => {}
                1 => shell.happen(Happening::Connect),
                2 => shell.open(),
                3 => {
                    shell.happen(Happening::Connect);
                    shell.happen(Happening::Opened(0));
                }
                _ => {
                    shell.open();
                    shell.happen(Happening::Close);
                }
            }
            shell.text(seed);
            shell.text(seed);
            shell.fall_silent();
        }
    }
}

#[test]
fn an_identity_of_the_longest_kind_is_all_that_makes_a_session_larger() {
    let identity = "😀".repeat(256);
    let mut socket = Socket::new();
    socket.send(&connect(MAX_NUMBER - 100));
    let mut connected = Connected { user: jane("", false, "10:00:00", 1), ..socket.connected(60 * MINUTE) };
    connected.opened.grant = socket.grant(&identity, 60 * MINUTE);
    connected.opened.grant.user.service = Sid::from_bits(u128::MAX);
    connected.opened.continuation_token = "x".repeat(1_000);
    let Socket { mut session, settings, now } = socket;
    session.step(&settings, Input::Opened(Ok(connected)), now);
    let token = json!({"type": "token", "id": MAX_NUMBER - 50, "token": "x".repeat(60_000)});
    session.step(&settings, Input::Text(token.to_string().as_bytes()), now);
    for n in 0..MAX_REQUESTS as u64 {
        let query = json!({"type": "query_users", "id": MAX_NUMBER - 10 + n, "x": "x".repeat(60_000)});
        session.step(&settings, Input::Text(query.to_string().as_bytes()), now);
    }
    assert_eq!(session.requests(), MAX_REQUESTS);
    let written = postcard::to_stdvec(&session).unwrap();
    assert!(written.len() - identity.len() < 256, "{} bytes", written.len());
    let read: Session = postcard::from_bytes(&written).unwrap();
    assert_eq!(read, session);
}
