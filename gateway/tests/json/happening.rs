//! What may happen to a session.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

/// Something that happens to a session.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Seed(Index),
    Mutated { seed: Index, bytes: Vec<(Index, u8)>, cut: Option<Index> },
    Bytes(Vec<u8>),
    Connect,
    Token,
    Request(Index),
    Ping,
    Pong,
    NoMessage,
    Close,
    Binary,
    Opened(u8),
    Verified(u8),
    Done { request: Index, how: u8 },
    Stray(u64),
    Heard,
    Wait(Duration),
    Tick,
    Back(Duration),
    End(u8),
}

/// Requests that are good, but for their number.
pub(crate) const REQUESTS: [&str; 8] = [
    r#"{"type":"set_user","status":"x"}"#,
    r#"{"type":"query_users","filter":{"online":true},"presence":true}"#,
    r#"{"type":"query_channels","limit":3}"#,
    r#"{"type":"watch_channel","channel_type":"messaging","channel_id":"general","presence":true}"#,
    r#"{"type":"add_members","channel_type":"messaging","channel_id":"general","members":["joe"]}"#,
    r#"{"type":"remove_members","channel_type":"messaging","channel_id":"general","members":["joe"]}"#,
    r#"{"type":"unwatch","watch":1}"#,
    r#"{"type":"restore","watches":[{"watch":0,"users":["john"]}],"known":{"john":1}}"#,
];

pub(crate) fn happening() -> impl Strategy<Value = Happening> {
    let millis = |most: u64| (0..most).prop_map(Duration::from_millis);
    prop_oneof![
        3 => any::<Index>().prop_map(Happening::Seed),
        2 => (any::<Index>(), vec(any::<(Index, u8)>(), 0..4), option::of(any::<Index>()))
            .prop_map(|(seed, bytes, cut)| Happening::Mutated { seed, bytes, cut }),
        1 => vec(any::<u8>(), 0..80).prop_map(Happening::Bytes),
        2 => Just(Happening::Connect),
        3 => Just(Happening::Token),
        12 => any::<Index>().prop_map(Happening::Request),
        2 => Just(Happening::Ping),
        2 => Just(Happening::Pong),
        2 => Just(Happening::NoMessage),
        1 => Just(Happening::Close),
        1 => Just(Happening::Binary),
        5 => any::<u8>().prop_map(Happening::Opened),
        3 => any::<u8>().prop_map(Happening::Verified),
        9 => (any::<Index>(), any::<u8>()).prop_map(|(request, how)| Happening::Done { request, how }),
        1 => any::<u64>().prop_map(Happening::Stray),
        1 => Just(Happening::Heard),
        4 => prop_oneof![millis(3_000), millis(40_000)].prop_map(Happening::Wait),
        5 => Just(Happening::Tick),
        1 => millis(100_000).prop_map(Happening::Back),
        1 => any::<u8>().prop_map(Happening::End),
    ]
}

/// A message with other bytes here and there, and perhaps without its end.
pub(crate) fn mutated(seed: &[u8], bytes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    let mut message = seed.to_vec();
    for (at, byte) in bytes {
        if !message.is_empty() {
            let at = at.index(message.len());
            message[at] = *byte;
        }
    }
    message.truncate(cut.map_or(message.len(), |cut| cut.index(message.len() + 1)));
    message
}
