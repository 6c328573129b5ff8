//! The rules, in memory and on SQLite, and the push clients against stand-ins for Apple and Google. Nothing here takes a
//! container, an emulator or another program but openssl: it is what `tests/run fast` runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod apns;
mod faults;
mod fcm;
mod presence_properties;
mod pushes;
mod regressions;
mod stores;
mod truth_table;
mod worker;
