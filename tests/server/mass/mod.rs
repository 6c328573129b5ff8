//! Many clients at once: they come, go, are cut off and freeze, while services are switched and the server restarts.
#![allow(clippy::print_stdout, reason = "they are tests, which print their seeds and figures")]

mod chaos;
mod losses;
mod plan;
mod restart;
mod truth;
