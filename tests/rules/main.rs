//! The rules, in memory and on SQLite, and the push clients against stand-ins for Apple and Google. `tests/run fast`
//! runs these tests: they need no container, no emulator, and no program but openssl.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod apns;
mod at_commit;
mod backlog;
mod client_routes;
mod event_queue;
mod fanout;
mod faults;
mod fcm;
mod finding;
mod invisible;
mod metrics;
mod power_cut;
mod presence_properties;
mod purges;
mod pushes;
mod put_off;
mod queries;
mod regressions;
mod requests;
mod search;
mod sequence;
mod small_records;
mod stepping_clock;
mod stores;
mod timers;
mod truth_table;
mod webhooks;
mod worker;
