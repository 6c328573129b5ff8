//! Many clients at once: they come, go, are cut off and freeze, while services are switched and the server restarts.

mod chaos;
mod client;
mod losses;
mod plan;
mod restart;
mod truth;
mod views;
