//! The parts for AWS, on its stand-ins: DynamoDB Local, MiniStack and the SAM CLI.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod alarms;
mod dynamodb;
mod external;
mod fanout;
mod feed;
mod outages;
mod platform_applications;
mod policies;
mod queue;
mod records;
mod replays;
mod requests;
mod serverless;
mod token;
mod webhooks;

use tokio::sync::RwLock;

/// The machine, which the tests of this process share. Tests that compare answers with the time of day take all of it
/// ([`RwLock::write`]); tests that keep it busy for long take a share ([`RwLock::read`]).
static MACHINE: RwLock<()> = RwLock::const_new(());
