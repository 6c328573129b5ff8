//! The number that orders what watchers hear of a user.
//!
//! What is visible of a user is a function of the service's switch and of the user's record. So the pair of both orders it:
//! how often the switch was moved, and the revision of the record. A switch writes no user, and still comes after all that
//! was before it and before all that comes after it, whatever the clocks say.

use crate::directory::configuration::{Configuration, Generation};
use crate::presence::change::Switched;

/// How many bits the revision takes: enough until the year 2060.
const REVISION_BITS: u32 = 40;

/// 2026-01-01T00:00:00Z, in milliseconds: where revisions begin here.
const FIRST_REVISION: u64 = 1_767_225_600_000;

/// The number of a user's record at this revision ([`UserState::revision`]), under this configuration of its service. It is
/// below 2^53, since [`Configuration::MAX_GENERATION`] limits the switches: JavaScript reads it without loss.
///
/// Revisions of before 2026 or after 2060, from a wrong clock, have the same number under one configuration.
///
/// [`UserState::revision`]: crate::presence::state::UserState::revision
pub fn sequence(configuration: &Configuration, revision: u64) -> u64 {
    let last = (1 << REVISION_BITS) - 1;
    of_switch(Switched::from(configuration)) + revision.saturating_sub(FIRST_REVISION).min(last)
}

/// The number of the switch itself: that of everything in its time begins there.
pub fn of_switch(switched: Switched) -> u64 {
    let Generation(generation) = switched.generation;
    let moves = (2 * u64::from(generation)).saturating_sub(switched.reachability_enabled.into());
    moves << REVISION_BITS
}
