//! The end of a connection, as earlier versions stored it.

use reachability_domain::presence::connection::Ending;
use reachability_domain::presence::event::EndReason;
use reachability_domain::time::Timestamp;
use serde::Deserialize;

/// What earlier versions stored, in every store.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct OlderEnding {
    #[serde(rename = "a")]
    at: Timestamp,
    /// The first versions stored none.
    #[serde(rename = "w")]
    reason: Option<char>,
}

impl From<OlderEnding> for Ending {
    fn from(OlderEnding { at, reason }: OlderEnding) -> Self {
        let reason = match reason {
            Some('c') => EndReason::ClientClosed,
            Some('s') => EndReason::ServerClosed,
            _ => EndReason::ConnectionLost,
        };
        Self { at, reason, occurred_at: at }
    }
}
