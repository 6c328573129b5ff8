//! The pusher and the answers of providers: from a message, over real connections to a stand-in, to what a reader sees.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

mod answers;
mod checks;
mod content;
mod credentials;
mod hour;
mod lifetimes;
mod mismatch;
mod notifications;
mod offline;
mod outages;
mod pages;
mod scans;

use reachability_domain::push::binding::Binding;
use reachability_domain::push::command::BindingCommand;
use reachability_domain::push::payload::Content;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::providers::Request;
use reachability_tests::push_harness::PushHarness;
use serde_json::json;

/// This many seconds ago.
fn before(seconds: u64) -> Timestamp {
    Timestamp::from_millis(clock::now().as_millis() - i64::try_from(seconds * 1_000).unwrap())
}

/// The seconds of this many days.
fn day(days: u64) -> u64 {
    days * 86_400
}

fn unregister(binding: &Binding) -> BindingCommand {
    BindingCommand::Unregister(binding.sid)
}

/// The requests to Google for this token.
fn to_google(harness: &PushHarness, token: &str) -> Vec<Request> {
    harness.google.requests().into_iter().filter(|request| request.json()["message"]["token"] == token).collect()
}

fn content() -> Content {
    Content {
        title: Some("Title".to_owned()),
        body: Some("Body".to_owned()),
        data: serde_json::from_value(json!({ "room": 7 })).unwrap(),
        sound: Some("ping".to_owned()),
        ..Content::default()
    }
}
