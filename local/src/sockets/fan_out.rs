//! Telling many sockets the same.

use std::sync::Arc;

use tokio::task::yield_now;

use super::wire::Wire;

/// How many sockets are told before others have a turn.
const AT_ONCE: usize = 64;

/// Tells each of these sockets.
pub(super) async fn tell_each(wires: &[Arc<Wire>], mut tell: impl FnMut(&Wire)) {
    for some in wires.chunks(AT_ONCE) {
        some.iter().for_each(|wire| tell(wire));
        if wires.len() > AT_ONCE {
            yield_now().await;
        }
    }
}
