//! Settings and limits of a session.

use std::time::Duration;

/// The longest header of a packet, in bytes.
pub const MAX_HEADER: usize = 16 * 1024;
/// The largest payload of a packet from a client, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The largest WebSocket message that a client may send, in bytes: a first line, a header, a payload.
pub const MAX_FRAME: usize = MAX_HEADER + MAX_PAYLOAD + 64;
/// The most maps in one request for subscriptions.
pub const MAX_BATCH: usize = 1_000;
/// How many requests of a session may be under way at a time. A shell that stops reading from the socket while there are
/// as many spares the client the refusals.
pub const MAX_REQUESTS: usize = 8;

/// What a client is told when its token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// A `close` packet with status 410, as the vendor's service does. A client that updates its token within three seconds
    /// after it hangs, because of a bug in it.
    #[default]
    Packet,
    /// The socket is closed. The client comes back with the expired token, hears that it is expired, and can update it at
    /// once.
    Socket,
}

/// Settings of all sessions of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long after the last packet from a client it is sent a ping.
    pub ping: Duration,
    /// How long it is waited for an answer to a ping, or for anything else from the client.
    pub answer: Duration,
    /// How long a new socket may take to send `init`.
    pub init_within: Duration,
    /// What a client is told when its token expires.
    pub expiry: Expiry,
    /// After how long clients ask for their subscriptions again, which heals what was lost; `None`: never.
    pub subscription_ttl: Option<Duration>,
}

impl Settings {
    /// The settings with a ping after so long.
    pub fn with_ping(ping: Duration) -> Self {
        Self {
            ping,
            answer: (ping * 3 / 7).min(Duration::from_secs(10)),
            init_within: Duration::from_secs(10),
            expiry: Expiry::default(),
            subscription_ttl: None,
        }
    }

    /// How long after a cut cable a session ends at the latest.
    pub fn silence(&self) -> Duration {
        self.ping + self.answer
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::with_ping(Duration::from_secs(14))
    }
}
