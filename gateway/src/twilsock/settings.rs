//! Settings and limits of a session.

use std::time::Duration;

/// The longest header of a packet from a client, in bytes.
pub const MAX_HEADER: usize = 16 * 1024;
/// The largest payload of a packet from a client, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The largest WebSocket message that a client may send, in bytes: a first line, a header, a payload.
pub const MAX_FRAME: usize = 64 + MAX_HEADER + MAX_PAYLOAD + 4;
/// The longest id of a packet from a client, in bytes. The vendor's clients have 38.
pub const MAX_ID: usize = 64;
/// The most maps in one request for subscriptions. As many fit into [`MAX_PAYLOAD`].
pub const MAX_BATCH: usize = 500;
/// The longest name of a map in a request for subscriptions, in bytes. A sid has 34, a unique name 43.
pub const MAX_OBJECT_SID: usize = 64;
/// The events of one notification, in bytes: those of a large batch are sent in several, each about as long.
pub const NOTIFICATION_SIZE: usize = 24 * 1024;

/// How many requests of a session may be under way at a time. Those over it are refused with 429. A shell that stops reading
/// from the socket while there are as many spares its clients that.
pub const MAX_REQUESTS: usize = 8;
/// How many requests a session may make at once, after a while without any. A new token counts as one.
pub const REQUESTS_AT_ONCE: u32 = 3_000;
/// How many requests a second a session may make in the long run. Those over it are refused with 429.
pub const REQUESTS_PER_SECOND: u32 = 100;
/// How many frames a client may send at once, after a while without any: packets, and WebSocket's own pings, pongs and parts
/// of messages. It acknowledges each packet that it is sent.
pub const FRAMES_AT_ONCE: u32 = 10_000;
/// How many frames a second a client may send in the long run. One that sends more is cut.
pub const FRAMES_PER_SECOND: u32 = 2_000;

/// How long it is waited for what came of `init`: a client gives up by then.
pub const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How long a session with [`MAX_REQUESTS`] requests under way is not ended for silence: a client gives a request up by then.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// How long a client that was refused has to close its socket.
pub const LINGER: Duration = Duration::from_secs(3);
/// How long before its token expires a client is told: the vendor documents three minutes.
pub const EXPIRES_SOON: Duration = Duration::from_secs(180);
/// How much longer a session may live than its token, while a new one is verified.
pub const UPDATE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client that is over a limit of sockets waits before it tries again, at least.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);
/// By when a client should have heard of what it subscribed to. If it hears nothing, it asks again.
pub const DELIVERY: Duration = Duration::from_secs(10);

/// What a client is told when its token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// A `close` packet with status 410, as the vendor's service does. A client that is given a new token within three
    /// seconds after it hangs, because of a fault of its own.
    #[default]
    Packet,
    /// The socket is closed. The client comes back with the expired token, hears that it is expired, and can be given a new
    /// one at once.
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
    /// The settings with a ping after so long. The answer has 3/7 of it, and at most 10 s.
    pub fn with_ping(ping: Duration) -> Self {
        Self {
            ping,
            answer: (ping * 3 / 7).min(Duration::from_secs(10)),
            init_within: Duration::from_secs(10),
            expiry: Expiry::default(),
            subscription_ttl: None,
        }
    }

    /// How long after the last packet from a client its session ends, if nothing comes any more.
    pub fn silence(&self) -> Duration {
        self.ping.saturating_add(self.answer)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::with_ping(Duration::from_secs(14))
    }
}
